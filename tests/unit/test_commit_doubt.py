"""A commit whose writing failed is told as failed, and a restart finds it so: nothing is left in doubt."""

import errno
from pathlib import Path

import pytest

from edge_agent.deployment.states import State
from edge_agent.errors import StorageError
from edge_agent.storage import durable
from edge_agent.store import Generations, Store
from tests.fakes.deployment import Device, install
from tests.fakes.releases import install as install_into
from tests.fakes.releases import make_release

OLD, NEW, NEWER = (
    make_release(version="1"),
    make_release(version="2", release_seq=2),
    make_release(version="3", release_seq=3),
)


class SickDirectory:
    """``generations/`` on a disk that takes a rename, and then neither a sync nor a removal for a while."""

    def __init__(self, patch: pytest.MonkeyPatch, *, removals: int) -> None:
        self.fired = {"write": 0, "remove": 0}
        self._removals = removals
        self._write, self._remove = durable.write, durable.remove
        patch.setattr("edge_agent.store.generations.durable.write", self.write)
        patch.setattr("edge_agent.store.generations.durable.remove", self.remove)

    def write(self, path: Path, content: bytes, *, mode: int = 0o644) -> None:
        self._write(path, content, mode=mode)
        if path.parent.name == "generations" and not self.fired["write"]:
            self.fired["write"] += 1
            with durable.translated(path):
                raise OSError(errno.EIO, "the directory's sync failed")

    def remove(self, path: Path) -> None:
        if path.parent.name == "generations" and self.fired["remove"] < self._removals:
            self.fired["remove"] += 1
            with durable.translated(path):
                raise OSError(errno.EIO, "nothing can be removed")
        self._remove(path)


def test_a_generation_remembers_which_deployment_made_it_and_that_one_alone_takes_it_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    install_into(store, OLD)
    install_into(store, NEW)
    store.commit({"unet": OLD.committed()}, "first")
    store.commit({"unet": NEW.committed("1")}, "second")
    generations = Generations(tmp_path / "generations")
    assert (generations.made_by("first"), generations.made_by("third"), generations.made_by("")) == (True, False, False)
    assert generations.retract("first") is None
    assert generations.current().models["unet"].version == "2"
    taken_back = generations.retract("second")
    assert taken_back is not None
    assert taken_back.models["unet"].version == "2"
    assert generations.current().models["unet"].version == "1"
    assert generations.retract("") is None


@pytest.mark.parametrize("removals", [0, 1, 2])
def test_a_commit_that_failed_and_could_not_be_taken_back_at_once_is_not_what_a_restart_serves(
    tmp_path: Path, removals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.deployment.ledger.RETRY_S", 0.01)
    device = Device(tmp_path)
    device.already_has(OLD)
    device.offers(NEW)
    with monkeypatch.context() as patch:
        sick = SickDirectory(patch, removals=removals)
        device.start()
        record = device.call(install(("unet", "2")))
    assert sick.fired == {"write": 1, "remove": removals}
    assert (record.outcome, record.code) == (State.FAILED, "ROLLED_BACK")
    # In memory, on disk and after a restart the same.
    assert device.answering() == device.committed() == {"unet": "1"}
    assert Store(tmp_path).generations.current().models["unet"].version == "1"
    # The next one is not disturbed by it.
    assert device.call(install(("unet", "2"))).outcome is State.COMMITTED
    assert device.answering() == device.committed() == {"unet": "2"}
    device.stop()


def test_a_version_is_withdrawn_as_previous_once_and_only_if_it_is_one(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.already_has(OLD)
    device.offers(NEW)
    device.start()
    assert device.call(install(("unet", "2"))).outcome is State.COMMITTED
    device.stop()
    assert not device.commits.withdraw_previous(NEW.model_version, "it is the committed one")
    assert device.commits.withdraw_previous(OLD.model_version, "rotten")
    assert not device.commits.withdraw_previous(OLD.model_version, "rotten")
    entry = Store(tmp_path).generations.current().models["unet"]
    assert (entry.version, entry.previous) == ("2", None)


def test_a_generation_that_cannot_be_taken_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    install_into(store, OLD)
    store.commit({"unet": OLD.committed()}, "first")
    sick = SickDirectory(monkeypatch, removals=1)
    with pytest.raises(StorageError):
        store.generations.retract("first")
    assert sick.fired["remove"] == 1
    assert store.generations.current().models.keys() == {"unet"}
