"""A GPU's providers as ONNX Runtime would have them, on a machine without one.

The library is the real one; what it says it has, and what it does with what it is told, are
recorded at its door. Whether a GPU does as it is asked was not seen: untested on hardware.
"""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from edge_agent.config import Inference
from edge_agent.errors import ActivationError, Code
from edge_agent.formats import Manifest
from edge_agent.inference.engines.cache import EngineFile, engine_file, prune_engines, staged_caches, sweep_engines
from edge_agent.inference.engines.source import choose, read_model
from edge_agent.inference.opening import open_session
from edge_agent.inference.runtimes import onnx
from edge_agent.inference.runtimes.onnx_providers import CPU, CUDA, PROFILE_FILE, TENSORRT
from edge_agent.inference.runtimes.table import Tuning
from tests.fakes.tiny_models import image, replace_model, write_version

ROOT = Path(__file__).resolve().parents[2]


class Gpu:
    """ONNX Runtime with GPU providers built in, of which some can be started: the recorder at the door."""

    def __init__(self, works: tuple[str, ...], *, raises: bool) -> None:
        self.works = works
        self.raises = raises
        self.asked: list[tuple[list[tuple[str, dict[str, Any]]], ort.SessionOptions]] = []

    def session(self, content: bytes, options: ort.SessionOptions, **arguments: Any) -> "Session":
        chain = arguments["providers"]
        assert arguments["enable_fallback"] == 0
        self.asked.append((chain, options))
        first = chain[0][0]
        if self.raises and first not in (*self.works, CPU):
            raise RuntimeError(f"Failed to load lib for {first}")
        came = [name for name, _ in chain if name in (*self.works, CPU)]
        told = dict(chain)
        if TENSORRT in came:
            self._cache(told[TENSORRT])
        return Session(content, options, came)

    @staticmethod
    def _cache(told: dict[str, Any]) -> None:
        if told.get("trt_engine_cache_enable"):
            Path(told["trt_engine_cache_path"], "TensorrtExecutionProvider_1.engine").write_bytes(b"native code")
            Path(told["trt_timing_cache_path"], "TensorrtExecutionProvider_cache_sm90.timing").write_bytes(b"timings")


class Session(ort.InferenceSession):  # type: ignore[misc] # the library publishes no types
    """The real one on the processor, which says that it is another."""

    def __init__(self, content: bytes, options: ort.SessionOptions, came: list[str]) -> None:
        super().__init__(content, options, providers=[CPU])
        self._came = came

    def get_providers(self) -> list[str]:
        return self._came


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gpu]:
    def install(*works: str, has: tuple[str, ...] = (TENSORRT, CUDA, CPU), raises: bool = True) -> Gpu:
        fake = Gpu(works, raises=raises)
        monkeypatch.setattr(onnx.ort, "get_available_providers", lambda: [*has, "AzureExecutionProvider"])
        monkeypatch.setattr(onnx.ort, "InferenceSession", fake.session)
        monkeypatch.setattr(onnx, "_GPU_DEVICE", "cpu")
        return fake

    return install


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_version(tmp_path / "v")


def test_a_gpu_that_is_there_executes_and_its_inputs_stay_bound(
    gpu: Callable[..., Gpu], tmp_path: Path, manifest: Manifest
) -> None:
    fake = gpu(CUDA)
    engine = onnx.load(read_model(tmp_path / "v", manifest), Tuning())
    assert (engine.provider, engine.fallback) == (CUDA, "")
    assert [name for name, _ in fake.asked[0][0]] == [CUDA, CPU]
    first = engine.run(image(0))["score"]
    kept = first.copy()
    for value, batch in ((160, 1), (160, 3), (0, 1)):
        came = engine.run(image(value, batch=batch))["score"]
        assert came == pytest.approx([(value - 128) / 16] * batch)
    assert (first == kept).all()


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize(
    ("providers", "works", "came"),
    [((), (), CPU), ((CUDA,), (), CPU), ((TENSORRT,), (CUDA,), CUDA), ((TENSORRT, CUDA, CPU), (), CPU)],
)
def test_a_gpu_that_cannot_be_started_is_told_as_a_fallback_and_the_model_answers(
    gpu: Callable[..., Gpu],
    tmp_path: Path,
    manifest: Manifest,
    raises: bool,
    providers: tuple[str, ...],
    works: tuple[str, ...],
    came: str,
) -> None:
    gpu(*works, raises=raises)
    engine = onnx.load(read_model(tmp_path / "v", manifest), Tuning(providers=providers))
    wanted = (*providers, CUDA)[0]
    assert engine.provider == came
    assert engine.fallback.startswith(f"expected {wanted}, it runs on {came}: ")
    assert ("Failed to load lib" in engine.fallback) is raises
    assert engine.run(image(0))["score"] == pytest.approx([-8.0])


