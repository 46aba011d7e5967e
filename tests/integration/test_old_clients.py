"""Clients of Lookout for Vision and of SageMaker Edge Manager against a real agent, on the sockets that they know."""

import base64
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_agent._proto.lookoutvision import edge_agent_pb2 as lookout
from edge_agent._proto.sagemaker_edge import agent_pb2 as sagemaker
from edge_agent.client import AgentClient
from edge_agent.formats import RawPicture, Verdict
from tests.fakes.census import census
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.lookout_client import LookoutClient, areas, pixels_of
from tests.fakes.posix_memory import DIRECTORY, PosixMemory
from tests.fakes.restless_client import restless_client
from tests.fakes.sagemaker_client import SageMakerClient
from tests.fakes.served_device import MODELS, served_device
from tests.fakes.system_v import SystemV, remove_segment
from tests.fakes.tiny_models import BRIGHT, GREY, SIDE, write_version

# As their clients look for them, in a directory of the test's own in place of /tmp.
SOCKETS = ("edge_agent", "aws.iot.lookoutvision.EdgeAgent.sock", "aws.greengrass.SageMakerEdgeManager.sock")
LARGEST = 4096


class Line(NamedTuple):
    """A device, and where its old clients find it."""

    device: AgentDevice
    directory: Path

    def target(self, socket: str = SOCKETS[0]) -> str:
        return f"unix://{self.directory / socket}"

    @property
    def pid(self) -> int:
        assert self.device.process is not None
        return self.device.process.pid


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    directory = tmp_path_factory.mktemp("old")
    (directory / "models").mkdir()
    settings: dict[str, dict[str, object]] = {
        "rpc": {"tcp": "", "sockets": [str(directory / name) for name in SOCKETS]},
        "device": {"thing": "press-4", "fleet": "line-4"},
        "capture": {"policy": "none", "url": (directory / "bucket").as_uri()},
        "trust": {"local_model_roots": [str(directory / "models")]},
    }
    (directory / "bucket").mkdir()
    with served_device(directory, settings) as device:
        yield Line(device, directory)


@pytest.fixture
def looking(line: Line) -> Iterator[LookoutClient]:
    with LookoutClient(line.target(SOCKETS[1])) as client:
        yield client


@pytest.fixture
def edge(line: Line) -> Iterator[SageMakerClient]:
    with SageMakerClient(line.target(SOCKETS[2])) as client:
        yield client


