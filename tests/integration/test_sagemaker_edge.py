"""SageMaker Edge's seven calls, as its clients make them."""

import hashlib
import os
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest

from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from edge_agent._proto.sagemaker_edge import agent_pb2_grpc as services
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Manifest
from edge_agent.rpc.sagemaker.models import LoadRules
from tests.fakes.agent_core import FakeCore, Served, manifest_of, served
from tests.fakes.system_v import SystemV

WAIT_S = 60
NOW = 1_800_000_000.0
VALUES = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
IMAGE = pb.TensorMetadata(name="image", data_type=pb.FLOAT32, shape=[2, 3])


class Place(NamedTuple):
    """Where models lie on this device."""

    versions: Path
    trusted: Path
    local: Path
    foreign: Path


def put(directory: Path, manifest: Manifest) -> str:
    """The manifest in a directory; returns its digest."""
    directory.mkdir(parents=True)
    content = manifest.to_json()
    (directory / "manifest.json").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "versions", tmp_path / "signed", tmp_path / "local", tmp_path / "foreign")


@pytest.fixture
def running(tmp_path: Path, place: Place) -> Iterator[Served]:
    put(place.versions / "unet" / "2", manifest_of("unet", "2"))
    put(place.versions / "spare" / "1", manifest_of("spare", "1"))
    signed = {put(place.trusted, manifest_of("unet", "2")), put(place.trusted / "other", manifest_of("signed", "1"))}
    put(place.local / "mine", manifest_of("mine", "1"))
    put(place.local / "unet", manifest_of("unet", "9"))
    (place.local / "empty").mkdir()
    put(place.foreign, manifest_of("foreign", "1"))
    (place.local / "way-out").symlink_to(place.foreign)
    (place.local / "circle").symlink_to(place.local / "circle")
    for name, strange in (("pipe", os.mkfifo), ("folder", os.mkdir)):
        (place.local / name).mkdir()
        strange(place.local / name / "manifest.json")
    rules = LoadRules(place.versions, signed.__contains__, (place.local,))
    with served(tmp_path, core=FakeCore(now=lambda: NOW), rules=rules) as everything:
        yield everything


@pytest.fixture
def edge(running: Served) -> Iterator[Any]:
    with grpc.insecure_channel(f"unix:{running.runtime_dir}/agent.sock") as channel:
        yield services.AgentStub(channel)


def code_of(call: Any, request: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=WAIT_S)
    error: Any = caught.value
    assert len(error.details()) > 8
    return str(error.code().name)


def tensor(values: np.ndarray[Any, Any] = VALUES, **metadata: Any) -> pb.Tensor:
    return pb.Tensor(tensor_metadata=pb.TensorMetadata(**metadata), byte_data=values.tobytes())


def predict(edge: Any, *tensors: pb.Tensor, name: str = "unet") -> pb.PredictResponse:
    answer: pb.PredictResponse = edge.Predict(pb.PredictRequest(name=name, tensors=tensors), timeout=WAIT_S)
    return answer


def check_doubled(answer: pb.PredictResponse) -> None:
    (came,) = answer.tensors
    assert came.tensor_metadata == pb.TensorMetadata(name="doubled_image", data_type=pb.FLOAT32, shape=[2, 3])
    assert came.WhichOneof("data") == "byte_data"
    assert np.array_equal(np.frombuffer(came.byte_data, np.float32).reshape(2, 3), VALUES * 2)


@pytest.mark.parametrize(
    "sent",
    [
        tensor(name="image", data_type=pb.FLOAT32, shape=[2, 3]),
        tensor(name=b"image", data_type=5, shape=[2, 3]),
        tensor(name="image", data_type=5),
        tensor(data_type=5, shape=[2, 3]),
        pb.Tensor(byte_data=VALUES.tobytes()),
    ],
    ids=["complete", "name-as-bytes", "no-shape", "no-name", "no-metadata"],
)
def test_tensors_are_understood_however_clients_describe_them(edge: Any, sent: pb.Tensor) -> None:
    check_doubled(predict(edge, sent))