def test_a_gpu_that_the_installed_library_has_not_is_a_fallback_only_where_it_was_asked_for(
    gpu: Callable[..., Gpu], tmp_path: Path, manifest: Manifest
) -> None:
    gpu(has=(CPU,))
    source = read_model(tmp_path / "v", manifest)
    assert onnx.load(source, Tuning()).fallback == ""
    assert onnx.load(source, Tuning(providers=("GPU", "CPU"))).fallback == ""
    assert f"has only {CPU}" in onnx.load(source, Tuning(providers=(CUDA, CPU))).fallback


def test_a_file_that_no_provider_takes_is_refused_and_no_fallback(
    gpu: Callable[..., Gpu], tmp_path: Path, manifest: Manifest
) -> None:
    gpu(CUDA)
    broken = replace_model(tmp_path / "v", manifest, b"\x08\x09\x3a\x02\x0a\x00")
    with pytest.raises(ActivationError) as caught:
        onnx.load(read_model(tmp_path / "v", broken), Tuning())
    assert caught.value.code is Code.LOAD_FAILED


def built(tmp_path: Path, manifest: Manifest, providers: tuple[str, ...]) -> EngineFile:
    """Build as the builder does, but here, where the door is watched."""
    engines = tmp_path / "engines"
    engines.mkdir(exist_ok=True)
    target = engine_file(manifest, engines, providers)
    staged = target.path.with_name(f"{target.path.name}.7.staged")
    source = read_model(tmp_path / "v", manifest)._replace(caches=staged_caches(staged))
    onnx.build(source, staged, Tuning(1, "fp32", providers))
    target.seal(staged)
    return target


def test_tensorrt_builds_into_a_closed_directory_of_the_engine_cache_and_loads_from_it(
    gpu: Callable[..., Gpu], tmp_path: Path, manifest: Manifest
) -> None:
    fake = gpu(TENSORRT, CUDA)
    engine = built(tmp_path, manifest, (TENSORRT,))
    names = sorted(path.name for path in engine.caches.iterdir())
    assert names == [
        "TensorrtExecutionProvider_1.engine",
        "TensorrtExecutionProvider_cache_sm90.timing",
        PROFILE_FILE,
    ]
    assert stat.S_IMODE(engine.caches.stat().st_mode) == 0o700
    assert engine.is_sound()
    loaded = onnx.load(choose(engine, tmp_path / "v", manifest), Tuning(providers=(TENSORRT,)))
    assert loaded.provider == TENSORRT
    (_, told), *_ = fake.asked[-1][0]
    assert told["trt_engine_cache_path"] == str(engine.caches)
    assert told["trt_profile_max_shapes"] == "image:8x16x16x3"
    # What was compiled belongs to a graph that was optimised in the same way.
    level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert [options.graph_optimization_level == level for _, options in fake.asked] == [False, True, True]


