"""The real servers over unix sockets and TCP, before a core that is all in memory."""

import io
import json
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.client import AgentClient, EventStream
from edge_agent.config import Rpc, RpcTls
from edge_agent.errors import Code, ConfigError, InferenceError, RefusedError
from edge_agent.formats import Counts, EncodedPicture, ModelVersion, RawPicture, Verdict
from edge_agent.rpc.edge_agent_v1.inspection import InspectionService
from edge_agent.rpc.server import data_server
from edge_agent.telemetry import metrics
from edge_agent.telemetry.logs import JsonFormatter
from edge_agent.vision import map_mask, overlay
from edge_agent.wire.inspection import SharedPicture
from edge_agent.wire.maps import map_from_proto
from tests.fakes.agent_core import FakeCore, Served, drawn_part, served

WAIT_S = 60
GOOD, BAD = drawn_part(0), drawn_part(2)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as everything:
        yield everything


@pytest.fixture(params=["unix", "tcp"])
def client(running: Served, request: pytest.FixtureRequest) -> Iterator[AgentClient]:
    data = f"unix:{running.runtime_dir}/agent.sock"
    if request.param == "tcp":
        data = f"127.0.0.1:{running.data.tcp_port}"
    with AgentClient(data, f"unix:{running.runtime_dir}/control.sock") as connected:
        yield connected


def opened(stream: EventStream) -> EventStream:
    """The stream, once the agent has subscribed for it."""
    assert stream._call.initial_metadata() is not None
    return stream


def test_a_defective_part_is_ng_with_its_mask_and_a_good_one_is_ok(client: AgentClient) -> None:
    bad = client.inspect(EncodedPicture(BAD), source="plc", frame_name="p1", with_mask=True, timeout_s=WAIT_S)
    assert (bad.verdict, bad.source, bad.name) == (Verdict.NG, "plc", "p1")
    assert bad.results[1].mask_png.startswith(b"\x89PNG")
    good = client.inspect(EncodedPicture(GOOD), applications=["image-segmentation-app"], timeout_s=WAIT_S)
    assert (good.verdict, len(good.results), good.results[0].mask_png) == (Verdict.OK, 1, b"")


def test_raw_and_shared_pictures_are_inspected_like_files(client: AgentClient) -> None:
    red = bytes([250, 10, 10]) * (64 * 48)
    raw = client.inspect(RawPicture(red, 64, 48), timeout_s=WAIT_S)
    assert (raw.verdict, raw.width, raw.height) == (Verdict.NG, 64, 48)
    name = f"/edge-agent-test-{os.getpid()}"
    path = Path("/dev/shm") / name[1:]
    try:
        path.write_bytes(b"skip" + red)
        shared = client.inspect(SharedPicture(name, 4, 64, 48), timeout_s=WAIT_S)
        assert (shared.verdict, shared.width) == (Verdict.NG, 64)
        with pytest.raises(InferenceError, match="it holds"):
            client.inspect(SharedPicture(name, 5, 64, 48), timeout_s=WAIT_S)
    finally:
        path.unlink()


def test_an_operator_sees_and_takes_back(client: AgentClient, running: Served) -> None:
    client.inspect(EncodedPicture(BAD), timeout_s=WAIT_S)
    status = client.status(timeout_s=WAIT_S)
    assert status == running.core.status().model_copy(update={"agent": status.agent, "clock": status.clock})
    assert status.deployment is None
    assert status.counts == Counts(ng=1)
    report = client.roll_back("unet", " too many NG ", actor="anna", timeout_s=WAIT_S)
    assert (report.state, report.reason) == ("succeeded", "too many NG (anna)")
    assert client.deployments(report.id, timeout_s=WAIT_S) == client.deployments(timeout_s=WAIT_S) == [report]
    assert {model.name: model.active for model in client.status().models}["unet"] == "1"
    with pytest.raises(RefusedError) as caught:
        client.roll_back("unet", "again", actor="anna", timeout_s=WAIT_S)
    assert caught.value.code is Code.NO_PREVIOUS
    assert [capture.verdict for capture in client.captures(timeout_s=WAIT_S)] == ["NG"]


