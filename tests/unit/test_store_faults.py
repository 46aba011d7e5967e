"""Each call that changes the store fails once, or for good, or the process dies at it."""

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import Code, StorageError
from edge_agent.formats import ModelVersion
from edge_agent.storage import durable
from edge_agent.store import AuditLog, Store
from tests.fakes.faulty_os import FaultyOs, Killed, faults
from tests.fakes.releases import Release, download, install, make_release

OLD = make_release(version="1")
NEW = make_release(version="2")


class Device:
    """A store with version 1 committed and the bytes of version 2 on their way."""

    def __init__(self, root: Path, *, prepared: Callable[[Store], None]) -> None:
        self.root = root
        with faults():
            self.store = Store(root)
            install(self.store, OLD)
            self.store.commit({"unet": OLD.committed()})
            prepared(self.store)
        self.audit = AuditLog(root / "audit.log", now=lambda: 0.0)

    def restart(self) -> None:
        with faults():
            self.store = Store(self.root)
            self.store.recover()

    def assert_current_is_whole(self) -> None:
        for name, committed in self.store.generations.current().models.items():
            version = ModelVersion(name, committed.version)
            self.store.verify(version, manifest_sha256=committed.manifest_sha256)


def _partial(store: Store, release: Release = NEW) -> None:
    digest = release.manifest.model_artefact.sha256
    if not store.partial_path(digest).exists():
        store.partial_path(digest).write_bytes(release.blobs[digest])


def _admit(device: Device) -> None:
    digest = NEW.manifest.model_artefact.sha256
    if digest in {artefact.sha256 for artefact in device.store.missing(NEW.manifest)}:
        _partial(device.store)  # the bytes are brought again where an error threw them away
    device.store.admit(digest, device.store.partial_path(digest))
    assert not device.store.missing(NEW.manifest)


def _write(device: Device) -> None:
    durable.write(device.root / "models_config.json", b"new" * 1000)
    assert (device.root / "models_config.json").read_bytes() == b"new" * 1000


def _append(device: Device) -> None:
    before = device.audit.verify()
    device.audit.append("committed", model="unet")
    assert device.audit.verify() == before + 1


def _install(device: Device) -> None:
    assert device.store.install(NEW.content) == NEW.manifest
    assert device.store.verify(NEW.model_version) == NEW.manifest


def _commit(device: Device) -> None:
    device.store.commit({"unet": NEW.committed("1")})
    assert device.store.generations.current().models["unet"].version == "2"


def _discard(device: Device) -> None:
    device.store.discard(NEW.manifest)
    assert device.store.installed() == [OLD.model_version]


def _prune(device: Device) -> None:
    device.store.prune(set(), partial_age_s=0.0, now=4e9)
    assert device.store.installed() == [OLD.model_version]


def _quarantine(device: Device) -> None:
    device.store.quarantine(NEW.sha256, "it took the device down")
    assert device.store.is_quarantined(NEW.sha256)


def _mend(device: Device) -> None:
    directory = device.store.directory(OLD.model_version)
    (directory / "golden/part-1.png").unlink(missing_ok=True)
    device.store.install(OLD.content)
    assert device.store.verify(OLD.model_version) == OLD.manifest


def _nothing(_: Store) -> None:
    """Version 2 is unknown."""


def _downloaded(store: Store) -> None:
    download(store, NEW)


def _installed(store: Store) -> None:
    install(store, NEW)


# name: what is there before, what is done
OPERATIONS: dict[str, tuple[Callable[[Store], None], Callable[[Device], None]]] = {
    "write a file": (_nothing, _write),
    "append to the audit log": (_nothing, _append),
    "admit a blob": (_partial, _admit),
    "install a version": (_downloaded, _install),
    "commit a version": (_installed, _commit),
    "discard a version": (_installed, _discard),
    "prune": (_installed, _prune),
    "quarantine a manifest": (_nothing, _quarantine),
}
ERRORS = {"no space": errno.ENOSPC, "quota": errno.EDQUOT, "bad disk": errno.EIO, "read-only": errno.EROFS,
          "no descriptors": errno.EMFILE}  # fmt: skip


