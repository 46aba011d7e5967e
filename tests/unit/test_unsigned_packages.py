"""Jobs of the old workshop where they are allowed: the same steps and checks, and never in place of what is signed."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.config import Deployment as Limits
from edge_agent.deployment.record import Deployment, status_details, to_report
from edge_agent.deployment.states import State
from edge_agent.deployment.steps.packaged import Packages, package_root
from edge_agent.errors import CancelledError, Code, StorageError, TransferError
from edge_agent.store import package
from tests.fakes.deployment import Device, configure, install, remove, rollback
from tests.fakes.device import eventually
from tests.fakes.packages import Entry, Shelf, entries_of, package_of, tar
from tests.fakes.releases import Release, make_release

BUCKET = "line"
ONE, TWO, THREE = (make_release("unet", version, release_seq=int(version)) for version in ("1", "2", "3"))
ENDS = ("COMMITTED", "FAILED", "REFUSED", "CANCELLED")
JOBS = iter(range(10_000))


class UnsignedDevice(Device):
    """A device that takes unsigned packages out of its repository's bucket."""

    def __init__(self, directory: Path, **more: object) -> None:
        self.shelf = Shelf()
        packages = Packages(self.shelf, self.shelf.fetch, BUCKET)
        super().__init__(directory, packages=packages, **more)  # type: ignore[arg-type]

    def holds(self, *releases: Release) -> None:
        for release in releases:
            self.shelf.packages[key_of(release)] = package_of(release)

    def run_job(self, document: dict[str, object]) -> Deployment:
        job_id = f"job-{next(JOBS)}"
        self.job(job_id, document)
        return eventually(lambda: self.ended(job_id))

    def ended(self, job_id: str) -> Deployment | None:
        record = self.journal.of_job(job_id)
        return record if record is not None and record.ended is not None else None


def key_of(release: Release) -> str:
    return f"packages/{release.manifest.model}-{release.manifest.version}.tar.gz"


def new_model(release: Release, **changes: str) -> dict[str, object]:
    return {
        "type": "new_model",
        "model_name": release.manifest.model,
        "model_version": release.manifest.version,
        "model_package_bucket": BUCKET,
        "model_package_key": key_of(release),
        **changes,
    }


@pytest.fixture
def device(tmp_path: Path) -> Iterator[UnsignedDevice]:
    device = UnsignedDevice(tmp_path)
    device.holds(ONE, TWO, THREE)
    device.start()
    yield device
    device.stop()


def audit(device: Device) -> list[dict[str, object]]:
    return [json.loads(line) for line in (device.directory / "audit.log").read_text().splitlines()]


def leftovers(device: Device) -> list[str]:
    return [path.name for path in (device.directory / "partial").iterdir()]


