"""What is told of models, and what was counted of them."""

import threading
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import ModelVersion
from edge_agent.formats.statistics import Spent
from edge_agent.inference import Answered, Registry, Statistics
from edge_agent.inference.session import Outputs, Times
from edge_agent.rpc.oip.models import Models
from edge_agent.wire.oip.models import Execution, config_to_proto, largest_batch, metadata_to_proto, statistics_to_proto
from tests.fakes.releases import make_release
from tests.fakes.sessions import fake_session

UNET = ModelVersion("unet", "2")


def answered(model: ModelVersion = UNET, *, batch: int = 1, failed: bool = False) -> Answered:
    tensors = {"image": np.zeros((batch, 8, 8, 3), np.uint8)}
    if failed:
        return Answered(model, tensors, None, None, InferenceError(Code.UNAVAILABLE, "gone"), 2.0)
    outputs = Outputs(score=np.zeros(batch, np.float32))
    outputs.times = Times(0.001, 0.002, 0.003, 0.004)
    return Answered(model, tensors, None, outputs, None, 11.0)


def test_a_free_first_dimension_is_the_batch_and_stands_in_the_metadata_only() -> None:
    manifest = make_release("unet", "2").manifest
    assert largest_batch(manifest) == (64 << 20) // (8 * 8 * 3)
    assert list(metadata_to_proto(manifest, ["2"]).inputs[0].shape) == [-1, 8, 8, 3]
    assert list(config_to_proto(manifest, Execution("CPUExecutionProvider", 2)).input[0].dims) == [8, 8, 3]


def test_a_fixed_first_dimension_is_no_batch() -> None:
    fixed = [{"name": "image", "dtype": "uint8", "shape": [1, 8, 8, 3]}]
    manifest = make_release("unet", "2", inputs=fixed).manifest
    config = config_to_proto(manifest, Execution("TensorrtExecutionProvider", 2))
    assert (config.max_batch_size, list(config.input[0].dims)) == (0, [1, 8, 8, 3])
    assert (config.instance_group[0].count, config.instance_group[0].kind) == (2, 1)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tensorrt", "dlr"])
def test_every_runtime_has_a_platform(runtime: str) -> None:
    manifest = make_release("unet", "2").manifest
    manifest = manifest.model_copy(update={"runtime": manifest.runtime.model_copy(update={"name": runtime})})
    assert metadata_to_proto(manifest, ["2"]).platform
    assert config_to_proto(manifest, Execution("x", 1)).backend == runtime


def test_a_name_that_is_no_text_breaks_no_answer() -> None:
    odd = [{"name": "im\udcffage", "dtype": "uint8", "shape": [-1, 8, 8, 3]}]
    manifest = make_release().manifest
    spec = manifest.inputs[0].model_copy(update={"name": odd[0]["name"]})
    manifest = manifest.model_copy(update={"inputs": (spec,)})
    assert metadata_to_proto(manifest, ["1"]).inputs[0].name == "im?age"


def test_requests_elements_and_times_are_counted_by_version() -> None:
    statistics = Statistics(now=lambda: 12.5)
    for each in (answered(batch=4), answered(), answered(failed=True), answered(ModelVersion("unet", "1"))):
        statistics.count(each)
    told = statistics_to_proto(UNET, statistics.of(UNET))
    assert (told.inference_count, told.execution_count, told.last_inference) == (5, 2, 12_500)
    stats = told.inference_stats
    assert [(part.count, part.ns) for part in (stats.success, stats.fail)] == [(2, 22_000_000), (1, 2_000_000)]
    parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert [part.ns for part in parts] == [2_000_000, 4_000_000, 6_000_000, 8_000_000]
    assert [(batch.batch_size, batch.compute_infer.count) for batch in told.batch_stats] == [(1, 1), (4, 1)]
    assert statistics.of(ModelVersion("unet", "3")).success == Spent()


def test_a_version_that_is_in_memory_twice_is_told_once_as_the_active_one(tmp_path: Path) -> None:
    registry = Registry()
    beside, active = fake_session(tmp_path / "beside"), fake_session(tmp_path / "active")
    registry.keep(beside)
    registry.activate({"bright": active})
    models = Models(registry)
    assert models.all() == [active]
    assert models.versions("bright") == ["1"]
    assert models.find("bright", "1") is active


def test_versions_and_batch_sizes_are_bounded() -> None:
    statistics = Statistics()
    for number in range(100):
        statistics.count(answered(ModelVersion("unet", str(number))))
        statistics.count(answered(batch=number + 1))
    assert statistics.of(ModelVersion("unet", "0")).executions == 0
    counts = statistics.of(UNET)
    assert (counts.executions, counts.total.compute.number, len(counts.batches)) == (101, 101, 64)


def test_many_threads_lose_no_count() -> None:
    statistics = Statistics()

    def count() -> None:
        for _ in range(200):
            statistics.count(answered())

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statistics.of(UNET).success.number == 1600