@pytest.mark.parametrize("name", ["unet", "unet-2", "unet-1"])
def test_a_model_answers_under_its_name_and_under_identifiers(edge: Any, name: str) -> None:
    check_doubled(predict(edge, tensor(name="image", data_type=5, shape=[2, 3]), name=name))


@pytest.mark.parametrize(
    ("size", "offset", "mode"), [(0, 0, 0o400), (24, 0, 0o600), (0, 8, 0o400)], ids=["size-0", "size", "offset"]
)
def test_shared_memory_is_read_and_let_go(edge: Any, size: int, offset: int, mode: int) -> None:
    with SystemV(bytes(offset) + VALUES.tobytes() + b"rest", mode=mode) as segment:
        handle = pb.SharedMemoryHandle(size=size, offset=offset, segment_id=segment.id)
        check_doubled(predict(edge, pb.Tensor(tensor_metadata=IMAGE, shared_memory_handle=handle)))
        assert segment.attached == 0


def test_shared_memory_that_does_not_hold_the_tensor_is_refused(edge: Any, running: Served) -> None:
    with SystemV(VALUES.tobytes()) as segment:
        for size, offset, segment_id in (
            (0, 4, segment.id),
            (0, 2**63, segment.id),
            (0, 2**64 - 1, segment.id),
            (4, 0, segment.id),
            (2**40, 0, segment.id),
            (0, 0, 2**31 - 1),
            (0, 0, 2**31),
            (0, 0, 2**64 - 1),
        ):
            handle = pb.SharedMemoryHandle(size=size, offset=offset, segment_id=segment_id)
            sent = pb.Tensor(tensor_metadata=IMAGE, shared_memory_handle=handle)
            request = pb.PredictRequest(name="unet", tensors=[sent])
            assert code_of(edge.Predict, request) == "INVALID_ARGUMENT", (size, offset, segment_id)
        assert segment.attached == 0
    assert running.core.timeouts == []


def test_the_largest_tensor_is_bounded_before_it_is_read(edge: Any) -> None:
    with SystemV(b"small") as segment:
        huge = pb.TensorMetadata(name="image", data_type=5, shape=[2**31 - 1, 3])
        handle = pb.SharedMemoryHandle(segment_id=segment.id)
        request = pb.PredictRequest(name="unet", tensors=[pb.Tensor(tensor_metadata=huge, shared_memory_handle=handle)])
        assert code_of(edge.Predict, request) == "INVALID_ARGUMENT"


GOOD = tensor(name="image", data_type=5, shape=[2, 3])


@pytest.mark.parametrize(
    ("name", "tensors", "status"),
    [
        ("nobody", [GOOD], "NOT_FOUND"),
        ("", [GOOD], "NOT_FOUND"),
        ("unet", [], "INVALID_ARGUMENT"),
        ("unet", [GOOD, GOOD], "INVALID_ARGUMENT"),
        ("unet", [tensor(name="other", data_type=5, shape=[2, 3])], "INVALID_ARGUMENT"),
        ("unet", [tensor(name="image", data_type=pb.UINT8, shape=[2, 3])], "INVALID_ARGUMENT"),
        ("unet", [tensor(name="image", data_type=5, shape=[3, 2])], "INVALID_ARGUMENT"),
        ("unet", [tensor(name="image", data_type=5, shape=[-1, 3])], "INVALID_ARGUMENT"),
        ("unet", [tensor(name="image", data_type=5, shape=[2, 3, 1])], "INVALID_ARGUMENT"),
        ("unet", [tensor(VALUES[:1], name="image", data_type=5, shape=[2, 3])], "INVALID_ARGUMENT"),
        ("unet", [tensor(VALUES.astype("uint8"), name="image", data_type=5)], "INVALID_ARGUMENT"),
        ("unet", [tensor(name="image", data_type=77, shape=[2, 3])], "INVALID_ARGUMENT"),
        ("unet", [pb.Tensor(tensor_metadata=IMAGE)], "INVALID_ARGUMENT"),
    ],
)
def test_a_wrong_request_is_refused_before_any_model_is_asked(
    edge: Any, running: Served, name: str, tensors: list[pb.Tensor], status: str
) -> None:
    assert code_of(edge.Predict, pb.PredictRequest(name=name, tensors=tensors)) == status
    assert running.core.timeouts == []