def test_an_order_to_install_is_accepted_with_its_id(client: AgentClient, running: Served) -> None:
    wanted = [ModelVersion("unet", "3"), ModelVersion("anomaly", "1.2")]
    with opened(client.events()) as stream:
        identity = client.install(wanted, timeout_s=WAIT_S)
        ends = (event for event in stream if event.kind == "deployment" and event.to_dict()["deployment"]["ended"])
        assert next(ends).to_dict()["deployment"]["id"] == identity
    assert running.core.installs == [wanted]


def test_a_frame_is_asked_for_by_id_with_its_overlay(client: AgentClient) -> None:
    frame = client.inspect(EncodedPicture(BAD), timeout_s=WAIT_S)
    assert client.frame(frame.id, timeout_s=WAIT_S) == (BAD, "image/jpeg")
    drawn = client.frame(frame.id, "overlay", "image-segmentation-app", timeout_s=WAIT_S)
    assert drawn.content_type == "image/png"
    assert drawn.content.startswith(b"\x89PNG")
    anomalies = client.frame_map(frame.id, "image-segmentation-app", timeout_s=WAIT_S)
    assert (anomalies.width, anomalies.height) == (frame.width, frame.height)
    assert overlay(map_mask(anomalies)) == drawn.content
    with pytest.raises(InferenceError, match="no mask of other-app"):
        client.frame_map(frame.id, "other-app", timeout_s=WAIT_S)


def test_a_map_whose_numbers_do_not_fit_together_is_not_drawn() -> None:
    for message in (pb.AnomalyMap(), pb.AnomalyMap(logits=bytes(8), rows=2, columns=2, width=9, height=9)):
        with pytest.raises(InferenceError, match="expected float32 for each place"):
            map_from_proto(message)


def test_events_come_in_order_and_after_an_id(client: AgentClient, running: Served) -> None:
    with opened(client.events()) as stream:
        frame = client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S)
        news = iter(stream)
        first, second = next(news), next(news)
    assert (first.kind, first.payload) == ("frame", frame.model_copy(update={"at": first.to_dict()["frame"]["at"]}))
    assert (second.id, second.kind) == (first.id + 1, "counts")
    running.core.events.publish(Counts(ok=9))
    with client.events(after=second.id) as stream:
        assert next(iter(stream)).payload == Counts(ok=9)


def test_a_stream_that_is_closed_from_another_thread_ends_quietly(client: AgentClient) -> None:
    stream = opened(client.events())
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(lambda: list(stream))
        stream.close()
        assert read.result(WAIT_S) == []


def test_a_reader_that_went_away_gives_its_place_back(running: Served) -> None:
    control = f"unix:{running.runtime_dir}/control.sock"
    for _ in range(40):  # more than there are places
        with AgentClient(control, control) as passing:
            opened(passing.events()).close()
            assert passing.status(timeout_s=WAIT_S).agent.state == "READY"
            wait_until_free(running)


def wait_until_free(running: Served) -> None:
    """Until the agent has noticed that nobody reads events any more."""
    seen = threading.Event()
    for _ in range(WAIT_S * 20):
        if not watchers(running):
            return
        seen.wait(0.05)
    raise AssertionError("the stream still holds its place")


def watchers(running: Served) -> int:
    line = 'edge_agent_calls_in_flight{method="/edge_agent.v1.Operator/WatchEvents"} '
    text = metrics.exposition().decode()
    return int(float(text.split(line)[1].split("\n")[0])) if line in text else 0


def test_event_streams_are_bounded_and_leave_room_for_other_verbs(running: Served) -> None:
    with AgentClient.at(running.runtime_dir) as client:
        streams = [opened(client.events()) for _ in range(16)]
        with pytest.raises(InferenceError) as caught:
            next(iter(client.events()))
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        assert client.status(timeout_s=WAIT_S).agent.state == "READY"
        for stream in streams:
            stream.close()