def _each_call(tmp_path: Path, name: str, attempt: Callable[[Device, int], FaultyOs]) -> int:
    """Run ``attempt`` with the fault at call 1, 2, … until the operation is over before it; return how many fired."""
    prepared, _ = OPERATIONS[name]
    for at in itertools.count(1):
        device = Device(tmp_path / f"{at}", prepared=prepared)
        if not attempt(device, at).fired:
            return at - 1
    raise AssertionError("unreachable")


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_error_at_any_call_is_told_leaves_current_whole_and_can_be_repeated(
    tmp_path: Path, name: str, error: int, lasting: bool
) -> None:
    operation = OPERATIONS[name][1]
    codes = set()

    def attempt(device: Device, at: int) -> FaultyOs:
        with faults(at=at, error=error, lasting=lasting) as faulty:
            try:
                operation(device)
            except StorageError as exc:
                codes.add(exc.code)
        device.assert_current_is_whole()
        with faults():
            operation(device)
        device.assert_current_is_whole()
        return faulty

    assert _each_call(tmp_path, name, attempt) >= 4
    expected = Code.NO_SPACE if error in (errno.ENOSPC, errno.EDQUOT) else Code.STORAGE_FAILED
    assert codes == {expected}


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_any_call_leaves_current_whole_and_can_be_repeated(tmp_path: Path, name: str) -> None:
    operation = OPERATIONS[name][1]

    def attempt(device: Device, at: int) -> FaultyOs:
        with faults(at=at) as faulty:
            try:
                operation(device)
            except Killed:
                device.assert_current_is_whole()  # as it lies there
                device.restart()
        device.assert_current_is_whole()
        with faults():
            operation(device)
        device.assert_current_is_whole()
        return faulty

    assert _each_call(tmp_path, name, attempt) >= 4
    # A kill between mkdir and rename, or link and rename, is swept at the restart.
    assert not list(tmp_path.rglob(f".*{durable.STAGED_SUFFIX}"))


def test_killed_while_a_damaged_version_is_mended_never_makes_a_sound_file_vanish(tmp_path: Path) -> None:
    for at in itertools.count(1):
        device = Device(tmp_path / f"{at}", prepared=_nothing)
        with faults(at=at) as faulty:
            try:
                _mend(device)
            except Killed:
                assert (device.store.directory(OLD.model_version) / "model.onnx").is_file()
        if not faulty.fired:
            break
        device.restart()
        with faults():
            _mend(device)
    assert at > 4


def test_a_write_whose_fsync_fails_once_stages_the_bytes_again_in_another_file(tmp_path: Path) -> None:
    device = Device(tmp_path / "state", prepared=_nothing)
    with faults() as counted:
        _write(device)
    sync = counted.calls.index("fsync") + 1
    with faults(at=sync, error=errno.EIO) as faulty:
        _write(device)
    # The failed file is unlinked and never synced again: open … fsync(EIO) unlink open … fsync rename.
    after = faulty.calls[sync:]
    assert after[:2] == ["unlink", "open"]
    assert after.index("write") < after.index("fsync") < after.index("rename")


def test_a_download_whose_fsync_fails_is_cut_back_to_what_was_synced(tmp_path: Path) -> None:
    target = tmp_path / "partial"
    with faults():
        durable.append(target, b"synced")
    with faults(at=3, error=errno.EIO) as faulty, pytest.raises(StorageError):
        durable.append(target, b" and not")
    assert faulty.calls[2] == "fsync"
    assert target.read_bytes() == b"synced"


def test_a_commit_whose_directory_sync_fails_takes_the_new_generation_back(tmp_path: Path) -> None:
    device = Device(tmp_path / "state", prepared=_installed)
    with faults() as counted:
        device.store.commit({"unet": NEW.committed("1")})
    again = Device(tmp_path / "again", prepared=_installed)
    last_sync = len(counted.calls) - counted.calls[::-1].index("fsync")
    with faults(at=last_sync, error=errno.EIO), pytest.raises(StorageError):
        again.store.commit({"unet": NEW.committed("1")})
    assert again.store.generations.current().models["unet"].version == "1"
