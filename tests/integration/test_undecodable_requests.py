"""Bytes that are no message: refused like every wrong request, however many come on one connection."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge_agent.rpc.limits import Limits
from tests.fakes.agent_core import Served, served

WAIT_S = 60
# More than a connection may have streams at a time.
MANY = Limits().streams + 20
UNARY = (
    "/edge_agent.v1.Inspection/Inspect",
    "/AWS.SageMaker.Edge.Agent/Predict",
    "/AWS.LookoutVision.EdgeAgent/DetectAnomalies",
    "/grpc.health.v1.Health/Check",
)


def code_of(answer: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        answer()
    error: Any = caught.value
    return str(error.code().name)


@pytest.fixture
def running(tmp_path: Path) -> Any:
    with served(tmp_path) as everything:
        yield everything


@pytest.mark.parametrize("path", UNARY)
def test_a_connection_lives_through_any_number_of_them(running: Served, path: str) -> None:
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/agent.sock") as channel:
        call = channel.unary_unary(path)
        codes = {code_of(lambda: call(b"\xff", timeout=WAIT_S)) for _ in range(MANY)}
        assert codes == {"INVALID_ARGUMENT"}
        channel.unary_unary("/AWS.SageMaker.Edge.Agent/ListModels")(b"", timeout=WAIT_S)


@pytest.mark.parametrize(
    ("socket", "path"),
    [("agent.sock", "/grpc.health.v1.Health/Watch"), ("control.sock", "/edge_agent.v1.Operator/WatchEvents")],
)
def test_streams_of_answers_are_refused_the_same_way(running: Served, socket: str, path: str) -> None:
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/{socket}") as channel:
        call = channel.unary_stream(path)
        codes = {code_of(lambda: list(call(b"\xff", timeout=WAIT_S))) for _ in range(MANY)}
        assert codes == {"INVALID_ARGUMENT"}


def test_streams_of_requests_are_refused_at_the_first_that_is_none(running: Served) -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/agent.sock") as channel:
        call = channel.stream_stream(path)
        codes = {code_of(lambda: list(call(iter([b"\xff"]), timeout=WAIT_S))) for _ in range(MANY)}
        assert codes == {"INVALID_ARGUMENT"}
