"""OPC UA with asyncua's own client: the same table, the same handshake."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.sync import Client
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from edge_agent.config import Opcua, Station
from edge_agent.errors import ConfigError
from edge_agent.formats import Verdict
from edge_agent.station.plc.controller import Controller
from edge_agent.station.plc.opcua import NAMESPACE, check_files
from edge_agent.station.plc.table import BY_NAME, ROWS, Fault, Kind, Phase, Said
from tests.fakes.certificates import self_signed
from tests.fakes.plc import AWAY, PATIENCE_S, Plant, running_station, until

TYPES = {Kind.BIT: ua.VariantType.Boolean, Kind.UINT32: ua.VariantType.UInt32}


class Plc:
    """The PLC's program, by the table's names."""

    def __init__(self, client: Client) -> None:
        index = client.get_namespace_index(NAMESPACE)
        home = client.nodes.objects.get_child(f"{index}:left")
        self.nodes = {
            node.read_browse_name().Name: node for folder in home.get_children() for node in folder.get_children()
        }

    def get(self, name: str) -> Any:
        return self.nodes[BY_NAME[name].node].read_value()

    def put(self, name: str, value: int) -> None:
        row = BY_NAME[name]
        self.nodes[row.node].write_value(bool(value) if row.kind is Kind.BIT else value, TYPES[row.kind])

    def trigger(self, part: int) -> None:
        self.put("trigger_enable", 1)
        until(lambda: self.get("trigger_ready"), "Trigger Ready")
        self.put("trigger_id", part)
        self.put("trigger", 1)
        assert self.get("trigger_ack")

    def acknowledge(self) -> None:
        self.put("trigger", 0)
        self.put("results_ack", 1)
        assert not self.get("results_valid")
        self.put("results_ack", 0)


@contextmanager
def connected(port: int) -> Iterator[Plc]:
    with Client(f"opc.tcp://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
        yield Plc(client)


@pytest.fixture(scope="module")
def station() -> Iterator[tuple[Controller, Plant]]:
    options = Station(
        source="directory:x", mode="trigger", deadline_s=30.0, opcua=Opcua(endpoint="opc.tcp://127.0.0.1:0")
    )
    with running_station(options) as both:
        yield both


@pytest.fixture
def plc(station: tuple[Controller, Plant]) -> Iterator[Plc]:
    with connected(station[0].ports["opcua"]) as plc:
        yield plc
        plc.put("trigger_enable", 0)
        plc.put("trigger", 0)
        plc.put("results_ack", 0)


def test_every_row_of_the_table_is_a_node(plc: Plc) -> None:
    assert plc.nodes.keys() == {row.node for row in ROWS}


def test_a_whole_handshake(plc: Plc, station: tuple[Controller, Plant]) -> None:
    for part, verdict in ((70_001, Verdict.OK), (70_002, Verdict.NG)):
        station[1].verdict = verdict
        plc.trigger(part)
        until(lambda: plc.get("results_valid"), "Results Valid")
        assert (plc.get("verdict"), plc.get("result_trigger_id")) == (Said[verdict.name], part)
        assert (plc.get("score"), plc.get("model"), plc.get("error")) == (0.75, "unet", False)
        plc.acknowledge()
        assert plc.get("trigger_ready")


def test_an_agent_that_is_away_is_no_result_and_an_error(plc: Plc, station: tuple[Controller, Plant]) -> None:
    station[1].agent_error = AWAY
    plc.trigger(3)
    until(lambda: plc.get("results_valid"), "Results Valid")
    station[1].agent_error = None
    assert (plc.get("no_result"), plc.get("ok"), plc.get("error_code")) == (True, False, Fault.AGENT)
    plc.acknowledge()


def test_what_the_station_says_cannot_be_written_and_wrong_types_are_refused(plc: Plc) -> None:
    with pytest.raises(ua.UaStatusCodeError):
        plc.nodes["Verdict"].write_value(1, ua.VariantType.UInt16)
    for value, kind in ((1.5, ua.VariantType.Double), ("x", ua.VariantType.String)):
        with pytest.raises(ua.UaStatusCodeError):
            plc.nodes["TriggerId"].write_value(value, kind)
    assert (plc.get("verdict"), plc.get("trigger_id")) in ((Said.NO_RESULT, 3), (Said.NOTHING, 0))


def test_a_subscriber_hears_the_heart_beat(plc: Plc, station: tuple[Controller, Plant]) -> None:
    heard: list[int] = []

    class Listener:
        def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
            heard.append(value)

    with Client(f"opc.tcp://127.0.0.1:{station[0].ports['opcua']}", timeout=PATIENCE_S) as client:
        subscription = client.create_subscription(50, Listener())
        subscription.subscribe_data_change(client.get_node(plc.nodes["Heartbeat"].nodeid))
        until(lambda: len(set(heard)) > 1, "two beats")
        subscription.delete()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"HELF\xff\xff\xff\x7f" + b"\0" * 100, b"\xff" * 70_000]
)
def test_garbage_hurts_nobody_but_its_sender(plc: Plc, station: tuple[Controller, Plant], garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", station[0].ports["opcua"]), PATIENCE_S) as client:
        # It may be let go while it still sends.
        with suppress(ConnectionError):
            client.sendall(garbage)
        station[1].verdict = Verdict.OK
        plc.trigger(8)
        until(lambda: plc.get("results_valid"), "Results Valid")
        assert plc.get("ok")
        plc.acknowledge()


def test_enable_that_drops_in_the_middle_is_no_result(plc: Plc, station: tuple[Controller, Plant]) -> None:
    station[1].may_answer.clear()
    plc.trigger(9)
    plc.put("trigger_enable", 0)
    assert (plc.get("phase"), plc.get("verdict"), plc.get("error_code")) == (
        Phase.DISABLED,
        Said.NO_RESULT,
        Fault.ENABLE_DROPPED,
    )
    station[1].may_answer.set()


def test_with_a_certificate_only_trusted_clients_get_in_encrypted(tmp_path: Path) -> None:
    server = self_signed(tmp_path / "server", "station")
    known, stranger = self_signed(tmp_path / "known", "plc"), self_signed(tmp_path / "stranger", "plc")
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "plc.pem").write_bytes(known.certificate.read_bytes())
    opcua = Opcua(
        endpoint="opc.tcp://127.0.0.1:0",
        certificate=server.certificate,
        private_key=server.private_key,
        trusted=trusted,
    )
    options = Station(source="directory:x", mode="trigger", opcua=opcua)
    with running_station(options) as (controller, _):
        url = f"opc.tcp://127.0.0.1:{controller.ports['opcua']}"
        with encrypted(url, known) as client:
            assert Plc(client).get("table_version") == 1
        with pytest.raises(ua.UaError), encrypted(url, stranger):
            pass
        with pytest.raises((ua.UaError, TimeoutError)), Client(url, timeout=PATIENCE_S):
            pass


def test_a_key_that_is_locked_is_told_and_ends_nothing(tmp_path: Path) -> None:
    server = self_signed(tmp_path / "server", "station")
    key = serialization.load_pem_private_key(server.private_key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    server.private_key.write_bytes(key.private_bytes(pem, pkcs8, locked))
    opcua = Opcua(
        endpoint="opc.tcp://127.0.0.1:0",
        certificate=server.certificate,
        private_key=server.private_key,
        trusted=tmp_path,
    )
    ended: list[str] = []
    controller = Controller("left", Station(source="directory:x", opcua=opcua))
    (serving,) = controller.threads(ended.append)
    serving.start()
    try:
        until(lambda: ended or controller.troubles())
        assert "expected opcua.private_key without a password" in "".join(controller.troubles())
    finally:
        assert serving.stop(PATIENCE_S)
    assert ended == []


@contextmanager
def encrypted(url: str, own: Any) -> Iterator[Client]:
    client = Client(url, timeout=PATIENCE_S)
    client.set_security(SecurityPolicyBasic256Sha256, str(own.certificate), str(own.private_key))
    with client:
        yield client


@pytest.mark.parametrize("endpoint", ["opc.tcp://0.0.0.0:4840", "opc.tcp://192.168.0.2:4840/x", "opc.tcp://[::]:4840"])
def test_beyond_loopback_opcua_asks_for_certificates(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="expected certificate, private_key and trusted with an endpoint beyond"):
        Opcua(endpoint=endpoint)


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    missing = Opcua(
        endpoint="opc.tcp://0.0.0.0:4840", certificate=tmp_path / "c.pem", private_key=tmp_path / "k", trusted=tmp_path
    )
    with pytest.raises(ConfigError, match=r"expected .*c\.pem of opcua, there is none"):
        check_files("left", missing)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4840", "http://127.0.0.1:4840", "opc.tcp://127.0.0.1"])
def test_an_endpoint_of_another_kind_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="string_pattern_mismatch"):
        Opcua(endpoint=endpoint)


def test_a_certificate_alone_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected certificate, private_key and trusted together"):
        Opcua(endpoint="opc.tcp://127.0.0.1:4840", certificate=Path("c.pem"))
