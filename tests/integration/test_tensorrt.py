"""What TensorRT does beyond the contract of all runtimes; on a double, as no GPU is at hand."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_agent.config import Inference
from edge_agent.errors import ActivationError, Code, InferenceError
from edge_agent.inference import available_runtimes, build_engine, open_session
from edge_agent.inference.engines.cache import EngineFile, engine_file
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.table import Engine, Tuning, load_engine, write_engine
from edge_agent.storage.device_key import device_key
from tests.fakes.nvidia_double import COMPILER, nvidia
from tests.fakes.tiny_models import GREY, image, raw_score, write_version

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler for the driver's double")
SETTINGS = Inference(runtimes=("tensorrt",))


@pytest.fixture
def around(tmp_path: Path) -> Path:
    directory = tmp_path / "around"
    directory.mkdir()
    return directory


@pytest.fixture
def gpu(around: Path) -> Iterator[Any]:
    with nvidia(around) as made:
        yield made


def doubled(shape: tuple[int | str, ...] = ("n", 3)) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def built(directory: Path, content: bytes | None = None, tuning: Tuning = Tuning()) -> bytes:  # noqa: B008 - frozen
    engines = directory / "engines"
    engines.mkdir(exist_ok=True)
    target = engines / "x.plan.1.staged"
    write_engine("tensorrt", Source(content or doubled(), directory), target, tuning)
    return target.read_bytes()


def loaded(directory: Path, content: bytes | None = None) -> Engine:
    return load_engine("tensorrt", Source(built(directory, content), directory, optimised=True), Tuning())


def rows(count: int, first: float = 0.0) -> dict[str, Any]:
    return {"x": np.arange(first, first + 3 * count, dtype=np.float32).reshape(count, 3)}


def test_each_shape_is_enqueued_once_and_captured_and_from_then_on_launched(gpu: Any, tmp_path: Path) -> None:
    engine = loaded(tmp_path)
    for round_ in range(5):
        for count in (1, 2):
            asked = rows(count, round_)
            assert (engine.run(asked)["y"] == 2 * asked["x"]).all()
    # Twice for each shape: the run that settles it, and the one that is captured.
    assert gpu.CALLS["execute_async_v3"] == 4
    assert gpu.CALLS["create_execution_context"] == 2
    assert gpu.CALLS["cuGraphLaunch"] == 10


@pytest.mark.parametrize("fault", ["capture", "captured"])
def test_what_cannot_be_captured_is_enqueued_each_time(around: Path, tmp_path: Path, fault: str) -> None:
    with nvidia(around, fault=fault) as gpu:
        engine = loaded(tmp_path)
        for first in range(3):
            asked = rows(1, first)
            assert (engine.run(asked)["y"] == 2 * asked["x"]).all()
        assert gpu.CALLS["cuGraphLaunch"] == 0
        assert gpu.CALLS["execute_async_v3"] >= 4


def test_of_many_shapes_the_last_few_keep_their_memory_and_an_engine_that_goes_gives_all_back(
    gpu: Any, tmp_path: Path
) -> None:
    engine = loaded(tmp_path)
    for count in (1, 2, 3, 4, 5, 6, 1, 8):
        asked = rows(count)
        assert (engine.run(asked)["y"] == 2 * asked["x"]).all()
    assert len(gpu.MEMORY) == len(gpu.PINNED) == 2 * 4
    del engine
    assert gpu.CALLS["detach"] == 2  # the builder's and its own
    assert gpu.MEMORY == {}
    assert not gpu.PINNED
    assert gpu.GRAPHS == {}
    assert gpu.contexts() == []


def test_more_pictures_at_a_time_than_it_was_built_for_are_told_and_change_nothing(gpu: Any, tmp_path: Path) -> None:
    engine = loaded(tmp_path)
    with pytest.raises(InferenceError) as caught:
        engine.run(rows(9))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "x: expected [1, 3] to [8, 3], the engine's limits, came [9, 3]"
    assert gpu.MEMORY == {}
    assert engine.run(rows(8))["y"].shape == (8, 3)


def test_a_shape_that_is_free_beyond_the_batch_is_not_built(gpu: Any, tmp_path: Path) -> None:
    with pytest.raises(ActivationError) as caught:
        built(tmp_path, doubled(("n", "m")))
    assert caught.value.code is Code.BUILD_FAILED
    assert "x: expected a shape of which only the first size is free, came [-1, -1]" in caught.value.message
    assert gpu.CALLS["build_serialized_network"] == 0


def test_a_fixed_shape_needs_no_profile(gpu: Any, tmp_path: Path) -> None:
    plan = built(tmp_path, doubled((1, 3)))
    assert json.loads(plan[4:].split(b"\n")[0])["profiles"] == []
    engine = loaded(tmp_path, doubled((1, 3)))
    assert engine.inputs[0].shape == (1, 3)
    assert gpu.NAME in engine.provider


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("fp16", True)])
def test_fp32_means_fp32(gpu: Any, tmp_path: Path, precision: str, tf32: bool) -> None:
    plan = built(tmp_path, tuning=Tuning(precision=precision))
    head = json.loads(plan[4:].split(b"\n")[0])
    assert head["tf32"] is tf32
    assert head["workspace"] == 1 << 30
    assert gpu.CALLS["build_serialized_network"] == 1


def test_what_was_measured_is_kept_under_a_seal_and_used_again(gpu: Any, tmp_path: Path) -> None:
    kept = EngineFile(tmp_path / "engines" / "tensorrt.timing", device_key(tmp_path))
    for builds in (1, 2, 3):
        built(tmp_path)
        assert json.loads(kept.read() or b"") == {"gpu": gpu.NAME, "builds": builds}


@pytest.mark.parametrize("harm", ["bytes", "another GPU"])
def test_measurements_of_others_are_not_used(around: Path, tmp_path: Path, harm: str) -> None:
    kept = EngineFile(tmp_path / "engines" / "tensorrt.timing", device_key(tmp_path))
    with nvidia(around):
        built(tmp_path)
    if harm == "bytes":
        kept.path.write_bytes((kept.read() or b"").replace(b"1", b"7"))
    second = tmp_path / "second"
    second.mkdir()
    with nvidia(second, gpu="NVIDIA Other") as gpu:
        built(tmp_path)
        assert json.loads(kept.read() or b"") == {"gpu": gpu.NAME, "builds": 1}


def test_an_engine_of_another_version_of_tensorrt_is_built_again(around: Path, tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v", changes={"runtime": {"name": "tensorrt"}})
    engines = tmp_path / "engines"
    with nvidia(around, version="10.3.0"):
        assert not build_engine(tmp_path / "v", manifest, SETTINGS, engines=engines, timeout_s=60).cached
        old = engine_file(manifest, engines).path
    second = tmp_path / "second"
    second.mkdir()
    with nvidia(second, version="11.4.0.106"):
        assert engine_file(manifest, engines).path != old
        inline = SETTINGS.model_copy(update={"isolation": "inline"})
        session = open_session(tmp_path / "v", manifest, inline, engines=engines)
        assert session.infer(image(GREY), timeout_s=60)["score"] == pytest.approx(raw_score(image(GREY)["image"]))
        assert session.provider == "TensorRT 11.4.0.106, NVIDIA Double"
        session.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("build", "TensorRT: Could not find any implementation for node /Conv_0."),
        ("no-gpu", "CUDA: cuDeviceGet failed: invalid device ordinal"),
        (
            "driver",
            "TensorRT: pybind11::init(): factory function returned nullptr: createInferBuilder: Error Code 6",
        ),
    ],
)
def test_what_cannot_be_built_tells_the_librarys_own_words(
    around: Path, tmp_path: Path, fault: str, message: str
) -> None:
    with nvidia(around, fault=fault), pytest.raises(ActivationError) as caught:
        built(tmp_path)
    assert caught.value.code is Code.BUILD_FAILED
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("execute", Code.INTERNAL, "TensorRT: the graph cannot be executed: IExecutionContext::enqueueV3"),
        ("infer", Code.INTERNAL, "TensorRT: Shape inference failed.: no reason was given"),
        ("context", Code.INTERNAL, "TensorRT: no execution context can be made: no reason was given"),
        ("memory", Code.RESOURCE_EXHAUSTED, "CUDA: cuMemAlloc failed: out of memory"),
        ("launch", Code.INTERNAL, "CUDA: cuGraphLaunch: unspecified launch failure"),
        ("synchronize", Code.UNAVAILABLE, "CUDA: cuStreamSynchronize failed: an illegal memory access"),
    ],
)
def test_what_fails_while_it_executes_tells_the_librarys_own_words(
    around: Path, tmp_path: Path, fault: str, code: Code, message: str
) -> None:
    with nvidia(around, fault=fault) as gpu:
        engine = loaded(tmp_path)
        for _ in range(2):
            with pytest.raises(InferenceError) as caught:
                engine.run(rows(1))
            assert caught.value.code is code
            assert caught.value.message.startswith(message)
        assert gpu.contexts() == []
        # Only a graph that was captured keeps its memory.
        assert len(gpu.MEMORY) == (2 if fault == "launch" else 0)


def test_an_engine_that_this_gpu_refuses_is_told(around: Path, tmp_path: Path) -> None:
    with nvidia(around, version="10.3.0"):
        plan = built(tmp_path)
    second = tmp_path / "second"
    second.mkdir()
    with nvidia(second), pytest.raises(ActivationError) as caught:
        load_engine("tensorrt", Source(plan, tmp_path, optimised=True), Tuning())
    assert caught.value.code is Code.LOAD_FAILED
    assert "TensorRT: the engine is refused: Version tag does not match: 10.3.0" in caught.value.message


def test_a_worker_whose_gpu_fails_is_replaced(around: Path, tmp_path: Path) -> None:
    """The double fails from its sixth wait on, in each process anew."""
    manifest = write_version(tmp_path / "v", changes={"runtime": {"name": "tensorrt"}})
    with nvidia(around, fault="synchronize-later"):
        session = open_session(tmp_path / "v", manifest, SETTINGS, engines=tmp_path / "engines")

        def until_it_fails() -> None:
            for _ in range(12):
                session.infer(image(GREY), timeout_s=60)

        for _ in range(2):
            with pytest.raises(InferenceError) as caught:
                until_it_fails()
            assert caught.value.code is Code.UNAVAILABLE
        assert session.restarts >= 1
        session.close()


def test_doctor_lists_it_with_its_gpu_and_that_it_was_never_tried_on_one(gpu: Any) -> None:
    told = {runtime.name: runtime for runtime in available_runtimes(("tensorrt",))}["tensorrt"]
    assert told.usable
    assert told.version == "tensorrt 11.4.0.106"
    assert told.providers == (gpu.NAME,)
    assert told.remark == "untested on hardware"


def test_too_old_bindings_are_told(around: Path, tmp_path: Path) -> None:
    with nvidia(around, version="8.6.1"), pytest.raises(ActivationError) as caught:
        built(tmp_path)
    assert caught.value.message == "expected TensorRT 10 or newer, came 8.6.1"
