"""Engines are built once, aside, and believed only where this device itself made them."""

import random
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from unittest.mock import Mock

import psutil
import pytest

from edge_agent.agent.models import Runtimes
from edge_agent.config import Deployment as Limits
from edge_agent.config import Inference, Settings
from edge_agent.deployment.serving import Serving, Version
from edge_agent.errors import ActivationError, BundleError, CancelledError, Code, StorageError
from edge_agent.formats import Manifest
from edge_agent.inference import (
    Builder,
    Registry,
    available_runtimes,
    build_engine,
    open_session,
    prune_engines,
    sweep_engines,
)
from edge_agent.inference.engines import builder
from edge_agent.inference.engines.cache import engine_file
from edge_agent.inference.runtimes.table import RuntimeInfo
from tests.fakes.tiny_models import image, replace_model, write_version
from tests.fakes.worker_processes import niced_builder, worker_processes

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


@pytest.mark.parametrize("suffix", ["", ".mac"])
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


def flip_each_bit_of(path: Path, places: Sequence[int]) -> Iterator[None]:
    """Yield with one bit after the other changed."""
    whole = path.read_bytes()
    for place in places:
        changed = bytearray(whole)
        changed[place % len(whole)] ^= 1 << (place % 8)
        path.write_bytes(changed)
        yield
    path.write_bytes(whole)


@pytest.mark.parametrize("suffix", ["", ".mac"])
def test_one_flipped_bit_in_an_engine_or_its_mac_is_noticed_wherever_it_is(
    tmp_path: Path, manifest: Manifest, suffix: str
) -> None:
    build(tmp_path, manifest)
    engine = engine_file(manifest, tmp_path / "engines")
    victim = engine.path.with_name(engine.path.name + suffix)
    flips = 0
    for _ in flip_each_bit_of(victim, random.Random(3).sample(range(victim.stat().st_size * 8), 200)):
        flips += 1
        assert engine.read() is None
    assert flips == 200
    assert engine.is_sound()


def test_an_engine_of_another_model_is_not_believed_though_this_device_made_it(
    tmp_path: Path, manifest: Manifest
) -> None:
    other = write_version(tmp_path / "other", version="2", bias=1.0)
    build(tmp_path, manifest)
    build_engine(tmp_path / "other", other, Inference(), engines=tmp_path / "engines", timeout_s=PATIENCE_S)
    ours, theirs = (engine_file(each, tmp_path / "engines") for each in (manifest, other))
    shutil.copy(theirs.path, ours.path)
    shutil.copy(theirs.mac_path, ours.mac_path)
    assert not ours.is_sound()
    assert not build(tmp_path, manifest)


@pytest.mark.parametrize("change", ["missing", "another", "short", "open to others"])
def test_without_the_key_that_sealed_it_an_engine_is_built_again(
    tmp_path: Path, manifest: Manifest, change: str
) -> None:
    build(tmp_path, manifest)
    key = tmp_path / "device.key"
    before = key.read_bytes()
    assert (stat.S_IMODE(key.stat().st_mode), len(before)) == (0o600, 32)
    if change == "missing":
        key.unlink()
    elif change == "open to others":
        key.chmod(0o644)
    else:
        key.write_bytes(bytes(32 if change == "another" else 31))
    assert not build(tmp_path, manifest)
    assert (stat.S_IMODE(key.stat().st_mode), key.read_bytes() == before) == (0o600, False)
    assert build(tmp_path, manifest)


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_an_engine_that_changed_since_it_was_built_is_not_loaded_and_the_model_answers(
    tmp_path: Path, manifest: Manifest, isolation: Literal["process", "inline"]
) -> None:
    """Whoever can write into the cache would make the device say what he likes."""
    other = write_version(tmp_path / "other", version="2", bias=99.0)
    build(tmp_path, manifest)
    engine = engine_file(manifest, tmp_path / "engines")

    engine.path.write_bytes((tmp_path / "other" / other.model_artefact.path).read_bytes())
    session = open_session(tmp_path / "v", manifest, Inference(isolation=isolation), engines=tmp_path / "engines")
    assert not engine.is_sound()
    assert session.infer(image(0), timeout_s=PATIENCE_S)["score"] == pytest.approx([-8.0])
    session.close()


def test_a_model_whose_bytes_are_not_the_signed_ones_is_neither_built_nor_loaded(
    tmp_path: Path, manifest: Manifest
) -> None:
    model = tmp_path / "v" / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\x00")
    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest)
    assert "SHA-256" in caught.value.message
    assert list((tmp_path / "engines").iterdir()) == []


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


def test_a_build_that_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v", fault="build-memory")
    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest, memory_bytes=384 << 20)
    assert caught.value.code is Code.BUILD_FAILED
    assert "it may take 402653184 bytes" in caught.value.message
    assert worker_processes() == []
    assert list((tmp_path / "engines").iterdir()) == []
    assert not build(tmp_path, manifest)  # it is only too much for the limit


