"""Whatever a power cut leaves of a renewal: the old certificate or the new one is in use, whole and with its key."""

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.errors import AgentError
from edge_agent.identity import material
from edge_agent.identity.lineage import Files, Lineage
from tests.fakes.certificates import Authority
from tests.fakes.faulty_os import Killed, faults
from tests.fakes.power_cut import PowerCut


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def first(authority: Authority) -> Files:
    return Files(*authority.issue("press-4"))


def renew(directory: Path, first: Files, authority: Authority) -> str:
    """Go through a renewal, or go on with one; return the id of what is in use then."""
    lineage = Lineage(directory, first)
    lineage.ask("press-4")
    lineage.put(authority.sign(lineage.request))
    lineage.switch()
    lineage.tidy()
    return lineage.current.id


def check(directory: Path, first: Files, authority: Authority, expected: set[str]) -> None:
    lineage = Lineage(directory, first)
    assert lineage.current.id in expected
    material.check_fit(lineage.current, material.read_key(lineage.files.private_key.read_bytes(), "key"), "in use")
    # And from there it goes on.
    after = renew(directory, first, authority)
    assert Lineage(directory, first).current.id == after
    assert not list(directory.glob(".*"))


def survive(tmp_path: Path, first: Files, authority: Authority) -> int:
    state = tmp_path / "state"
    state.mkdir()
    with faults():
        one = renew(state, first, authority)
    disk = PowerCut(state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_agent.storage.steps.os", disk)
        two = renew(state, first, authority)
    acknowledged = disk.clock
    count = 0
    for moment, left in reversed(list(disk.states(random.Random(7)))):
        after = tmp_path / "after"
        disk.write_out(left, after)
        check(after, first, authority, {two} if moment >= acknowledged else {one, two})
        shutil.rmtree(after)
        count += 1
    return count


def test_a_power_cut_at_any_moment_of_a_renewal_leaves_the_old_or_the_new_certificate(
    tmp_path: Path, first: Files, authority: Authority
) -> None:
    assert survive(tmp_path, first, authority) > 40


def test_the_check_notices_syncs_that_are_left_out(
    tmp_path: Path, first: Files, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PowerCut.fsync
    monkeypatch.setattr(PowerCut, "fsync", lambda disk, fd: None if disk._open[fd].directory else real(disk, fd))
    with pytest.raises((AssertionError, AgentError)):
        survive(tmp_path, first, authority)


def test_killed_at_every_change_of_a_renewal_it_goes_on_at_the_next_start(
    tmp_path: Path, first: Files, authority: Authority
) -> None:
    at = 0
    while True:
        at += 1
        state = tmp_path / f"killed-{at}"
        with faults():
            one = renew(state, first, authority)
        with faults(at=at) as faulty, suppress(Killed):
            renew(state, first, authority)
        with faults():
            made = [material.read_certificate(path.read_bytes(), "made").id for path in state.glob("2/*.pem")]
            check(state, first, authority, {one, *made})
        if not faulty.fired:
            break
    assert at > 15