def test_an_unsigned_package_goes_the_way_of_any_install_and_is_loudly_told(
    device: UnsignedDevice, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        record = device.run_job(new_model(ONE))
    assert (record.outcome, record.code) == (State.COMMITTED, "")
    assert device.committed() == device.answering() == {"unet": "1"}
    passed = [entry.state for entry in record.states]
    assert passed[:6] == ["ACCEPTED", "REFRESHING", "CHECKING", "DOWNLOADING", "VERIFIED", "BUILDING"]
    warned = [entry for entry in caplog.records if getattr(entry, "action", "") == "unsigned_package"]
    assert [(entry.levelname, entry.package) for entry in warned] == [("WARNING", f"{BUCKET}/{key_of(ONE)}")]  # type: ignore[attr-defined]
    assert f"unsigned package {BUCKET}/{key_of(ONE)}" in to_report(record).remark
    assert "unsigned package" in status_details(record)["remark"]
    assert audit(device)[-1]["unsigned"] is True
    assert device.store.generations.current().models["unet"].unsigned is True
    assert device.store.generations.is_unsigned(ONE.sha256)
    assert leftovers(device) == []
    assert (record.bytes_done, record.bytes_total) == (len(package_of(ONE)),) * 2


def test_signed_entries_read_and_seal_as_before_there_were_unsigned_ones(device: UnsignedDevice) -> None:
    device.already_has(ONE)
    content = next((device.directory / "generations").glob("*.json")).read_text()
    assert "unsigned" not in content
    assert device.store.generations.current().models["unet"].unsigned is None


def test_an_unsigned_package_never_takes_a_signed_versions_place_nor_is_it_read(device: UnsignedDevice) -> None:
    device.already_has(ONE)
    record = device.run_job(new_model(THREE))
    assert (record.outcome, record.code) == (State.REFUSED, "UNSIGNED_PACKAGE")
    assert "the committed 1 is signed" in record.message
    assert device.committed() == {"unet": "1"}
    assert device.shelf.asked == []


def test_a_job_does_not_lead_the_device_to_another_bucket(device: UnsignedDevice) -> None:
    record = device.run_job(new_model(ONE, model_package_bucket="thieves"))
    assert (record.outcome, record.code) == (State.REFUSED, "UNSIGNED_PACKAGE")
    assert "a job does not lead a device elsewhere" in record.message
    assert (device.shelf.asked, device.committed()) == ([], {})


def test_a_package_is_compared_with_the_unsigned_one_before_it(device: UnsignedDevice) -> None:
    assert device.run_job(new_model(TWO)).outcome is State.COMMITTED
    refused = device.run_job(new_model(ONE))
    assert (refused.outcome, refused.code) == (State.REFUSED, "DOWNGRADE")
    again = device.run_job(new_model(TWO))
    assert (again.outcome, [s.state for s in again.states if s.state == "DOWNLOADING"]) == (State.COMMITTED, [])
    assert device.run_job(new_model(THREE)).outcome is State.COMMITTED
    assert device.run_job(rollback("unet")).outcome is State.COMMITTED
    assert device.committed() == device.answering() == {"unet": "2"}
    assert device.store.generations.current().models["unet"].unsigned is True
    assert device.run_job(configure(unet=0.75)).outcome is State.COMMITTED
    assert device.store.generations.current().models["unet"].unsigned is True


def test_a_signed_release_takes_an_unsigned_ones_place_whatever_its_number_and_nothing_leads_back(
    device: UnsignedDevice,
) -> None:
    device.offers(ONE)
    assert device.run_job(new_model(THREE)).outcome is State.COMMITTED
    record = device.run_job(install(("unet", "1")))
    assert (record.outcome, record.code) == (State.COMMITTED, "")
    assert device.committed() == device.answering() == {"unet": "1"}
    assert device.store.generations.current().models["unet"].unsigned is None
    assert "unsigned" not in audit(device)[-1]
    assert device.run_job(rollback("unet")).code == "NO_PREVIOUS"
    assert device.run_job(new_model(THREE)).code == "UNSIGNED_PACKAGE"


def test_the_same_manifest_signed_makes_the_version_a_signed_one(device: UnsignedDevice) -> None:
    device.offers(TWO)
    assert device.run_job(new_model(TWO)).outcome is State.COMMITTED
    assert device.store.generations.is_unsigned(TWO.sha256)
    assert device.run_job(install(("unet", "2"))).outcome is State.COMMITTED
    assert device.store.generations.current().models["unet"].unsigned is None
    assert not device.store.generations.is_unsigned(TWO.sha256)
    assert device.answering() == {"unet": "2"}


def test_revoked_and_quarantined_packages_are_refused(device: UnsignedDevice) -> None:
    device.releases.floors["unet"] = 2
    assert device.run_job(new_model(ONE)).code == "BELOW_FLOOR"
    device.store.quarantine(TWO.sha256, "it took the device down")
    assert device.run_job(new_model(TWO)).code == "QUARANTINED"
    assert device.run_job(new_model(THREE)).outcome is State.COMMITTED


def test_no_metadata_is_needed_but_a_removed_model_may_come_again(device: UnsignedDevice) -> None:
    device.releases.troubles = [TransferError(Code.TRANSFER_FAILED, "no metadata", permanent=True)]
    assert device.run_job(new_model(TWO)).outcome is State.COMMITTED
    assert device.run_job(remove("unet")).outcome is State.COMMITTED
    assert device.run_job(new_model(ONE)).outcome is State.COMMITTED
    assert len(device.releases.troubles) == 1


@pytest.mark.parametrize(
    ("archive", "code", "told"),
    [
        (package_of(TWO), "MANIFEST_INVALID", "expected unet 1 as the job says, its manifest.json is of unet 2"),
        (package_of(make_release("padim", "1")), "MANIFEST_INVALID", "is of padim 1"),
        (tar([Entry("model.pt", b"weights")]), "MANIFEST_INVALID", "edge-cloud package"),
        (tar([*entries_of(ONE), Entry("../evil", b"x")]), "FORMAT_FORBIDDEN", "lists"),
        (package_of(ONE)[:-20], "DIGEST_MISMATCH", "ends early"),
        (tar([*entries_of(ONE)[:-1], entries_of(ONE)[-1]._replace(content=b"not the parT")]), None, ""),
        (b"\x7f" * 5000, "DIGEST_MISMATCH", "whole tar archive"),
        (tar(entries_of(ONE)) + bytes(6 << 20), "FORMAT_FORBIDDEN", "expected a package of at most"),
    ],
    ids=["other version", "other model", "no manifest", "hostile", "cut", "wrong bytes", "no archive", "too large"],
)
def test_a_bad_package_ends_its_job_with_the_reason_and_leaves_nothing(
    device: UnsignedDevice, archive: bytes, code: str | None, told: str
) -> None:
    device.shelf.packages[key_of(ONE)] = archive
    record = device.run_job(new_model(ONE))
    assert record.outcome is State.FAILED
    assert record.code in ((code,) if code else ("DIGEST_MISMATCH", "FORMAT_FORBIDDEN"))
    assert told in record.message
    assert device.committed() == {}
    assert leftovers(device) == []
    assert not any((device.directory / "blobs").iterdir())
    assert device.run_job(new_model(TWO)).outcome is State.COMMITTED


def test_a_package_that_is_not_there_is_told(device: UnsignedDevice) -> None:
    record = device.run_job(new_model(ONE, model_package_key="nowhere.tar.gz"))
    assert (record.outcome, record.code) == (State.FAILED, "OBJECT_MISSING")


def test_a_manifest_at_the_end_of_a_large_archive_is_found_within_the_cap_though_the_network_fails(
    tmp_path: Path,
) -> None:
    large = make_release("unet", "1", files={"weights.bin": bytes(3 << 20)})
    device = UnsignedDevice(tmp_path)
    reserved: list[int] = []

    def reserve(size_bytes: int) -> float:
        reserved.append(size_bytes)
        return 0.0

    failures = [TransferError(Code.TRANSFER_FAILED, "the cable") for _ in range(3)]
    read_range = device.shelf.read_range

    def troubled(key: str, start: int, end: int, *, check: Callable[[], None]) -> bytes:
        if start and failures:
            raise failures.pop()
        return read_range(key, start, end, check=check)

    device.shelf.read_range = troubled  # type: ignore[method-assign]
    device.packages = Packages(device.shelf, device.shelf.fetch, BUCKET, reserve)
    device.journal.close()
    device._open()
    entries = entries_of(large)
    device.shelf.packages[key_of(large)] = archive = tar([*entries[1:], entries[0]])
    device.start()
    record = device.run_job(new_model(large))
    device.stop()
    assert (record.outcome, failures) == (State.COMMITTED, [])
    assert sum(reserved) == len(archive)


def test_a_cancelled_job_ends_while_its_package_comes_and_what_came_is_kept(device: UnsignedDevice) -> None:
    def trickle(
        key: str,
        target: Path,
        size_bytes: int,
        *,
        deadline: float,
        cancelled: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> None:
        target.write_bytes(device.shelf.packages[key][:10])
        progress(10)
        coming.set()
        eventually(lambda: cancelled() or None)
        raise CancelledError(Code.CANCELLED, "the download was cancelled")

    coming = threading.Event()
    assert device.packages is not None
    device.packages.fetch = trickle
    device.job("taken-back", new_model(ONE))
    assert coming.wait(30)
    device.deployer.cancel("taken-back", "cancelled by a test")
    record = eventually(lambda: device.ended("taken-back"))
    assert (record.outcome, record.code, device.committed()) == (State.CANCELLED, "CANCELLED", {})
    assert leftovers(device) == [_name(ONE)]
    device.packages.fetch = device.shelf.fetch
    assert device.run_job(new_model(ONE)).outcome is State.COMMITTED
    assert leftovers(device) == []


def test_bytes_of_an_earlier_try_that_are_wrong_are_fetched_once_more(device: UnsignedDevice) -> None:
    name = device.store.partial_path(_name(ONE))
    name.write_bytes(b"torn by a power cut")
    assert device.run_job(new_model(ONE)).outcome is State.COMMITTED
    assert leftovers(device) == []


def test_a_disk_that_does_not_hold_archive_and_files_is_found_before_the_download(tmp_path: Path) -> None:
    device = UnsignedDevice(tmp_path, limits=Limits(reserve_bytes=0))
    device.holds(ONE)
    # Room for the files and the engine, and one byte too few for the archive beside them.
    free = 2 * ONE.manifest.size_bytes + ONE.manifest.model_artefact.size_bytes - 1
    device.store.free_bytes = lambda: free  # type: ignore[method-assign]
    device.start()
    record = device.run_job(new_model(ONE))
    device.stop()
    assert (record.outcome, record.code) == (State.FAILED, "NO_SPACE")
    assert [entry.state for entry in record.states if entry.state == "DOWNLOADING"] == []


@pytest.mark.parametrize("state", [State.REFRESHING, State.CHECKING, State.DOWNLOADING, State.VERIFIED, State.TRIED])
def test_an_unsigned_install_goes_on_after_a_restart_in_any_state(tmp_path: Path, state: State) -> None:
    device = UnsignedDevice(tmp_path)
    device.holds(ONE)
    stopped: list[str] = []

    def stop_at(record: Deployment) -> None:
        if record.state is state and not stopped:
            stopped.append(record.state.value)
            device.deployer.stop()

    device._at_state = stop_at
    device.start()
    device.job("job", new_model(ONE))
    eventually(lambda: stopped or None)
    device.stop()
    assert device.committed() == {}

    device._open()
    device.start()
    record = eventually(lambda: device.ended("job"))
    device.stop()
    assert (stopped, record.outcome, record.package and record.package.bucket) == (
        [state.value],
        State.COMMITTED,
        BUCKET,
    )
    assert device.store.generations.current().models["unet"].unsigned is True


def test_a_setting_that_is_taken_back_ends_what_was_under_way(tmp_path: Path) -> None:
    device = UnsignedDevice(tmp_path)
    device.holds(ONE)
    stopped: list[str] = []

    def stop_at(record: Deployment) -> None:
        if record.state is State.DOWNLOADING and not stopped:
            stopped.append(record.state.value)
            device.deployer.stop()

    device._at_state = stop_at
    device.start()
    device.job("job", new_model(ONE))
    eventually(lambda: stopped or None)
    device.stop()
    device.packages = None
    device._open()
    device.start()
    record = eventually(lambda: device.ended("job"))
    device.stop()
    assert (record.code, device.committed()) == ("UNSIGNED_PACKAGE", {})


@pytest.mark.parametrize("failing", ["install", "admit"])
def test_a_disk_that_fails_while_it_is_unpacked_is_told_and_the_next_try_is_whole(
    device: UnsignedDevice, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    hit: list[str] = []

    def fail(*_arguments: object) -> None:
        hit.append(failing)
        raise StorageError(Code.NO_SPACE, "the disk is full")

    monkeypatch.setattr(device.store, failing, fail)
    assert device.run_job(new_model(ONE)).code == "NO_SPACE"
    assert hit
    monkeypatch.undo()
    assert device.run_job(new_model(ONE)).outcome is State.COMMITTED


@pytest.mark.parametrize(
    ("url", "root", "bucket"),
    [
        ("s3://line/some/prefix", "s3://line", "line"),
        ("https://host/repository", "https://host/repository", ""),
        ("file:///media/stick", "file:///media/stick", ""),
    ],
)
def test_packages_lie_in_the_repositorys_bucket_or_directory(url: str, root: str, bucket: str) -> None:
    assert package_root(url) == (root, bucket)


def test_where_places_have_no_buckets_a_job_may_name_any(tmp_path: Path) -> None:
    device = UnsignedDevice(tmp_path)
    device.packages = Packages(device.shelf, device.shelf.fetch, "")
    device.journal.close()
    device._open()
    device.holds(ONE)
    device.start()
    assert device.run_job(new_model(ONE, model_package_bucket="any")).outcome is State.COMMITTED
    device.stop()


def _name(release: Release) -> str:
    return package.name_of(f"{BUCKET}/{key_of(release)}", str(len(package_of(release))), "tag")
