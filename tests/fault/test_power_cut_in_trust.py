"""Whatever a power cut leaves of the trust room: an older repository stays refused, the honest one is believed."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cloud_tools.release.authority import delegate
from edge_agent.errors import AgentError, Code, TrustError
from edge_agent.formats import ModelVersion
from edge_agent.trust import TrustClient
from tests.fakes.faulty_os import Killed, faults
from tests.fakes.power_cut import PowerCut
from tests.fakes.repository import NOW, DirectoryObjects, SignedRepository


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    """A repository with two states, yesterday's kept aside; a family signs the model."""
    made = SignedRepository(tmp_path / "cloud")
    made.publish("unet", "1")
    delegate(made.open(), "press", ["unet"])
    made.save("yesterday")
    made.publish("unet", "2")
    made.save("today")
    return made


def client(repository: SignedRepository, state: Path, day: str) -> TrustClient:
    """Return a freshly started client that is offered the repository of a day."""
    objects = DirectoryObjects(repository.home / day)
    return TrustClient(state / "trust", repository.root, objects, allow_demo_root=True, now=lambda: NOW)


MAY_REFUSE = {Code.METADATA_ROLLBACK, None}


def refusal(device: TrustClient) -> Code | None:
    """Refresh and return why that was refused, None when it was not."""
    try:
        device.refresh()
    except TrustError as error:
        return error.code
    return None


def check(repository: SignedRepository, state: Path, *, acknowledged: bool) -> None:
    """Offer yesterday, which may pass only if today was not acknowledged; then today, which must."""
    with faults():
        assert refusal(client(repository, state, "yesterday")) in (
            {Code.METADATA_ROLLBACK} if acknowledged else MAY_REFUSE
        )
        device = client(repository, state, "today")
        assert device.release(ModelVersion("unet", "2")).manifest.release_seq == 2
    assert not list((state / "trust").rglob("*.staged"))


def survive(repository: SignedRepository, tmp_path: Path) -> int:
    """Cut the power at every moment of two refreshes, in every state the disk may then have."""
    state = tmp_path / "state"
    state.mkdir()
    disk = PowerCut(state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_agent.storage.steps.os", disk)
        client(repository, state, "yesterday").refresh()
        client(repository, state, "today").refresh()
    acknowledged = disk.clock
    count = 0
    # The last moments first: what an acknowledged refresh left is what breaks when a sync is missing.
    for moment, left in reversed(list(disk.states(random.Random(7)))):
        after = tmp_path / "after"
        disk.write_out(left, after)
        check(repository, after, acknowledged=moment >= acknowledged)
        shutil.rmtree(after)
        count += 1
    return count


def test_power_cut_at_any_moment_of_a_refresh_lets_no_older_repository_in(
    repository: SignedRepository, tmp_path: Path
) -> None:
    assert survive(repository, tmp_path) > 80


def forget_files(patch: pytest.MonkeyPatch) -> None:
    real = PowerCut.fsync
    patch.setattr(PowerCut, "fsync", lambda disk, fd: real(disk, fd) if disk._open[fd].directory else None)


def forget_directories(patch: pytest.MonkeyPatch) -> None:
    real = PowerCut.fsync
    patch.setattr(PowerCut, "fsync", lambda disk, fd: None if disk._open[fd].directory else real(disk, fd))


@pytest.mark.parametrize("forget", [forget_files, forget_directories])
def test_the_check_notices_syncs_that_are_left_out(
    repository: SignedRepository,
    tmp_path: Path,
    forget: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget(monkeypatch)
    with pytest.raises((AssertionError, AgentError)):
        survive(repository, tmp_path)


def test_killed_at_every_change_of_a_refresh_it_goes_on_at_the_next_start(
    repository: SignedRepository, tmp_path: Path
) -> None:
    at = 0
    while True:
        at += 1
        state = tmp_path / f"killed-{at}"
        with faults():
            client(repository, state, "yesterday").refresh()
        with faults(at=at) as faulty, suppress(Killed):
            client(repository, state, "today").refresh()
        check(repository, state, acknowledged=not faulty.fired)
        if not faulty.fired:
            break
    assert at > 20
