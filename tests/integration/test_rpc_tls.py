"""TCP with certificates on both sides, and a list of who may call."""

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
from edge_agent.formats import EncodedPicture, Verdict
from tests.fakes.agent_core import Served, drawn_part, served
from tests.fakes.certificates import Authority, Pair

WAIT_S = 60
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


def test_the_unix_socket_needs_no_certificate(running: Served) -> None:
    with AgentClient.at(running.runtime_dir) as client:
        assert client.inspect(EncodedPicture(PART), timeout_s=WAIT_S).verdict is Verdict.OK