def load(edge: Any, url: Path | str, name: str) -> pb.Model:
    model: pb.Model = edge.LoadModel(pb.LoadModelRequest(url=str(url), name=name), timeout=WAIT_S).model
    return model


def names(edge: Any) -> set[str]:
    return {model.name for model in edge.ListModels(pb.ListModelsRequest(), timeout=WAIT_S).models}


def test_an_installed_version_is_loaded_under_a_name_of_the_clients_own(edge: Any, place: Place) -> None:
    model = load(edge, place.versions / "unet" / "2", "cutter")
    assert (model.name, model.url) == ("cutter", str(place.versions / "unet" / "2"))
    assert [spec.name for spec in model.input_tensor_metadatas] == ["image"]
    assert list(model.output_tensor_metadatas[0].shape) == [-1, 3]
    assert names(edge) == {"anomaly", "img-classification", "unet", "cutter"}
    check_doubled(predict(edge, GOOD, name="cutter"))
    described = edge.DescribeModel(pb.DescribeModelRequest(name="cutter"), timeout=WAIT_S).model
    assert described == model


@pytest.mark.parametrize("url", ["unet/2", "versions/unet/2"])
def test_relative_directories_lie_with_the_versions(edge: Any, url: str) -> None:
    assert load(edge, url, "cutter").name == "cutter"


def test_a_name_that_is_loaded_already_exists_and_goes_on_working(edge: Any, place: Place, running: Served) -> None:
    url = place.versions / "unet" / "2"
    load(edge, url, "unet-2")
    with grpc.insecure_channel(f"127.0.0.1:{running.data.tcp_port}") as channel:  # the client, started again
        again: Any = services.AgentStub(channel)
        for name in ("unet-2", "unet"):
            assert code_of(again.LoadModel, pb.LoadModelRequest(url=str(url), name=name)) == "ALREADY_EXISTS"
            check_doubled(predict(again, GOOD, name=name))