@pytest.mark.parametrize(
    ("method", "request_", "status"),
    [
        ("Inspection/Inspect", pb.InspectRequest(), "INVALID_ARGUMENT"),
        ("Inspection/Inspect", pb.InspectRequest(encoded=b"no picture"), "INVALID_ARGUMENT"),
        ("Inspection/Inspect", pb.InspectRequest(encoded=GOOD, applications=["nobody"]), "NOT_FOUND"),
        ("Inspection/Inspect", pb.InspectRequest(encoded=GOOD, applications=[""]), "INVALID_ARGUMENT"),
        ("Inspection/Inspect", pb.InspectRequest(encoded=GOOD, applications=["x" * 1025]), "INVALID_ARGUMENT"),
        ("Inspection/Inspect", pb.InspectRequest(encoded=GOOD, applications=["x"] * 256), "INVALID_ARGUMENT"),
        ("Inspection/Inspect", pb.InspectRequest(encoded=GOOD, source="x" * 1025), "INVALID_ARGUMENT"),
        ("Inspection/Inspect", pb.InspectRequest(encoded=GOOD, frame_name="x" * 1025), "INVALID_ARGUMENT"),
        ("Inspection/Inspect", pb.InspectRequest(raw=pb.RawImage(width=9, height=9, rgb=b"x")), "INVALID_ARGUMENT"),
        (
            "Inspection/Inspect",
            pb.InspectRequest(shared=pb.SharedImage(name="/../etc/passwd", width=1, height=1)),
            "INVALID_ARGUMENT",
        ),
        (
            "Inspection/Inspect",
            pb.InspectRequest(shared=pb.SharedImage(name="/nothing-there", width=1, height=1)),
            "INVALID_ARGUMENT",
        ),
        (
            "Inspection/Inspect",
            pb.InspectRequest(shared=pb.SharedImage(name="/x", width=2**32 - 1, height=2**32 - 1)),
            "INVALID_ARGUMENT",
        ),
        ("Operator/RollBack", pb.RollBackRequest(model="unet", reason=" ", actor="a"), "INVALID_ARGUMENT"),
        ("Operator/RollBack", pb.RollBackRequest(model="unet", reason="r"), "INVALID_ARGUMENT"),
        ("Operator/RollBack", pb.RollBackRequest(reason="r", actor="a"), "INVALID_ARGUMENT"),
        ("Operator/RollBack", pb.RollBackRequest(model="x", reason="r" * 5000, actor="a"), "INVALID_ARGUMENT"),
        ("Operator/RollBack", pb.RollBackRequest(model="nobody", reason="r", actor="a"), "NOT_FOUND"),
        ("Operator/Install", pb.InstallRequest(), "INVALID_ARGUMENT"),
        ("Operator/Install", pb.InstallRequest(models=[pb.DeployedModel(name="unet")]), "INVALID_ARGUMENT"),
        ("Operator/Install", pb.InstallRequest(models=[pb.DeployedModel(name="../x", to="1")]), "INVALID_ARGUMENT"),
        ("Operator/Install", pb.InstallRequest(models=[pb.DeployedModel(name="unet", to="v1")]), "INVALID_ARGUMENT"),
        ("Operator/Install", pb.InstallRequest(models=[pb.DeployedModel(name="unet", to="1")] * 2), "INVALID_ARGUMENT"),
        ("Operator/ListDeployments", pb.ListDeploymentsRequest(id="nobody"), "NOT_FOUND"),
        ("Operator/GetFrame", pb.GetFrameRequest(id="nobody"), "NOT_FOUND"),
        ("Operator/GetFrame", pb.GetFrameRequest(id="f1", layer=pb.GetFrameRequest.OVERLAY), "INVALID_ARGUMENT"),
        ("Operator/GetFrame", pb.GetFrameRequest(id="f1", layer=7), "INVALID_ARGUMENT"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_request_gets_a_clear_status_and_changes_nothing(
    running: Served, method: str, request_: Any, status: str
) -> None:
    before = running.core.status().model_dump(exclude={"agent", "clock"})
    socket_name = "agent" if method.startswith("Inspection") else "control"
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/{socket_name}.sock") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            answer_of(channel, method, request_)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode[status]
        assert len(error.details()) > 8
    assert running.core.status().model_dump(exclude={"agent", "clock"}) == before
    assert running.core.installs == []


@pytest.mark.parametrize("character", ["x", "%", "\n", "é", "検", "😀"])
def test_a_long_message_in_any_script_arrives_shortened_with_its_own_status(running: Served, character: str) -> None:
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/control.sock") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            answer_of(channel, "Operator/GetFrame", pb.GetFrameRequest(id=character * 3000))
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert character * 300 in error.details()


def answer_of(channel: grpc.Channel, method: str, request: Any) -> bytes:
    call = channel.unary_unary(
        f"/edge_agent.v1.{method}", request_serializer=type(request).SerializeToString, response_deserializer=bytes
    )
    return call(request, timeout=WAIT_S)


def test_the_operators_verbs_are_not_on_the_data_plane(running: Served) -> None:
    with AgentClient(f"127.0.0.1:{running.data.tcp_port}") as client, pytest.raises(InferenceError, match="not served"):
        client.status(timeout_s=WAIT_S)


def test_a_call_that_a_protocol_has_and_this_server_does_not_is_unimplemented_and_no_fault(
    running: Served, caplog: pytest.LogCaptureFixture
) -> None:
    before = faults()
    address = f"unix:{running.runtime_dir}/agent.sock"
    with grpc.insecure_channel(address) as channel, caplog.at_level(logging.WARNING):
        for method in ("List", "Guess"):
            call = channel.unary_unary(f"/grpc.health.v1.Health/{method}", request_serializer=bytes)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=WAIT_S)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, method
    assert (faults(), caplog.records) == (before, [])


def test_a_fault_of_the_agent_is_internal_with_an_id_and_the_next_call_is_answered(
    client: AgentClient, running: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(timeout_s: float) -> None:
        raise KeyError("secret of the implementation")

    before = faults()
    running.core.before_answer = fail
    with pytest.raises(InferenceError) as caught:
        client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S)
    assert caught.value.code is Code.INTERNAL
    assert "secret" not in caught.value.message
    identity = caught.value.message.split()[-1]
    record = next(record for record in caplog.records if getattr(record, "action", "") == "call_failed")
    assert record.id == identity  # type: ignore[attr-defined]
    assert faults() == before + 1
    running.core.before_answer = lambda timeout_s: None
    assert client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S).verdict is Verdict.OK


def faults() -> float:
    return float(metrics.exposition().decode().split("\nedge_agent_faults_total ")[1].split("\n")[0])


def test_more_calls_than_threads_are_refused_at_once(tmp_path: Path) -> None:
    hold, held = threading.Event(), threading.Semaphore(0)

    def wait(timeout_s: float) -> None:
        held.release()
        assert hold.wait(WAIT_S)

    core = FakeCore()
    core.before_answer = wait
    rpc = Rpc(tcp="", threads=2)
    with served(tmp_path, core=core, rpc=rpc), AgentClient.at(tmp_path) as client, ThreadPoolExecutor(2) as pool:
        under_way = [pool.submit(client.inspect, EncodedPicture(GOOD), timeout_s=WAIT_S) for _ in range(2)]
        assert all(held.acquire(timeout=WAIT_S) for _ in range(2))
        with pytest.raises(InferenceError) as caught:
            client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S)
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        hold.set()
        assert [call.result(WAIT_S).verdict for call in under_way] == [Verdict.OK, Verdict.OK]


