"""Callers that ask for too much, too fast or too slowly: they are cut off, and everybody else is answered."""

import contextlib
import gc
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent._proto.inference import grpc_service_pb2 as triton
from edge_agent._proto.inference import grpc_service_pb2_grpc as triton_services
from edge_agent.client import AgentClient
from edge_agent.config import Inference, Rpc
from edge_agent.errors import InferenceError
from edge_agent.formats import EncodedPicture, Verdict
from edge_agent.inference import Answered, DataPlane, Registry, open_session
from edge_agent.inspection import Combination, Inspector, LineRule, RecentFrames, ResultCounter
from edge_agent.rpc.edge_agent_v1.inspection import InspectionService
from edge_agent.rpc.limits import MESSAGE_BYTES, Limits
from edge_agent.rpc.server import RpcServer
from edge_agent.rpc.service import service
from tests.fakes import http2
from tests.fakes.agent_core import FakeCore, drawn_part
from tests.fakes.device import eventually
from tests.fakes.http2 import Http2
from tests.fakes.tiny_models import write_version

WAIT_S = 60.0
PART = drawn_part(0)
INSPECT = "/edge_agent.v1.Inspection/Inspect"
WATCH = "/grpc.health.v1.Health/Watch"
THREADS = 4


@pytest.fixture
def core() -> FakeCore:
    return FakeCore()


@pytest.fixture
def serve(core: FakeCore, tmp_path: Path) -> Iterator[Callable[[Limits], RpcServer]]:
    """Start the real server before a core that is all in memory, with some limits."""
    started: list[RpcServer] = []

    def start(limits: Limits) -> RpcServer:
        server = RpcServer([InspectionService(core).as_service()], threads=THREADS, limits=limits)
        server.listen_on(tmp_path / f"{len(started)}.sock", "edge-agent")
        server.listen_on_tcp(Rpc(tcp="127.0.0.1:0"))
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop(0.0)


def answers(server: RpcServer) -> bool:
    """Whether a caller who behaves is answered, in time; it comes again when all threads are taken."""
    with AgentClient(f"127.0.0.1:{server.tcp_port}") as client:

        def asked() -> bool | None:
            with contextlib.suppress(InferenceError):
                return client.inspect(EncodedPicture(PART), timeout_s=WAIT_S).verdict is Verdict.OK
            return None

        return eventually(asked)


