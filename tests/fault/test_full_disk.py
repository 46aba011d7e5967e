"""The disk is full, or takes nothing any more, in each state: the job ends with the truth, and the line is served.

A real agent stands still in a state; then its disk, a small tmpfs, is filled to the last byte, or strace lets
every change fail. It is let go, and asked for pictures all the while. When there is room again, what the cloud
is told, what is committed and what answers agree, and another version can be installed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.deployment.states import INSTALL, State
from tests.fakes import tracer as tracing
from tests.fakes.device import eventually
from tests.fakes.forked_names import MODEL
from tests.fakes.nursery import Ended, Nursery
from tests.fakes.small_disk import small_disk
from tests.fakes.sweep import Places, Sweep

TRUE_CODES = {"NO_SPACE", "STORAGE_FAILED", "ROLLED_BACK", "BUILD_FAILED"}
STATES = [state.value for state in INSTALL if state is not State.REPORTED]
DISK_BYTES = 8 << 20


@pytest.fixture
def on_small_disk(places: Places) -> Iterator[Path]:
    """A device whose state directory is a tmpfs of a few megabytes."""
    place = places.copy("deploy", "full")
    (place / "state").rename(place / "before")
    state = place / "state"
    state.mkdir()
    with small_disk(state, DISK_BYTES):
        subprocess.run(["cp", "-a", f"{place}/before/.", str(state)], check=True)
        yield place


class Gates:
    """Does something the first time that a life stands still, and something else the second time."""

    def __init__(self, first: Callable[[int], None], second: Callable[[int], None]) -> None:
        self._acts = [first, second]
        self.passed = 0

    def __call__(self, thread: int) -> None:
        self._acts[self.passed](thread)
        self.passed += 1


def assert_truth(ended: Ended) -> None:
    """The line was served, and cloud, journal and disk say the same."""
    assert ended.signal == 0, ended.log
    assert ended.result["problems"] == [], ended.log
    assert ended.result["served"] > 0
    status, code = ended.result["job"]
    committed = ended.result["committed"][MODEL]
    if status == "SUCCEEDED":
        assert (code, committed) == ("", "2")
    else:
        assert status == "FAILED"
        assert code in TRUE_CODES
        assert committed == "1"


@pytest.mark.parametrize("state", STATES)
def test_full_disk_in_each_state_is_told_truthfully_and_nothing_stops_answering(
    state: str, on_small_disk: Path, places: Places, nurseries: list[Nursery]
) -> None:
    place, ballast = on_small_disk, on_small_disk / "state" / "ballast"
    free: list[int] = []

    def fill(_thread: int) -> None:
        fill_up(ballast)
        free.append(os.statvfs(ballast).f_bavail)

    gates = Gates(fill, lambda _thread: ballast.unlink())
    # Whatever comes after these states has something to write.
    until = "NO_SPACE" if state in ("ACCEPTED", "REFRESHING", "CHECKING", "DOWNLOADING") else ""
    ended = nurseries[0].live(places.task(place, "troubled", hold=state, until=until), gates)
    assert gates.passed == 2
    assert free == [0]
    assert_truth(ended)
    if until:
        assert ended.result["job"] == ["FAILED", until]
    assert Sweep(places, nurseries[0], "full").problems_afterwards(place) == []


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
@pytest.mark.parametrize("state", STATES)
def test_disk_that_takes_nothing_from_a_state_on_stops_no_answer_and_is_told_when_it_can_be(
    state: str, error: str, places: Places, nurseries: list[Nursery]
) -> None:
    place = places.copy("deploy", "sick")
    tracer = tracing.failing_all(place / "faults", error)

    def heal(_thread: int) -> None:
        eventually(lambda: tracer.fired or None)
        tracer.detach()

    ended = nurseries[0].live(places.task(place, "troubled", hold=state), Gates(tracer.attach, heal))
    assert_truth(ended)
    assert Sweep(places, nurseries[0], "sick").problems_afterwards(place) == []


def fill_up(ballast: Path) -> None:
    """Write until the disk takes not one byte more."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
