"""TCP with certificates on both sides, and a list of who may call."""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.client import AgentClient
from edge_agent.config import Rpc, RpcTls
from edge_agent.errors import ConfigError
from edge_agent.formats import EncodedPicture, Verdict
from tests.fakes.agent_core import Served, drawn_part, served
from tests.fakes.certificates import Authority, Pair

WAIT_S = 60
ROOT = Path(__file__).resolve().parents[2]
PART = drawn_part(0)


@pytest.fixture
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def running(tmp_path: Path, authority: Authority) -> Iterator[Served]:
    pair = authority.issue("agent")
    paths = {"private_key": pair.private_key, "certificate": pair.certificate, "client_ca": authority.ca}
    with served(tmp_path, rpc=Rpc(tcp="127.0.0.1:0", tls=RpcTls(**paths, clients=("plc-1",)))) as everything:
        yield everything


def connected(running: Served, authority: Authority, pair: Pair | None) -> grpc.Channel:
    own = (pair.private_key.read_bytes(), pair.certificate.read_bytes()) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.ca.read_bytes(), *own)
    return grpc.secure_channel(f"127.0.0.1:{running.data.tcp_port}", credentials)


def inspect(channel: grpc.Channel) -> Any:
    stub: Any = services.InspectionStub(channel)
    return stub.Inspect(pb.InspectRequest(encoded=PART), timeout=WAIT_S)


def test_a_listed_client_is_answered(running: Served, authority: Authority) -> None:
    with connected(running, authority, authority.issue("plc-1")) as channel:
        assert inspect(channel).verdict == pb.OK
        assert "edge_agent.v1.Inspection" in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_a_client_that_is_not_listed_is_refused_everywhere(running: Served, authority: Authority) -> None:
    with connected(running, authority, authority.issue("stranger")) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        for call in (
            lambda: inspect(channel),
            lambda: health.Check(request, timeout=WAIT_S),
            lambda: next(health.Watch(request, timeout=WAIT_S)),
            lambda: ProtoReflectionDescriptorDatabase(channel).get_services(),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            error: Any = caught.value
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            assert "stranger" in error.details()


def test_a_client_without_a_certificate_of_the_authority_does_not_get_in(
    running: Served, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for pair in (None, Authority(tmp_path_factory.mktemp("other")).issue("plc-1")):
        with connected(running, authority, pair) as channel, pytest.raises(grpc.RpcError) as caught:
            inspect(channel)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_whose_certificate_expired_does_not_get_in(running: Served, authority: Authority) -> None:
    with connected(running, authority, authority.issue("plc-1", expired=True)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            inspect(channel)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    with connected(running, authority, authority.issue("plc-1")) as channel:
        assert inspect(channel).verdict == pb.OK


def test_memory_of_this_machine_is_lent_by_callers_on_this_machine_only(tmp_path: Path) -> None:
    own_user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--net", *own_user, sys.executable, "-m", "tests.fakes.networked", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=WAIT_S, check=True)
    told = json.loads(done.stdout)
    assert told["encoded"] == told["near"] == "OK"
    assert told["shared"].startswith("FAILED_PRECONDITION: shared memory '/")
    assert told["shared"].endswith(": expected a caller on this machine, came one from the network; send the bytes")


@pytest.mark.parametrize(
    ("version", "gets_in"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_no_version_of_tls_before_1_2_is_spoken(
    running: Served, authority: Authority, version: ssl.TLSVersion, gets_in: bool
) -> None:
    pair = authority.issue("plc-1")
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(pair.certificate, pair.private_key)
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else this side would refuse by itself
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", running.data.tcp_port), WAIT_S) as plain:
        if gets_in:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                assert secure.selected_alpn_protocol() == "h2"
        else:
            with pytest.raises(ssl.SSLError, match=r"EOF|protocol version"):
                context.wrap_socket(plain, server_hostname="localhost")


def test_a_client_that_speaks_without_tls_is_not_answered(running: Served) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{running.data.tcp_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        inspect(channel)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"certificate": b"no certificate"}, "expected a certificate in .*cert"),
        ({"private_key": b"no key"}, "and its key in .*key"),
        ({"client_ca": b"no authority"}, "expected an authority's certificate in .*ca"),
        ({"private_key": "of somebody else"}, "and its key in .*key"),
        ({"clients": ("plc-1", " ")}, "expected clients to be common names, came an empty one"),
        ({"clients": ()}, "no clients came"),
        ({"certificate": None}, "no certificate came"),
    ],
)
def test_certificates_that_cannot_work_are_refused_at_the_start(
    authority: Authority, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    pair = authority.issue("agent")
    paths: dict[str, Any] = {"certificate": tmp_path / "cert", "private_key": tmp_path / "key"}
    paths |= {"client_ca": tmp_path / "ca", "clients": ("plc-1",)}
    for name, source in zip(("certificate", "private_key", "client_ca"), (*pair, authority.ca), strict=True):
        paths[name].write_bytes(source.read_bytes())
    for name, content in change.items():
        if isinstance(content, bytes):
            paths[name].write_bytes(content)
        elif isinstance(content, str):
            paths[name].write_bytes(authority.issue("other").private_key.read_bytes())
        else:
            paths[name] = content
    rpc = Rpc(tcp="127.0.0.1:0", tls=RpcTls(**paths))
    with pytest.raises(ConfigError, match=told), served(tmp_path / "run", rpc=rpc):
        pass


def test_the_unix_socket_needs_no_certificate(running: Served) -> None:
    with AgentClient.at(running.runtime_dir) as client:
        assert client.inspect(EncodedPicture(PART), timeout_s=WAIT_S).verdict is Verdict.OK
