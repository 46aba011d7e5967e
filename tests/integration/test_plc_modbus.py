"""Modbus TCP with pymodbus's own client: a whole handshake, what goes wrong in it, and clients that mean no good."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from pydantic import ValidationError
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException
from typing_extensions import Self

from edge_agent.config import Modbus, Outputs, Station
from edge_agent.formats import Verdict
from edge_agent.station.plc.controller import Controller
from edge_agent.station.plc.exchange import Exchange, Pulse
from edge_agent.station.plc.modbus import ModbusServer
from edge_agent.station.plc.table import BY_NAME, ROWS, Fault, Phase, Said, Space, decode, encode, size_of
from tests.fakes.chip import FakeChip
from tests.fakes.plc import AWAY, DARK, PATIENCE_S, Plant, running_station, until

READERS = {
    Space.COIL: ModbusTcpClient.read_coils,
    Space.DISCRETE: ModbusTcpClient.read_discrete_inputs,
    Space.HOLDING: ModbusTcpClient.read_holding_registers,
    Space.INPUT: ModbusTcpClient.read_input_registers,
}


class Plc:
    """The PLC's program, by the table's names."""

    def __init__(self, port: int) -> None:
        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=PATIENCE_S)
        assert self.client.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, name: str) -> Any:
        row = BY_NAME[name]
        answer = READERS[row.space](self.client, row.address, count=row.width)
        assert not answer.isError(), answer
        bits = row.space in (Space.COIL, Space.DISCRETE)
        return decode(row, answer.bits[:1] if bits else answer.registers)

    def put(self, name: str, value: int) -> None:
        row = BY_NAME[name]
        if row.space is Space.COIL:
            answer = self.client.write_coil(row.address, bool(value))
        else:
            answer = self.client.write_registers(row.address, encode(row, value))
        assert not answer.isError(), answer

    def trigger(self, part: int = 1) -> None:
        self.put("trigger_enable", 1)
        until(lambda: self.get("trigger_ready"), "Trigger Ready")
        self.put("trigger_id", part)
        self.put("trigger", 1)
        assert self.get("trigger_ack")

    def result(self) -> dict[str, Any]:
        until(lambda: self.get("results_valid"), "Results Valid")
        return {row.name: self.get(row.name) for row in ROWS}

    def acknowledge(self) -> None:
        self.put("trigger", 0)
        self.put("results_ack", 1)
        assert not self.get("results_valid")
        self.put("results_ack", 0)


def options(**modbus: Any) -> Station:
    return Station(
        source="directory:x",
        mode="trigger",
        deadline_s=modbus.pop("deadline_s", 30.0),
        modbus=Modbus(listen="127.0.0.1:0", **modbus),
    )


@pytest.fixture
def station() -> Iterator[tuple[Controller, Plant]]:
    with running_station(options()) as both:
        yield both


@pytest.fixture
def plc(station: tuple[Controller, Plant]) -> Iterator[Plc]:
    with Plc(station[0].ports["modbus"]) as client:
        yield client


@pytest.fixture
def plant(station: tuple[Controller, Plant]) -> Plant:
    return station[1]


def test_part_after_part_gets_its_verdict_under_its_own_number(plc: Plc, plant: Plant) -> None:
    for part, verdict in ((70_001, Verdict.OK), (70_002, Verdict.NG)):
        plant.verdict = verdict
        plc.trigger(part)
        seen = plc.result()
        assert seen["result_trigger_id"] == part
        assert seen["verdict"] == Said[verdict.name]
        assert (seen["ok"], seen["ng"], seen["no_result"]) == (verdict is Verdict.OK, verdict is Verdict.NG, False)
        assert (seen["score"], seen["score_scaled"], seen["model"], seen["model_version"]) == (
            0.75,
            7500,
            "unet",
            "1.2.0",
        )
        assert (seen["error"], seen["error_code"], seen["error_text"]) == (False, Fault.NONE, "")
        plc.acknowledge()
    assert (plc.get("ok_count"), plc.get("ng_count"), plc.get("inspection_id")) == (1, 1, 2)
    assert plc.get("trigger_ready")


def test_while_a_part_is_inspected_nothing_of_the_one_before_can_be_read(plc: Plc, plant: Plant) -> None:
    plc.trigger(1)
    assert plc.result()["ok"]
    plc.acknowledge()
    plant.may_answer.clear()
    plc.trigger(2)
    assert (plc.get("busy"), plc.get("results_valid"), plc.get("verdict"), plc.get("result_id")) == (True, False, 0, 0)
    plant.may_answer.set()
    assert plc.result()["result_trigger_id"] == 2


@pytest.mark.parametrize(("part", "fault"), [("agent_error", Fault.AGENT), ("camera_error", Fault.CAMERA)])
def test_an_agent_or_a_camera_that_is_away_is_no_result_and_an_error(
    plc: Plc, plant: Plant, part: str, fault: Fault
) -> None:
    setattr(plant, part, AWAY if part == "agent_error" else DARK)
    plc.trigger()
    seen = plc.result()
    assert (seen["no_result"], seen["verdict"], seen["error"], seen["error_code"]) == (
        True,
        Said.NO_RESULT,
        True,
        fault,
    )
    assert "expected" in seen["error_text"]
    plc.acknowledge()
    setattr(plant, part, None)
    plc.trigger()
    assert not plc.get("error")
    assert plc.result()["ok"]


def test_a_trigger_while_not_ready_costs_the_verdict_and_is_counted(plc: Plc, plant: Plant) -> None:
    plant.may_answer.clear()
    plc.trigger()
    assert plant.asked.wait(PATIENCE_S)
    plc.put("trigger", 0)
    plc.put("trigger", 1)
    assert not plc.get("trigger_ack")
    plant.may_answer.set()
    seen = plc.result()
    assert (seen["no_result"], seen["error_code"], seen["missed_triggers"]) == (True, Fault.TRIGGER_NOT_READY, 1)
    plc.acknowledge()
    plc.trigger(3)
    assert plc.result()["ok"]


def test_enable_that_drops_in_the_middle_is_no_result_and_the_late_answer_is_nobodys(plc: Plc, plant: Plant) -> None:
    plant.may_answer.clear()
    plc.trigger(5)
    assert plant.asked.wait(PATIENCE_S)
    plc.put("trigger_enable", 0)
    assert (plc.get("phase"), plc.get("verdict"), plc.get("error_code")) == (
        Phase.DISABLED,
        Said.NO_RESULT,
        Fault.ENABLE_DROPPED,
    )
    plc.put("trigger", 0)
    plant.may_answer.set()
    plc.trigger(6)
    seen = plc.result()
    assert (seen["result_trigger_id"], seen["ok"], seen["ok_count"], seen["no_result_count"]) == (6, True, 1, 1)


def test_a_station_that_hangs_answers_no_result_at_the_deadline_and_its_heart_stops() -> None:
    with running_station(options(deadline_s=0.2)) as (controller, plant), Plc(controller.ports["modbus"]) as plc:
        beats_on(plc)
        plant.may_answer.clear()
        plc.trigger()
        seen = plc.result()
        assert (seen["no_result"], seen["error_code"]) == (True, Fault.DEADLINE)
        # It stands still from the moment in which the loop was due.
        until(controller.exchange.pulse.is_overdue, "a loop that is overdue")
        assert plc.get("heartbeat") == plc.get("heartbeat")
        plant.may_answer.set()
        beats_on(plc)
        assert plc.get("verdict") == Said.NO_RESULT


def test_a_station_that_hangs_lets_its_gate_hear_of_the_part_once_and_when_the_plc_does() -> None:
    outputs = Outputs(chip="x", no_result=3, reject=4, pulse_ms=60_000.0)
    # What the second part's answer keeps on any machine.
    gated, chip = options(deadline_s=3.0).model_copy(update={"outputs": outputs}), FakeChip()
    with (
        running_station(gated, open_chip=chip.open) as (controller, plant),
        Plc(controller.ports["modbus"]) as plc,
    ):
        plant.may_answer.clear()
        plc.trigger()
        # Nobody asks for a register meanwhile, and the loop still waits for its agent.
        chip.saw({3: True, 4: True})
        assert not plant.may_answer.is_set()
        assert plc.get("no_result")
        heard = controller._outputs._signals  # type: ignore[union-attr]
        plant.may_answer.set()
        plc.acknowledge()
        plc.trigger(2)
        until(lambda: plc.get("ok"), "the next part's own verdict")
        assert controller._outputs._signals.pulses == heard.pulses  # type: ignore[union-attr]


def test_a_free_running_station_mirrors_each_result_and_needs_no_plc() -> None:
    free = options().model_copy(update={"mode": "free-running", "rate_hz": 50.0})
    with running_station(free) as (controller, plant), Plc(controller.ports["modbus"]) as plc:
        first = until(lambda: plc.get("result_id"), "a result")
        until(lambda: plc.get("result_id") > first + 2, "more results")
        assert (plc.get("ok"), plc.get("trigger_ready"), plc.get("phase")) == (True, False, Phase.FREE_RUNNING)
        plc.put("trigger_enable", 1)
        plc.put("trigger", 1)
        assert not plc.get("trigger_ack")
        plant.agent_error = AWAY
        until(lambda: plc.get("no_result"), "NO RESULT")
        assert plc.get("error_code") == Fault.AGENT


def test_a_free_running_station_that_hangs_does_not_leave_its_last_ok_standing() -> None:
    free = options(deadline_s=0.2).model_copy(update={"mode": "free-running", "rate_hz": 50.0})
    with running_station(free) as (controller, plant), Plc(controller.ports["modbus"]) as plc:
        until(lambda: plc.get("ok"), "OK")
        plant.may_answer.clear()
        until(lambda: plc.get("no_result"), "NO RESULT")
        assert (plc.get("ok"), plc.get("verdict"), plc.get("error_code")) == (False, Said.NO_RESULT, Fault.DEADLINE)


def test_addresses_outside_the_table_are_modbus_exceptions_and_change_nothing(plc: Plc) -> None:
    client = plc.client
    for space, reader in READERS.items():
        assert reader(client, 0, count=size_of(space)).isError() is False
        assert reader(client, 1, count=size_of(space)).exception_code == 2
    assert client.write_coils(2, [True, True]).exception_code == 2
    assert client.write_register(2, 1).exception_code == 2
    assert (plc.get("results_ack"), plc.get("trigger_id"), plc.get("phase")) == (False, 0, Phase.DISABLED)


def test_one_half_of_a_number_can_be_written_alone(plc: Plc) -> None:
    plc.put("trigger_id", 0x1_0002)
    assert not plc.client.write_register(1, 7).isError()
    assert plc.get("trigger_id") == 0x1_0007


def test_clients_beyond_the_limit_are_closed_and_the_others_go_on() -> None:
    with running_station(options(connections=2)) as (controller, _), ExitStack() as stack:
        port = controller.ports["modbus"]
        first, second = stack.enter_context(Plc(port)), stack.enter_context(Plc(port))
        assert (first.get("phase"), second.get("phase")) == (0, 0)
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as third:
            assert closed(third)
        second.client.close()
        until(lambda: works(port), "a free place")
        assert first.get("table_version") == 1


def test_a_silent_client_is_closed_after_its_time() -> None:
    # One that asks does so sooner on any machine.
    with running_station(options(idle_s=2.0)) as (controller, _):
        with socket.create_connection(("127.0.0.1", controller.ports["modbus"]), PATIENCE_S) as silent:
            assert closed(silent)
        assert works(controller.ports["modbus"])


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 100,
        b"\xff" * 70_000,
        b"\0\1\0\0\0\6\1\x63\0\0\0\1",
        b"\0\1\0\0\0\6\1\4\0\0\xff\xff",
        b"\0\1\0\0\0\0",
        b"\0\1\0\0\0\4\1\x0f\0\0",
    ],
    ids=["http", "noise", "unknown function", "too many", "no length", "cut off"],
)
def test_garbage_hurts_nobody_but_its_sender(plc: Plc, station: tuple[Controller, Plant], garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", station[0].ports["modbus"]), PATIENCE_S) as client:
        # It may be let go while it still sends.
        with suppress(ConnectionError):
            client.sendall(garbage)
        plc.trigger()
        assert plc.result()["ok"]


def test_a_client_that_asks_without_waiting_for_answers_is_let_go(plc: Plc, station: tuple[Controller, Plant]) -> None:
    ask = b"\0\1\0\0\0\6\1\4\0\0\0\x6c"
    with socket.create_connection(("127.0.0.1", station[0].ports["modbus"]), PATIENCE_S) as client:
        with suppress(ConnectionError):
            client.sendall(ask * 100)
        assert ends(client)
    assert plc.get("table_version") == 1


def ends(client: socket.socket) -> bool:
    """Read until the other side is gone."""
    with suppress(ConnectionError):
        while client.recv(65_536):
            pass
    return True


def beats_on(plc: Plc) -> None:
    before = plc.get("heartbeat")
    until(lambda: plc.get("heartbeat") != before, "a heartbeat")


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("192.168.0.10", True),
        ("::ffff:192.168.0.10", True),
        ("192.168.0.11", False),
        ("10.1.0.7", True),
        ("10.2.0.7", False),
        ("fe80::1%eth0", False),
        ("127.0.0.1", True),
    ],
)
def test_only_named_addresses_and_this_machine_are_let_in(host: str, welcome: bool) -> None:
    async def asked() -> bool:
        named = Modbus(listen="127.0.0.1:0", clients=("192.168.0.10", "10.1.0.0/16"))
        return ModbusServer(Exchange(1.0, Pulse(lambda: 0.0), lambda: 0.0), named).welcomes(host)

    assert asyncio.run(asked()) is welcome


def closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def works(port: int) -> bool:
    with Plc(port) as plc:
        try:
            return not plc.client.read_coils(0, count=1).isError()
        except ModbusException:
            return False


@pytest.mark.parametrize("listen", ["0.0.0.0:502", "[::]:502", "192.168.0.2:502", "plc.example:502"])
def test_beyond_loopback_modbus_asks_for_an_allow_list(listen: str) -> None:
    with pytest.raises(ValidationError, match="expected clients with an address beyond loopback"):
        Modbus(listen=listen)
    assert Modbus(listen=listen, clients=("192.168.0.10",)).listen == listen


def test_a_port_that_is_taken_is_told_and_taken_up_when_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        station = options().model_copy(update={"modbus": Modbus(listen=f"127.0.0.1:{taken.getsockname()[1]}")})
        controller = Controller("left", station)
        thread = controller.threads()[0]
        thread.start()
        try:
            until(controller.troubles, "a trouble")
            assert "cannot listen on 127.0.0.1" in controller.troubles()[0]
            taken.close()
            assert controller.listening.wait(PATIENCE_S)
            assert controller.troubles() == []
        finally:
            assert thread.stop(PATIENCE_S)
