"""Engines are built once, aside, and trusted only while their digest fits."""

import contextlib
import threading
import time
from pathlib import Path

import psutil
import pytest

from edge_agent.config import Inference
from edge_agent.errors import ActivationError, CancelledError, Code
from edge_agent.formats import Manifest
from edge_agent.inference import available_runtimes, build_engine, open_session, prune_engines
from edge_agent.inference.engines import engine_file
from edge_agent.inference.runtimes import RuntimeInfo
from tests.fakes.tiny_models import image, write_version
from tests.fakes.worker_processes import worker_processes

PATIENCE_S = 60.0


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_version(tmp_path / "v")


def build(tmp_path: Path, manifest: Manifest, **arguments: object) -> bool:
    settings: dict[str, object] = {"engines": tmp_path / "engines", "timeout_s": PATIENCE_S} | arguments
    return build_engine(tmp_path / "v", manifest, Inference(), **settings).cached  # type: ignore[arg-type]


def test_the_second_build_finds_the_first(tmp_path: Path, manifest: Manifest) -> None:
    assert not build(tmp_path, manifest)
    assert build(tmp_path, manifest)
    assert len(list((tmp_path / "engines").iterdir())) == 2


@pytest.mark.parametrize("suffix", ["", ".sha256"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_engine_is_built_again(tmp_path: Path, manifest: Manifest, suffix: str, damage: str) -> None:
    build(tmp_path, manifest)
    engine = engine_file(manifest, tmp_path / "engines").path
    victim = engine.with_name(engine.name + suffix)
    content = bytearray(victim.read_bytes())
    if damage == "gone":
        victim.unlink()
    else:
        content[0] ^= 1
        victim.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    assert not build(tmp_path, manifest)
    assert build(tmp_path, manifest)


def test_an_engine_answers_as_its_model_does(tmp_path: Path, manifest: Manifest) -> None:
    session = open_session(tmp_path / "v", manifest, Inference(), engines=tmp_path / "engines")
    assert engine_file(manifest, tmp_path / "engines").is_sound()
    assert session.infer(image(0), timeout_s=PATIENCE_S)["score"] == pytest.approx([-8.0])
    session.close()


def test_a_cancelled_build_ends_its_process_and_leaves_nothing(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(CancelledError) as caught:
        build(tmp_path, manifest, cancelled=lambda: True)
    assert caught.value.code is Code.CANCELLED
    assert worker_processes() == []
    assert list((tmp_path / "engines").iterdir()) == []


def test_a_build_that_takes_too_long_is_ended(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest, timeout_s=0.0)
    assert caught.value.code is Code.BUILD_FAILED
    assert worker_processes() == []


def test_a_builder_that_is_killed_is_a_failed_build(tmp_path: Path, manifest: Manifest) -> None:
    def kill() -> bool:
        for child in worker_processes():
            child.kill()
        return False

    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest, cancelled=kill)
    assert caught.value.code is Code.BUILD_FAILED


def test_the_builder_is_niced_and_the_worker_is_not(tmp_path: Path, manifest: Manifest) -> None:
    seen: set[int] = set()

    def look() -> bool:
        for child in worker_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                seen.add(child.nice())
        return False

    ours = psutil.Process().nice()
    build(tmp_path, manifest, cancelled=look)
    session = open_session(tmp_path / "v", manifest, Inference(), engines=tmp_path / "engines")
    (worker,) = worker_processes()
    assert worker.nice() == ours
    session.close()
    # The first look may come before it has niced itself, so both values may be among those seen.
    assert seen <= {ours, 19}
    assert 19 in seen


def test_a_file_that_is_no_model_fails_with_the_runtimes_reason(tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v", fault="garbage")
    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest)
    assert caught.value.code is Code.BUILD_FAILED
    assert "ONNX Runtime" in caught.value.message


def test_a_runtime_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v", changes={"runtime": {"name": "tensorrt"}})
    for runtimes in (("onnxruntime",), ("onnxruntime", "tensorrt")):
        with pytest.raises(ActivationError) as caught:
            open_session(tmp_path / "v", manifest, Inference(runtimes=runtimes), engines=tmp_path / "engines")
        assert caught.value.code is Code.LOAD_FAILED
        assert "tensorrt" in caught.value.message


def test_a_version_without_its_model_says_where_it_should_be(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "v" / "model.onnx").unlink()
    with pytest.raises(ActivationError) as caught:
        open_session(tmp_path / "v", manifest, Inference(), engines=tmp_path / "engines")
    assert "model.onnx" in caught.value.message


def test_pruning_keeps_what_is_still_installed(tmp_path: Path, manifest: Manifest) -> None:
    other = write_version(tmp_path / "other", version="2", bias=1.0)
    build(tmp_path, manifest)
    build_engine(tmp_path / "other", other, Inference(), engines=tmp_path / "engines", timeout_s=PATIENCE_S)
    assert prune_engines(tmp_path / "engines", [manifest]) == 2
    assert engine_file(manifest, tmp_path / "engines").is_sound()
    assert not engine_file(other, tmp_path / "engines").is_sound()


def test_two_builds_at_once_leave_one_sound_engine(tmp_path: Path, manifest: Manifest) -> None:
    threads = [threading.Thread(target=build, args=(tmp_path, manifest)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert engine_file(manifest, tmp_path / "engines").is_sound()
    assert len(list((tmp_path / "engines").iterdir())) == 2


def test_every_runtime_is_listed_with_the_reason_why_it_cannot_be_used() -> None:
    started = time.monotonic()
    listed = {info.name: info for info in available_runtimes()}
    assert listed.keys() == {"onnxruntime", "openvino", "tensorrt", "dlr"}
    assert listed["onnxruntime"].providers[-1] == "CPUExecutionProvider"
    for info in listed.values():
        assert isinstance(info, RuntimeInfo)
        assert info.usable is (info.why_not == "")
    assert time.monotonic() - started < PATIENCE_S
