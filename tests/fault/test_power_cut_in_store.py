"""The power goes at any moment of a deployment: what was acknowledged is there, and whole."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import AgentError
from edge_agent.formats import ModelVersion
from edge_agent.storage import durable
from edge_agent.store import AuditLog, Committed, Generation, Store
from tests.fakes.faulty_os import faults
from tests.fakes.power_cut import PowerCut
from tests.fakes.releases import Release, install, make_release, sha256

OLD = make_release(version="1")
NEW = make_release(version="2", files={"extra/labels.txt": b"scratch\n"})


def _download(store: Store, release: Release) -> None:
    for artefact in store.missing(release.manifest):
        content, partial = release.blobs[artefact.sha256], store.partial_path(artefact.sha256)
        durable.append(partial, content[:5])
        durable.append(partial, content[5:])
        store.admit(artefact.sha256, partial)


class Story:
    """A deployment under a watched disk; notes when each thing was acknowledged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.generations: list[tuple[int, Generation]] = []
        self.audited: list[tuple[int, int]] = [(0, 0)]
        with faults():
            store = Store(root)
            install(store, OLD)
            self.generations.append((0, store.commit({"unet": OLD.committed()})))
        self.disk = PowerCut(root)

    def tell(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edge_agent.storage.steps.os", self.disk)
            store, audit = Store(self.root), AuditLog(self.root / "audit.log", now=lambda: 0.0)
            _download(store, NEW)
            store.install(NEW.content)
            self._commit(store, NEW.committed("1"))
            audit.append("committed", version="2")
            self.audited.append((self.disk.clock, 1))
            self._commit(store, OLD.committed())
            store.discard(NEW.manifest)
            audit.append("discarded", version="2")
            self.audited.append((self.disk.clock, 2))

    def _commit(self, store: Store, committed: Committed) -> None:
        generation = store.commit({"unet": committed})
        self.generations.append((self.disk.clock, generation))

    def check(self, moment: int, root: Path) -> None:
        store = Store(root)
        current = store.generations.current()
        acknowledged = [generation for at, generation in self.generations if at <= moment]
        following = [generation for at, generation in self.generations if at > moment][:1]
        assert current in [acknowledged[-1], *following]
        for name, committed in current.models.items():
            store.verify(ModelVersion(name, committed.version), manifest_sha256=committed.manifest_sha256)
        for blob in (root / "blobs").iterdir():
            assert blob.name.startswith(".") or sha256(blob.read_bytes()) == blob.name, "bytes that nobody verified"
        lines = max(count for at, count in self.audited if at <= moment)
        assert AuditLog(root / "audit.log").verify() in (lines, lines + 1)
        with faults():
            store.recover()
            install(store, NEW)
            AuditLog(root / "audit.log", now=lambda: 0.0).append("started")
        assert store.verify(NEW.model_version) == NEW.manifest


def _survive(tmp_path: Path) -> int:
    story = Story(tmp_path / "state")
    story.tell()
    count = 0
    for moment, disk in story.disk.states(random.Random(5)):
        after = tmp_path / "after"
        story.disk.write_out(disk, after)
        story.check(moment, after)
        shutil.rmtree(after)
        count += 1
    return count


def test_power_cut_at_any_moment_of_a_deployment_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    assert _survive(tmp_path) > 150


def _no_file_sync(patch: pytest.MonkeyPatch) -> None:
    real = PowerCut.fsync
    patch.setattr(PowerCut, "fsync", lambda disk, fd: real(disk, fd) if disk._open[fd].directory else None)


def _no_directory_sync(patch: pytest.MonkeyPatch) -> None:
    real = PowerCut.fsync
    patch.setattr(PowerCut, "fsync", lambda disk, fd: None if disk._open[fd].directory else real(disk, fd))


@pytest.mark.parametrize("forget", [_no_file_sync, _no_directory_sync])
def test_the_check_notices_syncs_that_are_left_out(
    tmp_path: Path, forget: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch)
    with pytest.raises((AssertionError, AgentError)):
        _survive(tmp_path)