def test_a_builder_that_is_killed_is_a_failed_build(tmp_path: Path, manifest: Manifest) -> None:
    def kill() -> bool:
        for child in worker_processes():
            child.kill()
        return False

    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest, cancelled=kill)
    assert caught.value.code is Code.BUILD_FAILED


def test_the_builder_is_niced_and_the_worker_is_not(tmp_path: Path, manifest: Manifest) -> None:
    ours = psutil.Process().nice()
    assert not build(tmp_path, manifest, ahead=niced_builder())
    session = open_session(tmp_path / "v", manifest, Inference(), engines=tmp_path / "engines")
    (worker,) = worker_processes()
    assert worker.nice() == ours
    # When memory runs out the kernel ends workers, not the agent.
    ours_score = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{worker.pid}/oom_score_adj").read_text()) == 500 > ours_score
    session.close()


def test_a_file_that_is_no_model_is_refused_before_a_runtime_sees_it(tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v", fault="garbage")
    with pytest.raises(BundleError) as caught:
        build(tmp_path, manifest)
    assert caught.value.code is Code.FORMAT_FORBIDDEN
    assert "an ONNX file" in caught.value.message


def test_a_graph_that_the_runtime_refuses_fails_with_its_reason(tmp_path: Path) -> None:
    manifest = replace_model(tmp_path / "v", write_version(tmp_path / "v"), b"\x08\x09\x3a\x02\x0a\x00")
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


def test_pruning_leaves_a_builder_at_work_alone(tmp_path: Path, manifest: Manifest) -> None:
    """A client may load a model that is not installed, while a deployment ends and prunes."""
    build(tmp_path, manifest)
    engine = engine_file(manifest, tmp_path / "engines").path
    staged = engine.with_name(f"{engine.name}.77.staged")
    engine.rename(staged)
    prune_engines(tmp_path / "engines", [])
    assert [*(tmp_path / "engines").iterdir()] == [staged]


def test_a_model_that_is_opened_without_an_engine_is_built_within_the_devices_limits(
    tmp_path: Path, manifest: Manifest
) -> None:
    limits = Limits(build_memory_bytes=1 << 20)
    runtimes = Runtimes(Settings(deployment=limits), tmp_path / "engines")
    with pytest.raises(ActivationError) as caught:
        runtimes.open(tmp_path / "v", manifest)
    assert "it may take 1048576 bytes for itself" in caught.value.message
    runtimes.close()


def test_a_disk_too_full_for_an_engine_does_not_keep_the_model_from_answering(
    tmp_path: Path, manifest: Manifest
) -> None:
    """After an upgrade of the runtime, say: its engines have other names, and the disk takes none."""
    engine = engine_file(manifest, tmp_path / "engines")
    engine.path.parent.mkdir()
    full = StorageError(Code.NO_SPACE, "the disk is full")
    registry = Registry()
    runtimes = Runtimes(Settings(), tmp_path / "engines")
    serving = Serving(runtimes, registry, lambda _watcher: lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        for place in ("edge_agent.agent.models", "edge_agent.inference.opening"):
            patch.setattr(f"{place}.build_engine", Mock(side_effect=full))
        assert serving.load({manifest.model: Version(manifest, tmp_path / "v")}) == {}
    assert not engine.is_there
    session = next(iter(registry.active().values()))
    assert session.infer(image(0), timeout_s=PATIENCE_S)["score"] == pytest.approx([-8.0])
    registry.close()
    runtimes.close()


def test_a_builder_that_meets_a_full_disk_says_so_as_every_fault_of_the_disk_is_said() -> None:
    answer = b'{"code": "NO_SPACE", "message": "No space left on device"}'
    with pytest.raises(StorageError) as caught:
        builder._check(0, answer, 0)
    assert caught.value.code is Code.NO_SPACE


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


def test_a_runtime_that_nobody_asked_for_is_not_imported_to_be_told_of() -> None:
    assert [info.name for info in available_runtimes(["openvino"])] == ["openvino"]


def test_what_a_killed_builder_left_is_deleted_at_the_start(tmp_path: Path) -> None:
    engines = tmp_path / "engines"
    engines.mkdir()
    left, engine = engines / "abc.onnx.77.staged", engines / "abc.onnx"
    for path in (left, engine):
        path.write_bytes(b"graph")
    sweep_engines(engines)
    sweep_engines(tmp_path / "nothing here")
    assert [*engines.iterdir()] == [engine]


def test_a_builder_that_waits_already_builds_the_same(tmp_path: Path, manifest: Manifest) -> None:
    ahead = Builder()
    assert not build(tmp_path, manifest, ahead=ahead)
    assert ahead.process.returncode == 0
    assert engine_file(manifest, tmp_path / "engines").is_sound()


def test_a_builder_that_was_ended_while_it_waited_is_replaced(tmp_path: Path, manifest: Manifest) -> None:
    ahead = Builder()
    ahead.process.kill()
    ahead.process.wait()
    assert not build(tmp_path, manifest, ahead=ahead)
    ahead.end()
    assert engine_file(manifest, tmp_path / "engines").is_sound()