def status_of(server: RpcServer, request: pb.InspectRequest, **more: Any) -> grpc.StatusCode:
    """The status of a call whose client minds no limits."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.tcp_port}", options=unlimited) as channel:
        stub: Any = services.InspectionStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Inspect(request, timeout=WAIT_S, **more)
        error: Any = caught.value
        code: grpc.StatusCode = error.code()
        return code


def test_a_message_beyond_64_mib_is_refused(serve: Callable[[Limits], RpcServer]) -> None:
    server = serve(Limits())
    request = pb.InspectRequest(encoded=bytes(MESSAGE_BYTES + 1))
    assert status_of(server, request) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answers(server)


def test_metadata_without_end_is_refused(serve: Callable[[Limits], RpcServer]) -> None:
    server = serve(Limits())
    metadata = [(f"x-{number}", "x" * 1000) for number in range(100)]
    assert status_of(server, pb.InspectRequest(), metadata=metadata) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answers(server)


def test_a_call_without_a_request_is_refused(serve: Callable[[Limits], RpcServer]) -> None:
    server = serve(Limits())
    with Http2(server.tcp_port) as connection:
        stream = connection.open(INSPECT)
        connection.send(http2.frame(http2.DATA, http2.END_STREAM, stream))
        ended = (frame for frame in connection.frames() if frame.stream == stream and frame.kind == http2.HEADERS)
        assert next(ended).flags & http2.END_STREAM
    assert answers(server)


def test_more_calls_of_one_connection_than_it_may_have_open_are_refused(serve: Callable[[Limits], RpcServer]) -> None:
    server = serve(Limits(streams=8))
    with Http2(server.tcp_port) as connection:
        told = next(frame for frame in connection.frames() if frame.kind == http2.SETTINGS)
        pairs = dict(struct.iter_unpack(">HI", told.content))
        assert pairs[http2.MAX_STREAMS] == 8
        for _ in range(40):
            connection.open(INSPECT)
        refused = (frame for frame in connection.frames() if frame.kind == http2.RST_STREAM)
        assert int.from_bytes(next(refused).content, "big") in (http2.REFUSED_STREAM, http2.ENHANCE_YOUR_CALM)
        with AgentClient(f"127.0.0.1:{server.tcp_port}") as client, pytest.raises(InferenceError):
            client.inspect(EncodedPicture(PART), timeout_s=WAIT_S)  # its half calls hold all threads, until cut off
    assert answers(server)


def test_connections_beyond_the_limit_are_closed_and_room_is_made_by_leaving(
    serve: Callable[[Limits], RpcServer],
) -> None:
    server = serve(Limits(connections=3))
    inside = [Http2(server.tcp_port) for _ in range(3)]
    for connection in inside:
        assert next(connection.frames()).kind == http2.SETTINGS
    with Http2(server.tcp_port) as outside:
        assert list(outside.frames()) == []
    for connection in inside:
        connection.close()
    assert answers(server)


def test_a_connection_that_says_nothing_is_closed(serve: Callable[[Limits], RpcServer]) -> None:
    server = serve(Limits(handshake_s=0.3))
    with socket.create_connection(("127.0.0.1", server.tcp_port), WAIT_S) as silent:
        while silent.recv(1 << 16):  # what the server says first
            pass
    assert answers(server)


def test_a_peer_that_gives_no_sign_of_life_any_more_is_dropped(serve: Callable[[Limits], RpcServer]) -> None:
    server = serve(Limits(keepalive_s=0.5, keepalive_timeout_s=0.5))
    with Http2(server.tcp_port) as half_open:
        half_open.send(http2.frame(http2.SETTINGS, http2.ACK, 0))
        asked = [frame.kind for frame in half_open.frames()]  # ends when the server gives it up
    assert http2.PING in asked


def test_callers_who_are_slow_to_say_what_they_want_hold_no_thread_for_long(
    serve: Callable[[Limits], RpcServer],
) -> None:
    server = serve(Limits(receive_s=0.3))
    with Http2(server.tcp_port) as connection:
        streams = [connection.open(INSPECT) for _ in range(THREADS)]
        for stream in streams:
            connection.send(http2.frame(http2.DATA, 0, stream, http2.message(PART)[:100]))
        assert answers(server)
        ended = (frame.stream for frame in connection.frames() if frame.kind == http2.RST_STREAM)
        assert set(itertools.islice(ended, THREADS)) == set(streams)


def test_watchers_who_never_say_what_they_watch_take_no_place_for_long(serve: Callable[[Limits], RpcServer]) -> None:
    # Only the slowness ends the calls; who says what it watches does so sooner on any machine.
    server = serve(Limits(receive_s=2.0, keepalive_timeout_s=10 * WAIT_S))
    with Http2(server.tcp_port) as connection:
        streams = [connection.open(WATCH) for _ in range(THREADS)]
        assert answers(server)
        ended = (frame.stream for frame in connection.frames() if frame.kind == http2.RST_STREAM)
        assert set(itertools.islice(ended, THREADS)) == set(streams)
    with grpc.insecure_channel(f"127.0.0.1:{server.tcp_port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


class Echo(triton_services.GRPCInferenceServiceServicer):
    """Answers each request of a stream by its id, and tells how streams end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def ModelStreamInfer(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        try:
            for request in requests:
                yield triton.ModelStreamInferResponse(infer_response={"id": request.id})
        except grpc.RpcError as exc:
            self.ended.append(type(exc).__name__)
            raise


def test_a_caller_who_leaves_a_stream_is_no_fault_of_the_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    echo = Echo()
    add = triton_services.add_GRPCInferenceServiceServicer_to_server
    server = RpcServer([service(triton, "GRPCInferenceService", add, echo)], threads=THREADS)
    server.listen_on(tmp_path / "stream.sock", "edge-agent")
    server.start()

    def left() -> bool | None:
        gone = threading.Event()

        def requests() -> Iterator[triton.ModelInferRequest]:
            yield triton.ModelInferRequest(id="1")
            gone.wait(WAIT_S)

        with grpc.insecure_channel(f"unix:{tmp_path}/stream.sock") as channel:
            call = triton_services.GRPCInferenceServiceStub(channel).ModelStreamInfer(requests(), timeout=WAIT_S)
            assert next(call).infer_response.id == "1"
            call.cancel()
            gone.set()
        return True if echo.ended else None

    # Mostly it is noticed at once, by an error of gRPC; now and then as the stream's plain end.
    assert eventually(left)
    server.stop(WAIT_S)
    assert not [record for record in caplog.records if getattr(record, "action", "") == "call_failed"]


def test_callers_who_do_not_read_their_answers_hold_no_thread(
    serve: Callable[[Limits], RpcServer], core: FakeCore
) -> None:
    server = serve(Limits())
    request = pb.InspectRequest(encoded=drawn_part(2), with_mask=True).SerializeToString()
    with Http2(server.tcp_port, [(http2.INITIAL_WINDOW, 0)]) as deaf:
        # What the connection itself may carry is enough for the requests.
        sizes = 60_000 // (len(request) + 5)
        asked = min(sizes, THREADS * 3)
        for number in range(asked):
            deaf.call(INSPECT, request)
            eventually(lambda: len(core.timeouts) > number or None)  # noqa: B023 - called at once
        assert asked > THREADS
        assert answers(server)


def test_a_client_that_pings_without_end_is_cut_off(serve: Callable[[Limits], RpcServer]) -> None:
    server = serve(Limits())
    with Http2(server.tcp_port) as connection:

        def flood() -> None:
            with contextlib.suppress(OSError):  # cut off
                for number in range(200):
                    connection.send(http2.frame(http2.PING, 0, 0, struct.pack(">Q", number)))

        sender = threading.Thread(target=flood)
        sender.start()
        reasons = [frame.content for frame in connection.frames() if frame.kind == http2.GOAWAY]
        sender.join(WAIT_S)
    assert b"too_many_pings" in reasons[-1]
    assert int.from_bytes(reasons[-1][4:8], "big") == http2.ENHANCE_YOUR_CALM
    assert answers(server)


def test_calls_that_are_reset_as_soon_as_they_are_opened_take_no_memory_and_no_service(
    serve: Callable[[Limits], RpcServer],
) -> None:
    server = serve(Limits())
    assert answers(server)
    process = psutil.Process()
    before = process.memory_info().rss
    with ThreadPoolExecutor(1) as pool:
        attack = pool.submit(_reset_rapidly, server.tcp_port, 20_000)
        served = 0
        while not attack.done():
            served += answers(server)
        assert attack.result(WAIT_S) > 1000
    assert served > 0
    assert answers(server)
    assert process.memory_info().rss - before < 64 << 20


def _reset_rapidly(port: int, calls: int) -> int:
    """Open and reset calls, on as many connections as it takes; return how many."""
    block = http2.call_headers(INSPECT)
    sent = 0
    while sent < calls:
        with Http2(port) as connection:
            reader = threading.Thread(target=lambda: list(connection.frames()))
            reader.start()
            for stream in range(1, 2 * min(2000, calls - sent), 2):
                opened = http2.frame(http2.HEADERS, http2.END_HEADERS, stream, block)
                try:
                    connection.send(opened, http2.frame(http2.RST_STREAM, 0, stream, struct.pack(">I", http2.CANCEL)))
                except OSError:  # the server had enough of it
                    break
                sent += 1
            connection.socket.shutdown(socket.SHUT_RDWR)
            reader.join(WAIT_S)
    return sent


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        http2.PREFACE + b"\xff" * 9000,
        http2.PREFACE + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, b"\xff" * 64),
        http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b"odd"),
        http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0) + http2.frame(http2.WINDOW_UPDATE, 0, 0, bytes(4)),
        b"\x16\x03\x01\x02\x00\x01",
    ],
    ids=["http-1", "no-frames", "no-headers", "odd-settings", "no-window", "tls"],
)
def test_what_is_no_http2_at_all_ends_its_own_connection_only(
    serve: Callable[[Limits], RpcServer], content: bytes
) -> None:
    server = serve(Limits(handshake_s=1.0))
    with socket.create_connection(("127.0.0.1", server.tcp_port), WAIT_S) as peer:
        peer.sendall(content)
        try:
            while peer.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
    assert answers(server)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Nothing is freed but what nobody refers to."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def codes_of(server: RpcServer, requests: Iterator[pb.InspectRequest]) -> list[str]:
    """The code of each request, all on one connection."""
    found = []
    with grpc.insecure_channel(f"127.0.0.1:{server.tcp_port}") as channel:
        stub: Any = services.InspectionStub(channel)
        for request in requests:
            future = stub.Inspect.future(request, timeout=WAIT_S)
            found.append(str(future.code().name))
    return found


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pb.InspectRequest(encoded=PART), "OK"),
        (pb.InspectRequest(), "INVALID_ARGUMENT"),
        (pb.InspectRequest(encoded=PART, applications=["nobody"]), "NOT_FOUND"),
    ],
    ids=["good", "malformed", "unknown"],
)
def test_a_call_that_ended_is_over_at_once_however_it_ended(
    serve: Callable[[Limits], RpcServer], request_: pb.InspectRequest, code: str
) -> None:
    server = serve(Limits(streams=4))  # one more that lingers would be refused
    with uncollected():
        assert codes_of(server, iter([request_] * 60)) == [code] * 60


def test_a_picture_that_nobody_can_decode_leaves_nothing_of_its_call(tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v", name="bright")
    options = Inference(isolation="inline")
    registry, counts = Registry(), ResultCounter(tmp_path / "counts.db")
    registry.activate({"bright": open_session(tmp_path / "v", manifest, options, engines=tmp_path / "e")})
    plane = DataPlane(registry)
    kept: list[Answered] = []
    plane.watch(kept.append)  # as whoever watches a new version does
    inspector = Inspector(
        plane, lambda: {"app": "bright"}, LineRule(Combination("any_ng")), frames=RecentFrames(200), counts=counts
    )
    # A thread that has answered may have a while to go, so there are more of them than streams.
    server = RpcServer([InspectionService(inspector).as_service()], threads=16, limits=Limits(streams=4))
    server.listen_on_tcp(Rpc(tcp="127.0.0.1:0"))
    server.start()
    try:
        with uncollected():
            assert codes_of(server, iter([pb.InspectRequest(encoded=b"broken")] * 60)) == ["OK"] * 60
        assert [answered.error is not None for answered in kept] == [True] * 60
    finally:
        server.stop(0.0)
        counts.close()
        registry.close()