def test_an_alias_follows_its_model_to_another_version(
    edge: Any, place: Place, running: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    load(edge, place.versions / "unet" / "2", "unet-2")
    running.core.models["unet"] = manifest_of("unet", "3")
    for _ in range(3):
        check_doubled(predict(edge, GOOD, name="unet-2"))
    told = [record for record in caplog.records if getattr(record, "action", "") == "alias_answered"]
    assert [(record.asked, record.answered) for record in told] == [("unet-2", "unet-3")]  # type: ignore[attr-defined]


def test_unloading_drops_the_clients_name_and_never_a_deployed_version(edge: Any, place: Place) -> None:
    load(edge, place.versions / "unet" / "2", "unet-2")
    for name in ("unet-2", "unet"):
        edge.UnLoadModel(pb.UnLoadModelRequest(name=name), timeout=WAIT_S)
    assert names(edge) == {"anomaly", "img-classification", "unet"}
    check_doubled(predict(edge, GOOD))
    for call, request in (
        (edge.UnLoadModel, pb.UnLoadModelRequest(name="unet-2")),
        (edge.DescribeModel, pb.DescribeModelRequest(name="unet-2")),
        (edge.Predict, pb.PredictRequest(name="unet-2", tensors=[GOOD])),
    ):
        assert code_of(call, request) == "NOT_FOUND"
    assert load(edge, place.versions / "unet" / "2", "unet-2").name == "unet-2"
    check_doubled(predict(edge, GOOD, name="unet-2"))


def test_a_model_under_a_local_root_is_loaded_and_ends_with_its_last_name(
    edge: Any, place: Place, running: Served
) -> None:
    load(edge, place.local / "mine", "first")
    load(edge, "mine", "second")
    assert running.core.own == {"mine"}
    check_doubled(predict(edge, GOOD, name="second"))
    edge.UnLoadModel(pb.UnLoadModelRequest(name="first"), timeout=WAIT_S)
    check_doubled(predict(edge, GOOD, name="second"))
    edge.UnLoadModel(pb.UnLoadModelRequest(name="second"), timeout=WAIT_S)
    assert running.core.own == set()
    assert names(edge) == {"anomaly", "img-classification", "unet"}


def test_another_version_of_a_model_that_a_client_loaded_is_not_taken_for_it(
    edge: Any, place: Place, running: Served
) -> None:
    put(place.local / "newer", manifest_of("mine", "2"))
    load(edge, place.local / "mine", "first")
    request = pb.LoadModelRequest(url=str(place.local / "newer"), name="second")
    assert code_of(edge.LoadModel, request) == "FAILED_PRECONDITION"
    assert "second" not in names(edge)
    edge.UnLoadModel(pb.UnLoadModelRequest(name="first"), timeout=WAIT_S)
    load(edge, place.local / "newer", "second")
    assert running.core.models["mine"].version == "2"


def test_a_model_is_found_by_its_name_though_a_client_gave_that_name_back_before(
    edge: Any, place: Place, running: Served
) -> None:
    load(edge, place.versions / "unet" / "2", "later")
    edge.UnLoadModel(pb.UnLoadModelRequest(name="later"), timeout=WAIT_S)
    running.core.models["later"] = manifest_of("later", "1")
    assert "later" in names(edge)
    check_doubled(predict(edge, GOOD, name="later"))


def test_a_name_of_millions_of_characters_takes_no_memory_beyond_its_own(running: Served) -> None:
    name = "a" * (1 << 20)
    tracemalloc.start()
    with pytest.raises(InferenceError) as caught:
        running.models.load("unet/2", name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert peak < 1 << 20


@pytest.fixture
def on_its_way(running: Served, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """``unet`` is being loaded, and there as soon as somebody waits for it; returns how long they would have."""
    unet, waited = running.core.models.pop("unet"), list[float]()

    def arrive(_name: str, timeout_s: float) -> None:
        waited.append(timeout_s)
        running.core.models["unet"] = unet

    monkeypatch.setattr(running.core, "resolve", lambda name: "unet" if name.startswith("unet") else None)
    monkeypatch.setattr(running.core, "wait_for", arrive)
    return waited


@pytest.mark.parametrize("name", ["unet", "unet-2"])
def test_a_request_waits_within_its_time_for_a_model_that_is_on_its_way(
    edge: Any, on_its_way: list[float], name: str
) -> None:
    check_doubled(predict(edge, GOOD, name=name))
    assert 0 < on_its_way[0] < 2 * WAIT_S


def test_a_model_that_is_on_its_way_is_described_and_named_once_it_is_there(
    edge: Any, place: Place, on_its_way: list[float]
) -> None:
    assert load(edge, place.versions / "unet" / "2", "cutter").name == "cutter"
    assert edge.DescribeModel(pb.DescribeModelRequest(name="unet"), timeout=WAIT_S).model.name == "unet"
    assert len(on_its_way) == 2


def test_a_model_that_does_not_come_in_time_is_unavailable_and_its_name_taken(
    edge: Any, place: Place, running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    del running.core.models["unet"]
    monkeypatch.setattr(running.core, "resolve", lambda name: "unet" if name == "unet" else None)
    assert code_of(edge.Predict, pb.PredictRequest(name="unet", tensors=[GOOD])) == "UNAVAILABLE"
    request = pb.LoadModelRequest(url=str(place.versions / "unet" / "2"), name="unet")
    assert code_of(edge.LoadModel, request) == "ALREADY_EXISTS"


def test_a_signed_directory_is_loaded_wherever_it_lies(edge: Any, place: Place, running: Served) -> None:
    load(edge, place.trusted, "same-as-active")
    assert running.core.own == set()
    load(edge, place.trusted / "other", "another")
    assert running.core.own == {"signed"}


@pytest.mark.parametrize(
    ("url", "name", "status"),
    [
        ("{versions}/unet/7", "x", "NOT_FOUND"),
        ("/nothing/there", "x", "NOT_FOUND"),
        ("", "x", "NOT_FOUND"),
        ("a\0b", "x", "NOT_FOUND"),
        ("{versions}/unet/2", "", "INVALID_ARGUMENT"),
        ("{versions}/unet/2", "a/b", "INVALID_ARGUMENT"),
        ("{versions}/unet/2", "x" * 300, "INVALID_ARGUMENT"),
        ("{versions}/unet/2", "anomaly", "ALREADY_EXISTS"),
        ("{versions}/spare/1", "x", "FAILED_PRECONDITION"),
        ("{foreign}", "x", "FAILED_PRECONDITION"),
        ("{local}/way-out", "x", "FAILED_PRECONDITION"),
        ("{local}/../foreign", "x", "FAILED_PRECONDITION"),
        ("{local}/empty", "x", "FAILED_PRECONDITION"),
        ("{local}/pipe", "x", "FAILED_PRECONDITION"),
        ("{local}/folder", "x", "FAILED_PRECONDITION"),
        ("{local}/circle", "x", "NOT_FOUND"),
        ("{local}/mine/manifest.json", "x", "NOT_FOUND"),
        ("x" * 5000, "x", "NOT_FOUND"),
        ("a/" * 3000, "x", "NOT_FOUND"),
        ("{versions}/unet/2", "-x", "INVALID_ARGUMENT"),
        ("{versions}/unet/2", "x-", "INVALID_ARGUMENT"),
        ("{versions}/unet/2", "x.y", "INVALID_ARGUMENT"),
        ("{versions}/unet/2", "x\n", "INVALID_ARGUMENT"),
        ("{local}/unet", "x", "FAILED_PRECONDITION"),
        ("/etc", "x", "FAILED_PRECONDITION"),
    ],
)
def test_what_may_not_be_loaded_is_refused_with_the_reason(
    edge: Any, place: Place, running: Served, url: str, name: str, status: str
) -> None:
    before = names(edge)
    request = pb.LoadModelRequest(url=url.format(**place._asdict()), name=name)
    assert code_of(edge.LoadModel, request) == status
    assert names(edge) == before
    assert running.core.own == set()


def test_names_of_clients_are_bounded_and_those_there_are_go_on(edge: Any, place: Place) -> None:
    url = place.versions / "unet" / "2"
    for number in range(256):
        load(edge, url, f"name-{number}")
    assert code_of(edge.LoadModel, pb.LoadModelRequest(url=str(url), name="one-more")) == "RESOURCE_EXHAUSTED"
    check_doubled(predict(edge, GOOD, name="name-255"))
    edge.UnLoadModel(pb.UnLoadModelRequest(name="name-0"), timeout=WAIT_S)
    load(edge, url, "one-more")


def test_identifiers_that_were_unloaded_are_remembered_up_to_a_bound(edge: Any, running: Served) -> None:
    for number in range(1025):
        running.models.unload(f"unet-{number}")
    assert code_of(edge.DescribeModel, pb.DescribeModelRequest(name="unet-1024")) == "NOT_FOUND"
    check_doubled(predict(edge, GOOD, name="unet-0"))


def test_a_name_may_have_several_dashes_inside(edge: Any, place: Place) -> None:
    assert load(edge, place.versions / "unet" / "2", "a--b-2").name == "a--b-2"


def test_a_model_that_does_not_fit_into_memory_is_not_named(
    edge: Any, place: Place, running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(directory: Path, manifest: Manifest) -> None:
        raise InferenceError(Code.RESOURCE_EXHAUSTED, f"{manifest.model} needs more memory than there is")

    monkeypatch.setattr(running.core, "load", full)
    request = pb.LoadModelRequest(url=str(place.local / "mine"), name="x")
    assert code_of(edge.LoadModel, request) == "RESOURCE_EXHAUSTED"
    assert "x" not in names(edge)


def test_one_models_odd_tensor_names_never_break_the_list_of_all(edge: Any, running: Served) -> None:
    odd = manifest_of("odd", "1", inputs=[{"name": "Ä\x00\n", "dtype": "uint8", "shape": [2**40, -7]}])
    spec = odd.inputs[0].model_copy(update={"name": "broken \udcff"})
    running.core.models["odd"] = odd.model_copy(update={"inputs": (odd.inputs[0], spec)})
    models = {model.name: model for model in edge.ListModels(pb.ListModelsRequest(), timeout=WAIT_S).models}
    assert set(models) == {"anomaly", "img-classification", "unet", "odd"}
    assert list(models["odd"].input_tensor_metadatas[0].shape) == [-1, -1]
    assert models["odd"].input_tensor_metadatas[1].name.startswith("broken ")


def capture_request(**changes: Any) -> pb.CaptureDataRequest:
    content: dict[str, Any] = {
        "model_name": "unet-1",
        "capture_id": str(uuid.uuid4()),
        "input_tensors": [tensor(name="input", data_type=5, shape=[2, 3])],
        "output_tensors": [tensor(name="output", data_type=5)],
        "inputs": [pb.AuxilaryData(name="image", encoding=pb.NONE, byte_data=b"jpeg")],
    }
    return pb.CaptureDataRequest(**(content | changes))


def test_a_capture_is_taken_and_its_end_is_told(edge: Any, running: Served) -> None:
    request = capture_request(inference_timestamp=pb.Timestamp(seconds=int(NOW) - 5, nanos=500_000_000))
    edge.CaptureData(request, timeout=WAIT_S)
    taken = running.core.tensor_captures[request.capture_id]
    assert (taken.model, taken.version, taken.at) == ("unet-1", "2", NOW - 4.5)
    assert (taken.inputs[0].spec.shape, taken.outputs[0].spec.shape) == ((2, 3), (6,))
    assert taken.inputs[0].content == VALUES.tobytes()
    assert taken.auxiliary_inputs == (("image", "NONE", b"jpeg"),)
    status = edge.GetCaptureDataStatus(pb.GetCaptureDataStatusRequest(capture_id=request.capture_id), timeout=WAIT_S)
    assert status.status == pb.SUCCESS
    assert code_of(edge.CaptureData, request) == "ALREADY_EXISTS"


def test_a_capture_without_a_time_gets_the_servers_and_shared_memory_is_copied(edge: Any, running: Served) -> None:
    with SystemV(VALUES.tobytes()) as segment:
        handle = pb.SharedMemoryHandle(segment_id=segment.id)
        shared = pb.Tensor(tensor_metadata=IMAGE, shared_memory_handle=handle)
        request = capture_request(model_name="unet", input_tensors=[shared])
        edge.CaptureData(request, timeout=WAIT_S)
    taken = running.core.tensor_captures[request.capture_id]
    assert (taken.at, taken.version) == (NOW, "2")
    assert taken.inputs[0].content == VALUES.tobytes()


@pytest.mark.parametrize("offset", [0, 8])
def test_auxiliary_data_and_tensors_without_a_size_take_what_their_segment_holds(
    edge: Any, running: Served, offset: int
) -> None:
    with SystemV(VALUES.tobytes(), mode=0o400) as segment:
        handle = pb.SharedMemoryHandle(segment_id=segment.id, offset=offset)
        flat = pb.TensorMetadata(name="input", data_type=5)
        request = capture_request(
            input_tensors=[pb.Tensor(tensor_metadata=flat, shared_memory_handle=handle)],
            inputs=[pb.AuxilaryData(name="image", encoding=pb.NONE, shared_memory_handle=handle)],
            outputs=[
                pb.AuxilaryData(
                    name=b"part",
                    encoding=pb.JSON,
                    shared_memory_handle=pb.SharedMemoryHandle(segment_id=segment.id, offset=offset, size=4),
                )
            ],
        )
        edge.CaptureData(request, timeout=WAIT_S)
        assert segment.attached == 0
    taken = running.core.tensor_captures[request.capture_id]
    content = VALUES.tobytes()[offset:]
    assert (taken.inputs[0].spec.shape, taken.inputs[0].content) == ((len(content) // 4,), content)
    assert taken.auxiliary_inputs == (("image", "NONE", content),)
    assert taken.auxiliary_outputs == (("part", "JSON", content[:4]),)


@pytest.mark.parametrize("encoding", pb.Encoding.keys())
def test_auxiliary_data_comes_in_every_encoding(edge: Any, running: Served, encoding: str) -> None:
    auxiliary = pb.AuxilaryData(name="note", encoding=encoding, byte_data=b"1,2")
    request = capture_request(inputs=[auxiliary], outputs=[auxiliary])
    edge.CaptureData(request, timeout=WAIT_S)
    taken = running.core.tensor_captures[request.capture_id]
    assert taken.auxiliary_inputs == taken.auxiliary_outputs == (("note", encoding, b"1,2"),)


@pytest.mark.parametrize("capture_id", ["", "x", str(uuid.uuid4())])
def test_an_unknown_capture_is_an_answer_and_no_error(edge: Any, capture_id: str) -> None:
    request = pb.GetCaptureDataStatusRequest(capture_id=capture_id)
    assert edge.GetCaptureDataStatus(request, timeout=WAIT_S).status == pb.NOT_FOUND


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"capture_id": "not-a-uuid"}, "INVALID_ARGUMENT"),
        ({"capture_id": ""}, "INVALID_ARGUMENT"),
        ({"model_name": "../unet"}, "INVALID_ARGUMENT"),
        ({"model_name": ""}, "INVALID_ARGUMENT"),
        ({"inference_timestamp": pb.Timestamp(seconds=int(NOW) + 3600)}, "OUT_OF_RANGE"),
        ({"inference_timestamp": pb.Timestamp(seconds=2**62)}, "OUT_OF_RANGE"),
        ({"inference_timestamp": pb.Timestamp(seconds=-1)}, "INVALID_ARGUMENT"),
        ({"inference_timestamp": pb.Timestamp(nanos=-1)}, "INVALID_ARGUMENT"),
        ({"input_tensors": [tensor(data_type=5, shape=[2, 3])]}, "INVALID_ARGUMENT"),
        ({"input_tensors": [tensor(name="input", data_type=5, shape=[7, 3])]}, "INVALID_ARGUMENT"),
        ({"input_tensors": [tensor(name="input", data_type=5, shape=[-1, 3])]}, "INVALID_ARGUMENT"),
        ({"input_tensors": [tensor(name="input", data_type=55)]}, "INVALID_ARGUMENT"),
        ({"input_tensors": [tensor(VALUES.view("u1")[:, :5], name="input", data_type=5)]}, "INVALID_ARGUMENT"),
        ({"inputs": [pb.AuxilaryData(name="x", encoding=9)]}, "INVALID_ARGUMENT"),
        ({"inputs": [pb.AuxilaryData(name="x" * 300)]}, "INVALID_ARGUMENT"),
        ({"inputs": [pb.AuxilaryData(name="x")] * 255}, "INVALID_ARGUMENT"),
        ({"model_name": "x" * 300}, "INVALID_ARGUMENT"),
        ({"capture_id": str(uuid.uuid4()) + "\n"}, "INVALID_ARGUMENT"),
        ({"inference_timestamp": pb.Timestamp(nanos=10**9)}, "INVALID_ARGUMENT"),
        (
            {"inputs": [pb.AuxilaryData(name="x", shared_memory_handle=pb.SharedMemoryHandle(segment_id=1))]},
            "INVALID_ARGUMENT",
        ),
    ],
)
def test_a_wrong_capture_is_refused_and_nothing_is_kept(
    edge: Any, running: Served, changes: dict[str, Any], status: str
) -> None:
    assert code_of(edge.CaptureData, capture_request(**changes)) == status
    assert running.core.tensor_captures == {}


def test_a_capture_of_a_model_that_is_not_here_has_no_version(edge: Any, running: Served) -> None:
    request = capture_request(model_name="elsewhere")
    edge.CaptureData(request, timeout=WAIT_S)
    assert running.core.tensor_captures[request.capture_id].version == ""


def test_a_full_spool_says_so(edge: Any, running: Served) -> None:
    for _ in range(64):
        edge.CaptureData(capture_request(), timeout=WAIT_S)
    assert code_of(edge.CaptureData, capture_request()) == "RESOURCE_EXHAUSTED"