def part(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A part whose right half is bright, which is defective."""
    picture = np.full((height, width, 3), 40, np.uint8)
    picture[:, width // 2 :] = 240
    return picture


def settled(line: Line, before: Any) -> None:
    """Wait until nothing is held that was not held before."""
    told = ""

    def look() -> bool | None:
        nonlocal told
        told = census(line.pid).holds_more_than(before)
        return None if told else True

    eventually(look, lambda: told)
    assert census(line.pid).answering == before.answering


@pytest.mark.parametrize("socket", SOCKETS)
def test_every_old_socket_serves_every_protocol(line: Line, socket: str) -> None:
    target = line.target(socket)
    picture = np.full((1, SIDE, SIDE, 3), BRIGHT, np.uint8)
    with LookoutClient(target) as looking, SageMakerClient(target) as edge, AgentClient(target) as client:
        assert looking.detect("unet", part(64, 64)).anomaly_threshold == 0.5
        assert edge.predict("unet-1", picture)["score"].shape == (1,)
        frame = client.inspect(RawPicture(picture.tobytes(), SIDE, SIDE), timeout_s=60.0)
        assert (frame.verdict, len(frame.results)) == (Verdict.NG, 3)
    with grpc.insecure_channel(target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "AWS.SageMaker.Edge.Agent", "AWS.LookoutVision.EdgeAgent", "edge_agent.v1.Inspection"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=60.0)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_old_sockets_are_for_their_group_only(line: Line) -> None:
    assert {(line.directory / name).stat().st_mode & 0o777 for name in SOCKETS} == {0o660}


@pytest.mark.parametrize("component", MODELS)
def test_every_kind_of_model_answers_as_it_does_everywhere(line: Line, looking: LookoutClient, component: str) -> None:
    before = line.device.status().counts
    for value, verdict in ((GREY, Verdict.OK), (BRIGHT, Verdict.NG)):
        picture = np.full((64, 96, 3), value, np.uint8)
        result = looking.detect(component, picture)
        with line.device.client() as client:
            application = {model.name: model.applications[0] for model in client.status().models}[component]
            raw = RawPicture(picture.tobytes(), 96, 64)
            (same,) = client.inspect(raw, applications=[application], timeout_s=60.0).results
        assert (same.verdict, result.is_anomalous) == (verdict, verdict is Verdict.NG)
        assert (result.anomaly_score, result.anomaly_threshold) == pytest.approx((same.score, same.threshold))
        assert result.confidence == pytest.approx(max(same.score, 1 - same.score))
        assert result.HasField("anomaly_mask") == (component != "img-classification")
    after = line.device.status().counts
    assert (after.ok, after.ng) == (before.ok + 2, before.ng + 2)


def test_what_lookout_asks_is_told_like_every_inspection(line: Line, looking: LookoutClient) -> None:
    looking.detect("anomaly", part(64, 64))
    last = line.device.status().last_frame
    assert last is not None
    assert (last.source, last.results[0].application) == ("lookout", "anomaly-detection-app")


def test_the_largest_picture_goes_through_shared_memory_and_so_does_its_mask(
    line: Line, looking: LookoutClient
) -> None:
    looking.start_if_needed("unet")  # connected, before anything is counted
    before = census(line.pid)
    picture = part(LARGEST, LARGEST)
    with PosixMemory(picture.tobytes()) as memory, PosixMemory(picture.nbytes) as mask:
        handle = lookout.SharedMemoryHandle(name=mask.name, size=picture.nbytes)
        result = looking.detect_shared("unet", memory, LARGEST, LARGEST, handle)
        drawn = np.frombuffer(mask.read(), np.uint8).reshape(picture.shape)
    assert (result.anomaly_mask.width, result.anomaly_mask.shared_memory_handle.size) == (LARGEST, picture.nbytes)
    quarter = LARGEST // 4
    assert (drawn[:, :quarter] == 0xFF).all()
    assert (drawn[:, -quarter:] == (0x23, 0xA4, 0x36)).all()
    green = float((drawn == (0x23, 0xA4, 0x36)).all(axis=2).mean())
    assert areas(result) == pytest.approx({"background": 1 - green, "defect": green}, abs=1e-6)
    settled(line, before)


def test_the_largest_picture_goes_through_the_message_and_its_mask_stays_behind(looking: LookoutClient) -> None:
    result = looking.detect("unet", part(LARGEST, LARGEST))
    assert not result.HasField("anomaly_mask")
    assert areas(result)["defect"] == pytest.approx(0.5, abs=0.05)


def test_the_smallest_picture_brings_its_mask_in_the_answer(looking: LookoutClient) -> None:
    mask = pixels_of(looking.detect("unet", part(64, 64)).anomaly_mask)
    assert (mask[:, -16:] == (0x23, 0xA4, 0x36)).all()


def test_what_a_lookout_client_stops_goes_on_for_all_others(
    line: Line, looking: LookoutClient, edge: SageMakerClient
) -> None:
    workers = census(line.pid).answering
    assert looking.stop("unet") == "STOPPED"
    with pytest.raises(grpc.RpcError, match="FAILED_PRECONDITION"):
        looking.detect("unet", part(64, 64))
    picture = np.full((1, SIDE, SIDE, 3), BRIGHT, np.uint8)
    assert edge.predict("unet", picture)["score"].shape == (1,)
    with line.device.client() as client:
        frame = client.inspect(
            RawPicture(picture.tobytes(), SIDE, SIDE), applications=["image-segmentation-app"], timeout_s=60.0
        )
    assert frame.verdict is Verdict.NG
    assert line.device.generation()["unet"] == "1"
    looking.start_if_needed("unet")
    assert looking.detect("unet", part(64, 64)).anomaly_threshold == 0.5
    assert census(line.pid).answering == workers


def test_many_large_masks_at_a_time_are_all_drawn(line: Line) -> None:
    side = 2048
    picture = part(side, side)

    def ask(number: int) -> float:
        with LookoutClient(line.target(SOCKETS[number % 3])) as looking, PosixMemory(picture.nbytes) as mask:
            handle = lookout.SharedMemoryHandle(name=mask.name)
            result = looking.detect("unet", picture, handle)
            assert mask.read(0, 3) + mask.read(picture.nbytes - 3) == bytes((0xFF, 0xFF, 0xFF, 0x23, 0xA4, 0x36))
        return areas(result)["defect"]

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(ask, range(6)))) == 1


def test_a_worker_that_dies_is_starting_until_another_answers(line: Line, looking: LookoutClient) -> None:
    before = census(line.pid).answering
    for pid in before - {line.pid}:
        os.kill(pid, signal.SIGKILL)
    codes = set()

    def answered() -> bool | None:
        try:
            looking.detect("unet", part(64, 64))
        except grpc.RpcError as exc:
            call: Any = exc
            codes.add(call.code().name)
            return None
        return True

    eventually(answered)
    assert codes <= {"UNAVAILABLE"}
    for component in MODELS:
        looking.start_if_needed(component)
    assert not before & (census(line.pid).answering - {line.pid})


@pytest.mark.parametrize("protocol", ["lookout", "sagemaker"])
def test_a_client_that_is_killed_leaves_nothing_with_the_agent(
    line: Line, looking: LookoutClient, edge: SageMakerClient, protocol: str
) -> None:
    picture = np.full((1, SIDE, SIDE, 3), BRIGHT, np.uint8)
    edge.predict("anomaly", picture, shared=True)
    looking.detect("anomaly", part(64, 64))
    before = census(line.pid)
    for _ in range(2):
        with restless_client(protocol, line.target()) as (process, segment):
            process.kill()
            process.wait(60)
        if protocol == "lookout":
            (DIRECTORY / segment[1:]).unlink()
        else:
            remove_segment(int(segment))
    assert edge.predict("anomaly", picture, shared=True)["score"].shape == (1,)
    assert looking.detect("anomaly", part(64, 64)).anomaly_threshold == 0.5
    settled(line, before)


def test_segments_that_change_their_size_while_they_are_read_and_filled_harm_nobody(
    line: Line, looking: LookoutClient
) -> None:
    side = 1024
    picture = part(side, side)
    looking.start_if_needed("anomaly")
    before = census(line.pid)
    ended = threading.Event()
    with PosixMemory(picture.tobytes()) as memory, PosixMemory(picture.nbytes) as mask, ThreadPoolExecutor(1) as pool:

        def shrink_and_grow() -> int:
            number = 0
            for number in range(10**9):
                if ended.is_set():
                    break
                for segment in (memory, mask):
                    segment.truncate((0, picture.nbytes // 2, picture.nbytes)[number % 3])
            return number

        changes = pool.submit(shrink_and_grow)
        handle = lookout.SharedMemoryHandle(name=mask.name)
        try:
            codes = [detected(looking, memory, side, handle) for _ in range(40)]
        finally:
            ended.set()
        assert changes.result() > 40
        assert set(codes) <= {"OK", "INVALID_ARGUMENT"}
        assert "INVALID_ARGUMENT" in codes
        for segment in (memory, mask):
            segment.truncate(picture.nbytes)
        memory.write(picture.tobytes())
        assert detected(looking, memory, side, handle) == "OK"
    settled(line, before)


def detected(looking: LookoutClient, memory: PosixMemory, side: int, mask: lookout.SharedMemoryHandle) -> str:
    try:
        looking.detect_shared("anomaly", memory, side, side, mask)
    except grpc.RpcError as exc:
        call: Any = exc
        return str(call.code().name)
    return "OK"


def test_several_clients_of_several_models_get_their_own_answers(line: Line) -> None:
    def ask(number: int) -> list[float]:
        name = list(MODELS)[number % 3]
        value = 90 + 10 * number
        picture = np.full((1, SIDE, SIDE, 3), value, np.uint8)
        with SageMakerClient(line.target(SOCKETS[number % 3])) as client:
            raw = [float(client.predict(name, picture, shared=bool(turn % 2))["score"][0]) for turn in range(4)]
        assert raw == pytest.approx([(value - 128) / 16] * 4)
        return raw

    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(ask, range(6)))) == 6


def test_a_client_that_starts_again_finds_its_model_loaded(line: Line) -> None:
    picture = np.full((1, SIDE, SIDE, 3), BRIGHT, np.uint8)
    for _ in range(2):
        with SageMakerClient(line.target()) as client:
            model = client.load("versions/unet/1", "paper-cutter")
            assert (model.name, model.input_tensor_metadatas[0].data_type) == ("paper-cutter", sagemaker.UINT8)
            assert client.predict("paper-cutter", picture)["score"].shape == (1,)
            request = sagemaker.LoadModelRequest(url="versions/unet/1", name="paper-cutter")
            with pytest.raises(grpc.RpcError, match="ALREADY_EXISTS"):
                client.stub.LoadModel(request, timeout=60.0)
    with SageMakerClient(line.target(SOCKETS[2])) as another:
        another.unload("paper-cutter")
        assert "paper-cutter" not in another.models()
        assert another.predict("unet", picture)["score"].shape == (1,)


def test_a_clients_own_model_answers_beside_the_deployed_ones_and_goes_when_it_is_unloaded(
    line: Line, edge: SageMakerClient
) -> None:
    directory = line.directory / "models" / "mine"
    write_version(directory, name="mine", bias=1.0)
    workers = census(line.pid).answering
    edge.load(str(directory), "my-model")
    picture = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    assert edge.predict("my-model", picture)["score"][0] == pytest.approx(1.0)
    with LookoutClient(line.target()) as looking:
        assert looking.detect("mine", np.full((64, 64, 3), 128, np.uint8)).is_anomalous
    edge.unload("my-model")
    assert set(edge.models()) == set(MODELS)
    eventually(lambda: True if census(line.pid).answering == workers else None)


@pytest.mark.parametrize("url", ["/etc", "{tmp}/foreign", "versions/unet", "nothing"])
def test_what_nobody_trusts_is_not_loaded(line: Line, edge: SageMakerClient, tmp_path: Path, url: str) -> None:
    write_version(tmp_path / "foreign", name="foreign")
    with pytest.raises(grpc.RpcError, match=r"NOT_FOUND|FAILED_PRECONDITION"):
        edge.load(url.format(tmp=tmp_path), "foreign")
    assert set(edge.models()) == set(MODELS)


def test_a_capture_goes_from_in_progress_to_success_and_is_filed_as_its_readers_expect(
    line: Line, edge: SageMakerClient
) -> None:
    shutil.rmtree(line.directory / "bucket", ignore_errors=True)
    (line.directory / "bucket").mkdir()
    small, large = np.arange(6, dtype=np.float32), np.zeros((1, 3, 224, 224), np.float32)
    metadata = sagemaker.TensorMetadata(name=b"output", data_type=5, shape=[1, 6])
    output = sagemaker.Tensor(tensor_metadata=metadata, byte_data=small.tobytes())
    wide = sagemaker.TensorMetadata(name=b"input", data_type=5, shape=large.shape)
    jpeg = b"\xff\xd8\xff\xe0 no picture, but it begins like one"
    with SystemV(large.tobytes()) as tensor, SystemV(jpeg) as image:
        shared = sagemaker.Tensor(
            tensor_metadata=wide, shared_memory_handle=sagemaker.SharedMemoryHandle(segment_id=tensor.id)
        )
        handle = sagemaker.SharedMemoryHandle(segment_id=image.id)
        auxiliary = [
            sagemaker.AuxilaryData(name="image", encoding=sagemaker.NONE, shared_memory_handle=handle),
            sagemaker.AuxilaryData(name="note", encoding=sagemaker.JSON, byte_data=b'{"shift":1}'),
            sagemaker.AuxilaryData(name="table", encoding=sagemaker.CSV, byte_data=b"1,2"),
            sagemaker.AuxilaryData(name="photo", encoding=sagemaker.BASE64, byte_data=base64.b64encode(jpeg)),
        ]
        started = time.time()
        capture_id = edge.capture("unet", [shared], [output], auxiliary)
    seen = {edge.capture_status(capture_id)}
    eventually(lambda: True if (seen.add(edge.capture_status(capture_id)) or "SUCCESS" in seen) else None)
    assert seen <= {"IN_PROGRESS", "SUCCESS"}
    assert edge.capture_status("7c1f9c4e-0000-4000-8000-000000000000") == "NOT_FOUND"
    bucket = line.directory / "bucket"
    (file,) = bucket.rglob("*.jsonl")
    folder = file.parent.relative_to(bucket).as_posix()
    assert re.fullmatch(r"line-4/unet/\d{4}/\d\d/\d\d/\d\d", folder)
    check_record(json.loads(file.read_text()), capture_id, started)
    (reference,) = (entry for entry in json.loads(file.read_text())["deviceFleetInputs"])
    assert reference["data-ref"].startswith(f"{bucket.as_uri()}/{folder}/raw-data/")
    stored = bucket / reference["data-ref"].removeprefix(f"{bucket.as_uri()}/")
    assert stored.read_bytes() == large.tobytes()


def check_record(record: dict[str, Any], capture_id: str, started: float) -> None:
    metadata = record.pop("eventMetadata")
    taken = time.mktime(time.strptime(metadata.pop("inferenceTime"), "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert abs(taken - started) < 120
    assert metadata == {
        "eventId": capture_id,
        "deviceId": "press-4",
        "deviceFleetName": "line-4",
        "modelName": "unet",
        "modelVersion": "1",
    }
    assert record.pop("eventVersion") == "0"
    types = {group: [entry["observedContentType"] for entry in entries] for group, entries in record.items()}
    assert types == {
        "deviceFleetInputs": ["Tensor[float32; 1, 3, 224, 224]"],
        "deviceFleetOutputs": ["Tensor[float32; 1, 6]"],
        "deviceFleetAuxiliaryInputs": ["jpg", "json", "csv", "jpg"],
        "deviceFleetAuxiliaryOutputs": [],
    }
    for group, entries in record.items():
        for entry in entries:
            held = "data-ref" if group == "deviceFleetInputs" else "data"
            assert set(entry) == {"name", "encoding", "observedContentType", "mode", held}
            assert entry["mode"] == ("Output" if "Outputs" in group else "Input")
    image, note, _, photo = (base64.b64decode(entry["data"]) for entry in record["deviceFleetAuxiliaryInputs"])
    assert (note, image[:3]) == (b'{"shift":1}', b"\xff\xd8\xff")
    assert image == photo


def test_a_crash_of_the_agent_is_a_pause_and_no_more_to_its_old_clients(
    line: Line, looking: LookoutClient, edge: SageMakerClient
) -> None:
    picture = np.full((1, SIDE, SIDE, 3), BRIGHT, np.uint8)
    looking.stop("anomaly")
    edge.predict("unet-1", picture)
    line.device.kill()
    line.device.start()
    eventually(lambda: True if edge.is_connected() else None)
    assert edge.predict("unet-1", picture)["score"].shape == (1,)
    with LookoutClient(line.target()) as again:
        assert again.detect("anomaly", part(64, 64)).anomaly_threshold == 0.5


def test_captures_are_refused_with_the_codes_that_clients_know(edge: SageMakerClient) -> None:
    capture_id = edge.capture("unet", [], [])
    for changes, code in (
        ({"capture_id": capture_id}, "ALREADY_EXISTS"),
        ({"capture_id": "not-a-uuid"}, "INVALID_ARGUMENT"),
        ({"inference_timestamp": sagemaker.Timestamp(seconds=int(time.time()) + 3600)}, "OUT_OF_RANGE"),
    ):
        good = {"model_name": "unet", "capture_id": "7c1f9c4e-0000-4000-8000-00000000000a"}
        with pytest.raises(grpc.RpcError, match=code):
            edge.stub.CaptureData(sagemaker.CaptureDataRequest(**{**good, **changes}), timeout=60.0)