def test_a_fault_is_logged_with_its_id_in_the_trace_of_its_caller(running: Served) -> None:
    def fail(timeout_s: float) -> None:
        raise RuntimeError("broken inside")

    running.core.before_answer = fail
    told, trace = io.StringIO(), "4bf92f3577b34da6a3ce929d0e0e4736"
    handler = logging.StreamHandler(told)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("edge_agent.rpc.interceptor")
    logger.addHandler(handler)
    try:
        with grpc.insecure_channel(f"unix:{running.runtime_dir}/agent.sock") as channel:
            stub: Any = services.InspectionStub(channel)
            metadata = [("traceparent", f"00-{trace}-00f067aa0ba902b7-00")]
            with pytest.raises(grpc.RpcError) as caught:
                stub.Inspect(pb.InspectRequest(encoded=GOOD), timeout=WAIT_S, metadata=metadata)
    finally:
        logger.removeHandler(handler)
    error: Any = caught.value
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    (fault,) = (line for line in lines if line["action"] == "call_failed")
    assert fault["id"] in error.details()
    assert "broken inside" in fault["exception"]
    assert {line["trace_id"] for line in lines} == {trace}


def test_the_callers_deadline_is_what_the_core_is_told(client: AgentClient, running: Served) -> None:
    client.inspect(EncodedPicture(GOOD), timeout_s=47)
    client.roll_back("unet", "r", actor="a", timeout_s=48)
    # gRPC sends the time rounded up a little.
    assert 0 < running.core.timeouts[0] < 47.5
    assert 0 < running.core.timeouts[1] < 48.5
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/agent.sock") as channel:
        stub: Any = services.InspectionStub(channel)
        stub.Inspect(pb.InspectRequest(encoded=GOOD))
    assert 0 < running.core.timeouts[2] < 10.0  # an answer needs time to get back


