"""CHECKING and DOWNLOADING: a full disk told truthfully, old content gone first, nothing fetched twice."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import Deployment as Limits
from edge_agent.deployment.record import status_details
from edge_agent.deployment.states import State
from edge_agent.errors import Code, StorageError, TransferError
from edge_agent.formats import ModelVersion
from tests.fakes.deployment import Device, install, rollback
from tests.fakes.releases import Release, make_release, sha256
from tests.fakes.releases import install as install_into

RESERVE = 1000
MODEL = b"m" * 5000
EXTRA = b"e" * 3000
NEEDED = len(MODEL) + len(EXTRA) + len(MODEL) + RESERVE  # both to download, the engine, the reserve


def _second() -> Release:
    return make_release("unet", "2", release_seq=2, files={"model.onnx": MODEL, "extra.bin": EXTRA})


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device with version 1 committed, which is offered version 2."""
    device = Device(tmp_path, limits=Limits(reserve_bytes=RESERVE, parallel_downloads=1))
    device.offers(make_release("unet", "1", release_seq=1), _second())
    device.already_has(make_release("unet", "1", release_seq=1))
    device.start()
    yield device
    device.stop()


def _free(device: Device, monkeypatch: pytest.MonkeyPatch, free: Callable[[], int]) -> None:
    monkeypatch.setattr(device.store, "free_bytes", free)