@pytest.mark.parametrize("change", ["flipped", "added", "gone", "linked", "renamed", "open", "no directory"])
def test_caches_that_this_device_did_not_make_are_never_given_to_the_library(
    gpu: Callable[..., Gpu], tmp_path: Path, manifest: Manifest, change: str
) -> None:
    gpu(TENSORRT, CUDA)
    engine = built(tmp_path, manifest, (TENSORRT,))
    victim = engine.caches / "TensorrtExecutionProvider_1.engine"
    if change == "flipped":
        victim.write_bytes(b"native cod3")
    elif change == "added":
        (engine.caches / "another.engine").write_bytes(b"native code")
    elif change == "gone":
        victim.unlink()
    elif change == "linked":
        (tmp_path / "elsewhere").write_bytes(victim.read_bytes())
        victim.unlink()
        victim.symlink_to(tmp_path / "elsewhere")
    elif change == "renamed":
        victim.rename(victim.with_name("TensorrtExecutionProvider_2.engine"))
    elif change == "open":
        engine.caches.chmod(0o755)
    else:
        engine.caches.rename(tmp_path / "moved")
        engine.caches.symlink_to(tmp_path / "moved")
    assert not engine.is_sound()
    source = choose(engine, tmp_path / "v", manifest)
    assert (source.optimised, source.caches) == (False, None)


def test_a_gpu_that_is_away_while_the_engine_is_built_leaves_no_caches_and_a_graph_for_any_provider(
    gpu: Callable[..., Gpu], tmp_path: Path, manifest: Manifest
) -> None:
    gpu()
    engine = built(tmp_path, manifest, (TENSORRT,))
    assert engine.is_sound()
    assert not engine.caches.exists()
    assert engine.path.read_bytes() == (tmp_path / "v" / "model.onnx").read_bytes()


def test_caches_are_pruned_swept_and_discarded_with_their_engine(
    gpu: Callable[..., Gpu], tmp_path: Path, manifest: Manifest
) -> None:
    gpu(TENSORRT, CUDA)
    engine = built(tmp_path, manifest, (TENSORRT,))
    engines = tmp_path / "engines"
    left = staged_caches(engines / "b.onnx.9.staged")
    left.mkdir()
    (left / "half.engine").write_bytes(b"")
    sweep_engines(engines)
    assert not left.exists()
    assert prune_engines(engines, [manifest], (TENSORRT,)) == 0
    # With other providers another engine is needed.
    assert engine_file(manifest, engines, (CUDA,)).path != engine.path
    assert prune_engines(engines, [manifest], (CUDA,)) == 3
    assert [*engines.iterdir()] == []
    built(tmp_path, manifest, (TENSORRT,)).discard()
    assert [*engines.iterdir()] == []


def test_cuda_keeps_the_graph_as_it_is(gpu: Callable[..., Gpu], tmp_path: Path, manifest: Manifest) -> None:
    fake = gpu(CUDA)
    engine = built(tmp_path, manifest, (CUDA,))
    assert engine.path.read_bytes() == (tmp_path / "v" / "model.onnx").read_bytes()
    assert not engine.caches.exists()
    assert fake.asked[0][1].optimized_model_filepath == ""


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_a_session_tells_its_fallback(tmp_path: Path, manifest: Manifest, isolation: Any) -> None:
    """The real library for the processor, asked for a GPU: no seam, worker and builder included."""
    options = Inference(isolation=isolation, providers=(CUDA,))
    session = open_session(tmp_path / "v", manifest, options, engines=tmp_path / "engines")
    assert session.provider == CPU
    assert session.fallback == f"expected {CUDA}, it runs on {CPU}: the installed ONNX Runtime has only {CPU}"
    assert session.infer(image(0), timeout_s=60)["score"] == pytest.approx([-8.0])
    session.close()


@pytest.mark.parametrize(("before", "after"), [(None, "LAZY"), ("EAGER", "EAGER")])
def test_kernels_come_into_a_gpus_memory_when_they_are_used(before: str | None, after: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_MODULE_LOADING"}
    code = "import os; from edge_agent.inference.runtimes import onnx; print(os.environ['CUDA_MODULE_LOADING'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment | ({"CUDA_MODULE_LOADING": before} if before else {}),
    )
    assert done.stdout.strip() == after
