"""Lookout for Vision's five calls, as its clients make them."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from edge_agent._proto.lookoutvision import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.lookout.components import Components
from tests.fakes.agent_core import FakeCore, Served, manifest_of, served
from tests.fakes.lookout_client import PATIENCE_S, RGB, LookoutClient, areas, pixels_of
from tests.fakes.posix_memory import DIRECTORY, PosixMemory

WHITE, GREEN = (0xFF, 0xFF, 0xFF), (0x23, 0xA4, 0x36)
SEGMENTS = "image-segmentation-app"
CLASSIFIES = "image-classification-app"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as everything:
        yield everything


@pytest.fixture
def client(running: Served) -> Iterator[LookoutClient]:
    with LookoutClient(f"unix:{running.runtime_dir}/agent.sock") as client:
        yield client


def part(width: int = 96, height: int = 64, *, spot: int = 16) -> RGB:
    """A grey part; its upper left corner is red, so many pixels each way."""
    picture = np.full((height, width, 3), 150, np.uint8)
    picture[:spot, :spot] = (220, 10, 10)
    return picture


def code_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    error: Any = caught.value
    assert len(error.details()) > 8
    return str(error.code().name)


def test_applications_and_models_are_listed_with_their_states(client: LookoutClient) -> None:
    models = client.models()
    assert set(models) == {
        "anomaly",
        "anomaly-detection-app",
        "image-classification-app",
        "image-segmentation-app",
        "img-classification",
        "unet",
    }
    assert {model.status for model in models.values()} == {pb.RUNNING}
    for name in ("unet", SEGMENTS):
        assert models[name].lookout_vision_model_arn == ("arn:edge-agent:lookoutvision:local:000000000000:model/unet/2")
        described = client.describe(name)
        assert described.SerializeToString() == models[name].SerializeToString()


@pytest.mark.parametrize("name", ["unet", "unet-2", "unet-1", SEGMENTS])
def test_a_component_is_an_application_a_model_or_an_identifier(client: LookoutClient, name: str) -> None:
    client.start_if_needed(name)
    assert client.detect(name, part()).is_anomalous


@pytest.mark.parametrize("name", ["", "nobody", "unet-x", "../unet", "x" * 5000, "unet\n"])
def test_a_name_that_nobody_has_is_not_found_by_any_call(client: LookoutClient, running: Served, name: str) -> None:
    for call in (client.describe, client.start, client.stop):
        assert code_of(call, name) == "NOT_FOUND"
    assert code_of(client.detect, name, part()) == "NOT_FOUND"
    assert running.core.timeouts == []


def test_an_anomalous_part_is_told_with_score_confidence_areas_and_mask(client: LookoutClient) -> None:
    picture = part(spot=16)
    result = client.detect(SEGMENTS, picture)
    share = 16 * 16 / (96 * 64)
    assert result.is_anomalous
    assert result.anomaly_score == pytest.approx(0.1 + share * 20)
    assert (result.confidence, result.anomaly_threshold) == (result.anomaly_score, 0.5)
    assert areas(result) == pytest.approx({"background": 1 - share, "defect": share})
    assert [anomaly.pixel_anomaly.hex_color for anomaly in result.anomalies] == ["#FFFFFF", "#23A436"]
    mask = pixels_of(result.anomaly_mask)
    expected = np.full_like(picture, 255)
    expected[:16, :16] = GREEN
    assert np.array_equal(mask, expected)


def test_a_normal_part_is_white_all_over(client: LookoutClient) -> None:
    result = client.detect(SEGMENTS, part(spot=0))
    assert not result.is_anomalous
    assert result.confidence == pytest.approx(1 - result.anomaly_score)
    assert areas(result) == {"background": 1.0}
    assert set(map(tuple, pixels_of(result.anomaly_mask).reshape(-1, 3))) == {WHITE}


def test_a_model_that_draws_nothing_answers_without_a_mask(client: LookoutClient) -> None:
    with PosixMemory(b"\x07" * 96 * 64 * 3) as memory:
        for mask in (None, pb.SharedMemoryHandle(name=memory.name)):
            result = client.detect(CLASSIFIES, part(), mask)
            assert result.is_anomalous
            assert not result.HasField("anomaly_mask")
            assert areas(result) == {"background": 1.0}
        assert set(memory.read()) == {7}


@pytest.mark.parametrize(("size", "offset"), [(0, 0), (96 * 64 * 3, 0), (10**6, 0), (0, 4096), (96 * 64 * 3, 77)])
def test_a_picture_is_read_from_shared_memory(client: LookoutClient, size: int, offset: int) -> None:
    picture = part(spot=20)
    with PosixMemory(bytes(offset) + picture.tobytes() + b"rest") as memory:
        handle = pb.SharedMemoryHandle(name=memory.name, size=size, offset=offset)
        result = client.ask(SEGMENTS, pb.Bitmap(width=96, height=64, shared_memory_handle=handle))
    assert areas(result)["defect"] == pytest.approx(400 / (96 * 64))


@pytest.mark.parametrize("offset", [0, 100])
def test_a_mask_is_put_into_the_clients_segment_and_nowhere_beside_it(client: LookoutClient, offset: int) -> None:
    picture = part(spot=20)
    with PosixMemory(b"\x07" * (offset + picture.nbytes + 50)) as memory:
        handle = pb.SharedMemoryHandle(name=memory.name, size=picture.nbytes, offset=offset)
        mask = client.detect(SEGMENTS, picture, handle).anomaly_mask
        assert (mask.width, mask.height, mask.shared_memory_handle) == (96, 64, handle)
        assert memory.read(0, offset) == b"\x07" * offset
        assert memory.read(offset + picture.nbytes) == b"\x07" * 50
        written = np.frombuffer(memory.read(offset, picture.nbytes), np.uint8).reshape(picture.shape)
    assert set(map(tuple, written[:20, :20].reshape(-1, 3))) == {GREEN}
    assert set(map(tuple, written[20:].reshape(-1, 3))) == {WHITE}


def test_one_segment_takes_picture_and_mask(client: LookoutClient) -> None:
    picture = part(spot=20)
    with PosixMemory(picture.tobytes()) as memory:
        handle = pb.SharedMemoryHandle(name=memory.name)
        assert client.detect_shared(SEGMENTS, memory, 96, 64, handle).is_anomalous
        assert memory.read(0, 3) == bytes(GREEN)


def test_a_mask_that_a_client_cannot_receive_is_left_out_and_its_areas_are_told(client: LookoutClient) -> None:
    largest, larger = part(1180, 1180, spot=400), part(1182, 1182, spot=400)
    assert client.detect(SEGMENTS, largest).anomaly_mask.width == 1180
    result = client.detect(SEGMENTS, larger)
    assert not result.HasField("anomaly_mask")
    assert areas(result)["defect"] == pytest.approx(400 * 400 / 1182**2)
    with PosixMemory(larger.nbytes) as memory:
        named = client.detect(SEGMENTS, larger, pb.SharedMemoryHandle(name=memory.name))
        assert named.anomaly_mask.shared_memory_handle.size == larger.nbytes
        assert memory.read(0, 3) == bytes(GREEN)


PIXELS = 64 * 64 * 3


def of_bytes(width: int, height: int, size: int) -> pb.Bitmap:
    return pb.Bitmap(width=width, height=height, byte_data=bytes(size))


@pytest.mark.parametrize(
    "bitmap",
    [
        pb.Bitmap(),
        pb.Bitmap(width=64, height=64),
        of_bytes(63, 64, 63 * 64 * 3),
        of_bytes(64, 63, 63 * 64 * 3),
        of_bytes(4097, 64, 4097 * 64 * 3),
        of_bytes(-64, -64, PIXELS),
        of_bytes(0, 0, 0),
        of_bytes(2**31 - 1, 2**31 - 1, 12),
        of_bytes(64, 64, PIXELS - 1),
        of_bytes(64, 64, PIXELS + 1),
        of_bytes(64, 64, 64 * 64),
    ],
)
def test_a_picture_that_is_none_is_refused_before_any_model_is_asked(
    client: LookoutClient, running: Served, bitmap: pb.Bitmap
) -> None:
    assert code_of(client.ask, SEGMENTS, bitmap) == "INVALID_ARGUMENT"
    assert running.core.timeouts == []


@pytest.mark.parametrize(
    "wrong",
    [
        pb.SharedMemoryHandle(),
        pb.SharedMemoryHandle(name="/"),
        pb.SharedMemoryHandle(name="/edge-agent-test-nothing"),
        pb.SharedMemoryHandle(name="/../etc/passwd"),
        pb.SharedMemoryHandle(name="/.."),
        pb.SharedMemoryHandle(name="a/b"),
        pb.SharedMemoryHandle(name="/x\0y"),
        pb.SharedMemoryHandle(name="/" + "x" * 300),
        pb.SharedMemoryHandle(name="{segment}", size=PIXELS - 1),
        pb.SharedMemoryHandle(name="{segment}", offset=1),
        pb.SharedMemoryHandle(name="{segment}", offset=2**64 - 1),
        pb.SharedMemoryHandle(name="{segment}", offset=2**63),
        pb.SharedMemoryHandle(name="{segment}", size=2**64 - 1, offset=5),
        pb.SharedMemoryHandle(name="{pipe}"),
        pb.SharedMemoryHandle(name="{directory}"),
        pb.SharedMemoryHandle(name="{link}"),
    ],
)
def test_a_segment_that_does_not_fit_is_refused_before_any_model_is_asked(
    client: LookoutClient, running: Served, wrong: pb.SharedMemoryHandle
) -> None:
    with PosixMemory(b"\x07" * PIXELS) as memory, strange_things(memory.path) as names:
        name = wrong.name.format(segment=memory.name, **names)
        handle = pb.SharedMemoryHandle(name=name, size=wrong.size, offset=wrong.offset)
        for bitmap, mask in (
            (pb.Bitmap(width=64, height=64, shared_memory_handle=handle), None),
            (of_bytes(64, 64, PIXELS), handle),
        ):
            assert code_of(client.ask, SEGMENTS, bitmap, mask) == "INVALID_ARGUMENT"
        assert memory.read() == b"\x07" * PIXELS
    assert running.core.timeouts == []


class strange_things:  # noqa: N801 - reads as a word of the test
    """What may lie among segments and is none: by kind, names as clients tell them."""

    def __init__(self, beside: Path) -> None:
        self._names = {kind: f"/{beside.name}-{kind}" for kind in ("pipe", "directory", "link")}
        self._target = beside

    def __enter__(self) -> dict[str, str]:
        paths = {kind: DIRECTORY / name[1:] for kind, name in self._names.items()}
        os.mkfifo(paths["pipe"])
        paths["directory"].mkdir()
        paths["link"].symlink_to(self._target)
        return self._names

    def __exit__(self, *_: object) -> None:
        (DIRECTORY / self._names["pipe"][1:]).unlink()
        (DIRECTORY / self._names["directory"][1:]).rmdir()
        (DIRECTORY / self._names["link"][1:]).unlink()


def test_a_semaphore_is_no_place_for_a_mask(client: LookoutClient) -> None:
    path = DIRECTORY / "sem.edge-agent-test"
    path.write_bytes(bytes(PIXELS))
    try:
        handle = pb.SharedMemoryHandle(name="/sem.edge-agent-test")
        assert code_of(client.detect, SEGMENTS, part(64, 64), handle) == "INVALID_ARGUMENT"
        assert path.read_bytes() == bytes(PIXELS)
    finally:
        path.unlink()


def test_a_segment_that_shrinks_while_the_model_works_is_refused_and_not_grown_again(
    client: LookoutClient, running: Served
) -> None:
    with PosixMemory(PIXELS) as memory:
        running.core.before_answer = lambda timeout_s: memory.truncate(100)
        handle = pb.SharedMemoryHandle(name=memory.name)
        assert code_of(client.detect, SEGMENTS, part(64, 64), handle) == "INVALID_ARGUMENT"
        assert memory.size == 100


def test_a_model_runs_is_stopped_and_is_started_again(client: LookoutClient) -> None:
    assert client.status("unet") == "RUNNING"
    assert code_of(client.start, "unet") == "FAILED_PRECONDITION"
    assert client.stop("unet") == "STOPPED"
    assert client.status("unet") == "STOPPED"
    assert client.describe("unet").status_message
    assert code_of(client.stop, "unet") == "FAILED_PRECONDITION"
    assert code_of(client.detect, "unet", part()) == "FAILED_PRECONDITION"
    assert client.start("unet") == "STARTING"
    assert client.status("unet") != "STOPPED"
    client.start_if_needed("unet")
    assert client.detect("unet", part()).is_anomalous


def test_what_one_client_stops_is_its_name_and_no_version_leaves_the_line(
    client: LookoutClient, running: Served
) -> None:
    client.stop("unet")
    assert client.detect(SEGMENTS, part()).is_anomalous
    assert {name for name, model in client.models().items() if model.status == pb.STOPPED} == {"unet"}
    assert "unet" in running.core.models


def test_a_stop_waits_for_the_last_request_and_takes_no_new_one(client: LookoutClient, running: Served) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def held(timeout_s: float) -> None:
        asked.set()
        assert go_on.wait(PATIENCE_S)

    running.core.before_answer = held
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(client.detect, "unet", part())
        assert asked.wait(PATIENCE_S)
        stopped = pool.submit(client.stop, "unet")
        while client.status("unet") == "RUNNING":
            pass
        assert client.status("unet") == "STOPPING"
        for call in (client.start, client.stop):
            assert code_of(call, "unet") == "FAILED_PRECONDITION"
        assert code_of(client.detect, "unet", part()) == "FAILED_PRECONDITION"
        assert not stopped.done()
        go_on.set()
        assert answer.result().is_anomalous
        assert stopped.result() == "STOPPED"
    assert client.status("unet") == "STOPPED"


def test_a_stop_that_outlasts_its_caller_still_takes_effect() -> None:
    components = Components(FakeCore(), dict)
    component = components.named("unet")
    with components.asked(component):
        with pytest.raises(InferenceError) as caught:
            components.stop(component, 0.01)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert components.status(component)[0] == pb.STOPPING
    assert components.status(component)[0] == pb.STOPPED


def test_a_worker_that_is_being_replaced_is_starting_and_a_model_without_one_has_failed(
    client: LookoutClient, running: Served
) -> None:
    running.core.states["unet"] = "LOADING"
    assert client.status("unet") == "STARTING"
    assert code_of(client.start, "unet") == "FAILED_PRECONDITION"
    assert code_of(client.stop, "unet") == "FAILED_PRECONDITION"
    del running.core.models["unet"]
    for name in (SEGMENTS, "unet"):
        assert client.status(name) == "FAILED"
        assert "unet" in client.describe(name).status_message
        assert code_of(client.detect, name, part()) == "FAILED_PRECONDITION"
        assert client.start(name) == "STARTING"
        assert client.status(name) != "STOPPED"
    running.core.models["unet"] = manifest_of("unet", "3")
    running.core.states.clear()
    client.start_if_needed(SEGMENTS)
    assert client.describe(SEGMENTS).lookout_vision_model_arn.endswith("/unet/3")


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL])
def test_trouble_with_a_model_keeps_its_code(client: LookoutClient, running: Served, code: Code) -> None:
    def fail(timeout_s: float) -> None:
        raise InferenceError(code, "a reason for people")

    running.core.before_answer = fail
    assert code_of(client.detect, "unet", part()) == code.value


def test_an_identifier_of_another_version_is_told_in_the_log_once(
    client: LookoutClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for _ in range(3):
        client.detect("unet-1", part())
    told = [record for record in caplog.records if getattr(record, "action", "") == "alias_answered"]
    assert [(record.asked, record.answered) for record in told] == [("unet-1", "unet-2")]  # type: ignore[attr-defined]


def test_stopped_names_are_bounded() -> None:
    components = Components(FakeCore(), dict)
    for number in range(256):
        components.stop(components.named(f"unet-{number}"), 1.0)
    with pytest.raises(InferenceError) as caught:
        components.stop(components.named("unet"), 1.0)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert components.status(components.named("unet"))[0] == pb.RUNNING


def test_a_component_that_has_a_models_name_and_is_mapped_elsewhere_is_the_application() -> None:
    components = Components(FakeCore(), lambda: {"unet": "anomaly", "com.acme.paper": "unet"})
    assert components.named("unet").model == "anomaly"
    assert components.named("com.acme.paper").model == "unet"
    assert components.named("img-classification").application == "img-classification"