def test_a_caller_whose_time_is_over_hears_so(client: AgentClient, running: Served) -> None:
    release = threading.Event()
    running.core.before_answer = lambda timeout_s: release.wait(WAIT_S) and None
    with pytest.raises(InferenceError) as caught:
        client.inspect(EncodedPicture(GOOD), timeout_s=0.2)
    release.set()
    assert caught.value.code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize("name", ["", "edge_agent.v1.Inspection", "AWS.SageMaker.Edge.Agent"])
def test_health_follows_what_the_agent_says_of_itself(running: Served, name: str) -> None:
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/agent.sock") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=name)
        assert stub.Check(request, timeout=WAIT_S).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request, timeout=WAIT_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        running.data.set_serving(serving=False)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert stub.Check(request, timeout=WAIT_S).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


def test_health_watchers_hold_no_thread_of_the_data_plane(running: Served) -> None:
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/agent.sock") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = []
        for _ in range(24):  # three times as many as there are threads
            watches.append(stub.Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_S))
            assert next(watches[-1]).status == health_pb2.HealthCheckResponse.SERVING
            pool_is_idle(running)
        with AgentClient.at(running.runtime_dir) as client:
            assert client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S).verdict is Verdict.OK
        for watch in watches:
            watch.cancel()


def pool_is_idle(running: Served) -> None:
    """Until the server counts no call any more: a watch that stays open is none."""
    with AgentClient.at(running.runtime_dir) as client:
        assert eventually(lambda: client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S).verdict is Verdict.OK)


@pytest.mark.parametrize(
    ("socket_name", "served_there"),
    [
        (
            "agent",
            {
                "edge_agent.v1.Inspection",
                "AWS.LookoutVision.EdgeAgent",
                "AWS.SageMaker.Edge.Agent",
                "grpc.health.v1.Health",
            },
        ),
        ("control", {"edge_agent.v1.Operator", "grpc.health.v1.Health"}),
    ],
)
def test_reflection_lists_what_is_served(running: Served, socket_name: str, served_there: set[str]) -> None:
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/{socket_name}.sock") as channel:
        names = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert names == served_there | {"grpc.reflection.v1alpha.ServerReflection"}


def test_sockets_are_for_their_groups_only_and_gone_after_a_stop(tmp_path: Path) -> None:
    extra = tmp_path / "old" / "edge_agent"
    with served(tmp_path, rpc=Rpc(tcp="", sockets=(extra,))):
        for path in (tmp_path / "agent.sock", tmp_path / "control.sock", extra):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with AgentClient(f"unix:{extra}") as client:
            assert client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S).verdict is Verdict.OK
    assert not extra.exists()
    assert list(tmp_path.glob("*.sock")) == []