def test_a_disk_that_is_too_small_is_told_in_bytes_before_one_is_fetched(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    _free(device, monkeypatch, lambda: NEEDED - 1)
    record = device.call(install(("unet", "2")))
    told = status_details(record)
    assert (record.outcome, told["code"]) == (State.FAILED, "NO_SPACE")
    for figure in (NEEDED, len(MODEL) + len(EXTRA), len(MODEL), RESERVE, NEEDED - 1):
        assert str(figure) in told["message"]
    assert device.blobs.fetched == []
    assert device.answering() == {"unet": "1"}


def test_a_disk_that_just_holds_it_is_enough_and_the_figures_are_noted(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    _free(device, monkeypatch, lambda: NEEDED)
    record = device.call(install(("unet", "2")))
    assert record.outcome is State.COMMITTED
    checking = next(entry for entry in record.states if entry.state == "CHECKING")
    wanted = {
        "missing_bytes": len(MODEL) + len(EXTRA),
        "to_come_bytes": len(MODEL) + len(EXTRA),
        "engine_bytes": len(MODEL),
        "reserve_bytes": RESERVE,
        "free_bytes": NEEDED,
    }
    assert {name: checking.figures[name] for name in wanted} == wanted


def test_bytes_that_an_earlier_try_left_need_no_room_again(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.store.partial_path(sha256(MODEL)).write_bytes(MODEL[:4000])
    device.store.partial_path(sha256(EXTRA)).write_bytes(EXTRA[:1000])
    _free(device, monkeypatch, lambda: NEEDED - 5000)
    record = device.call(install(("unet", "2")))
    assert record.outcome is State.COMMITTED
    checking = next(entry for entry in record.states if entry.state == "CHECKING")
    assert checking.figures["to_come_bytes"] == len(MODEL) + len(EXTRA) - 5000


def test_old_content_goes_before_a_full_disk_is_told_but_never_what_is_needed(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_release("unet", "0.9", release_seq=1, files={"model.onnx": b"old" * 100})
    install_into(device.store, old)
    abandoned = device.store.partial_path("0" * 64)
    abandoned.write_bytes(b"?" * 100)
    half = device.store.partial_path(sha256(MODEL))
    half.write_bytes(MODEL[:10])

    def free() -> int:
        gone = old.model_version not in device.store.installed() and not abandoned.exists()
        assert half.exists() or device.blobs.fetched, "bytes in flight were deleted"
        return NEEDED if gone else 0

    _free(device, monkeypatch, free)
    record = device.call(install(("unet", "2")))
    assert record.outcome is State.COMMITTED, record.message
    assert not abandoned.exists()
    assert device.store.installed() == [ModelVersion("unet", "1"), ModelVersion("unet", "2")]
    device.store.verify(ModelVersion("unet", "1"))  # what a rollback goes to


def test_a_rollback_is_not_held_up_by_a_full_disk(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.call(install(("unet", "2"))).outcome is State.COMMITTED
    _free(device, monkeypatch, lambda: 0)
    assert device.call(rollback("unet")).outcome is State.COMMITTED
    assert device.answering() == {"unet": "1"}


def test_a_disk_that_fills_up_in_the_middle_fails_with_the_truth_and_keeps_what_came(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    full: list[str] = []

    def fetch(key: str, target: Path, size_bytes: int, **_: Any) -> None:
        target.write_bytes(MODEL[:2000])
        full.append(key)
        raise StorageError(Code.NO_SPACE, f"{target}: No space left on device")

    monkeypatch.setattr(device.blobs, "fetch", fetch)
    record = device.call(install(("unet", "2")))
    assert full
    assert (record.outcome, record.code) == (State.FAILED, "NO_SPACE")
    assert "No space left on device" in record.message
    assert f"{len(MODEL) + len(EXTRA) - 2000} bytes had still to come" in record.message
    assert device.store.partial_path(sha256(MODEL)).read_bytes() == MODEL[:2000]


def test_the_largest_artefact_is_begun_first(device: Device) -> None:
    assert device.call(install(("unet", "2"))).outcome is State.COMMITTED
    assert device.blobs.fetched == [f"blobs/sha256/{sha256(content)}" for content in (MODEL, EXTRA)]


def test_what_the_store_holds_or_two_models_share_is_fetched_once(device: Device) -> None:
    third = make_release("unet", "3", release_seq=3, files={"model.onnx": b"three" * 900, "extra.bin": EXTRA})
    other = make_release("anomaly", "1", files={"model.onnx": b"other" * 900, "extra.bin": b"shared" * 700})
    fourth = make_release("unet", "4", release_seq=4, files={"model.onnx": b"four" * 900, "extra.bin": b"shared" * 700})
    device.offers(third, other, fourth)
    assert device.call(install(("unet", "2"))).outcome is State.COMMITTED
    assert device.call(install(("unet", "3"))).outcome is State.COMMITTED
    assert device.call(install(("unet", "4"), ("anomaly", "1"))).outcome is State.COMMITTED
    assert len(device.blobs.fetched) == len(set(device.blobs.fetched))
    assert device.blobs.fetched.count(f"blobs/sha256/{sha256(EXTRA)}") == 1
    assert device.blobs.fetched.count(f"blobs/sha256/{sha256(b'shared' * 700)}") == 1


def test_the_first_permanent_failure_ends_the_deployment_and_nothing_more_is_begun(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(key: str, *_: Any, **__: Any) -> None:
        asked.append(key)
        raise TransferError(Code.OBJECT_MISSING, f"{key} is not in the repository", permanent=True)

    monkeypatch.setattr(device.blobs, "fetch", fetch)
    record = device.call(install(("unet", "2")))
    assert (record.outcome, record.code) == (State.FAILED, "OBJECT_MISSING")
    assert asked == [f"blobs/sha256/{sha256(MODEL)}"]
    assert device.answering() == {"unet": "1"}


def test_progress_adds_up_over_artefacts_fetched_side_by_side(tmp_path: Path) -> None:
    device = Device(tmp_path, limits=Limits(reserve_bytes=0, parallel_downloads=4))
    files = {f"part-{number}.bin": bytes([number]) * (1000 + number) for number in range(6)}
    release = make_release("unet", "1", files=files)
    device.offers(release)
    device.start()
    try:
        record = device.call(install(("unet", "1")))
    finally:
        device.stop()
    total = sum(map(len, release.blobs.values()))
    assert record.outcome is State.COMMITTED
    assert record.bytes_done == record.bytes_total == total
    downloading = next(entry for entry in record.states if entry.state == "DOWNLOADING")
    assert downloading.bytes == total
    assert sorted(device.blobs.fetched) == sorted(f"blobs/sha256/{digest}" for digest in release.blobs)