def test_a_living_agents_socket_is_not_taken_over(running: Served) -> None:
    with pytest.raises(ConfigError, match="another process answers"), served(running.runtime_dir):
        pass
    with AgentClient.at(running.runtime_dir) as client:
        assert client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S).verdict is Verdict.OK


def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "agent.sock"))
    with served(tmp_path), AgentClient.at(tmp_path) as client:
        assert client.inspect(EncodedPicture(GOOD), timeout_s=WAIT_S).verdict is Verdict.OK


def test_a_file_in_the_sockets_place_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "agent.sock").write_text("dear")
    with pytest.raises(ConfigError, match="something else"), served(tmp_path):
        pass
    assert (tmp_path / "agent.sock").read_text() == "dear"


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="107 bytes"), served(tmp_path / ("x" * 120)):
        pass


def test_a_port_in_use_is_refused(running: Served, tmp_path: Path) -> None:
    rpc = Rpc(tcp=f"127.0.0.1:{running.data.tcp_port}")
    with pytest.raises(ConfigError, match="cannot listen"), served(tmp_path / "other", rpc=rpc):
        pass


@pytest.mark.parametrize(
    "rpc",
    [
        Rpc(tcp="0.0.0.0:0"),
        Rpc(tcp="[::]:0"),
        Rpc(tcp="example.com:0"),
        Rpc(tcp="0.0.0.0:0", tls=RpcTls(certificate=Path("/c"))),
        Rpc(tcp="127.0.0.1:0", tls=RpcTls(certificate=Path("/c"), private_key=Path("/k"), client_ca=Path("/a"))),
        Rpc(
            tcp="0.0.0.0:0",
            tls=RpcTls(certificate=Path("/c"), private_key=Path("/k"), client_ca=Path("/a"), clients=("plc",)),
        ),
    ],
)
def test_tcp_beyond_this_machine_needs_all_of_its_certificates(rpc: Rpc, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rpc\.t"):
        data_server(rpc, tmp_path, [InspectionService(FakeCore()).as_service()])


def test_a_message_of_64_mib_less_its_frame_arrives(running: Served) -> None:
    size = 4096
    rgb = bytes(size * size * 3)
    with AgentClient.at(running.runtime_dir) as client:
        frame = client.inspect(RawPicture(rgb, size, size), applications=["anomaly-detection-app"], timeout_s=WAIT_S)
    assert (frame.width, frame.height) == (size, size)


def test_a_client_finds_the_agent_again_after_its_restart(tmp_path: Path) -> None:
    with AgentClient.at(tmp_path) as client:
        with served(tmp_path):
            assert client.status(timeout_s=WAIT_S).agent.state == "READY"
        with pytest.raises(InferenceError) as caught:
            client.status(timeout_s=5)
        assert caught.value.code is Code.UNAVAILABLE
        with served(tmp_path):
            assert eventually(lambda: client.status(timeout_s=5).agent.state == "READY")


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true while the connection comes back."""
    pause = threading.Event()
    for _ in range(WAIT_S * 10):
        try:
            if condition():
                return True
        except InferenceError as error:
            assert error.code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)  # noqa: PT017 - and nothing else
        pause.wait(0.1)
    return False


def test_a_stop_lets_running_calls_end(tmp_path: Path) -> None:
    begun, release = threading.Event(), threading.Event()

    def wait(timeout_s: float) -> None:
        begun.set()
        assert release.wait(WAIT_S)

    with AgentClient.at(tmp_path) as client, ThreadPoolExecutor(2) as pool, served(tmp_path) as running:
        running.core.before_answer = wait
        call = pool.submit(client.inspect, EncodedPicture(GOOD), timeout_s=WAIT_S)
        assert begun.wait(WAIT_S)
        stop = pool.submit(running.data.stop, WAIT_S)
        release.set()
        assert call.result(WAIT_S).verdict is Verdict.OK
        stop.result(WAIT_S)
