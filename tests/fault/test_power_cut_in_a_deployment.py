"""The power goes at any moment of a whole deployment: rows of the table hold on every disk that may be left.

The deployer's thread is recorded with every byte it writes (SQLite, engine and metadata included) while a job
installs version 2 and somebody takes it back; so is the main thread while the agent starts on what a kill left,
and stops. From the recording every state is made that dropping unsynced changes allows, torn writes and lost
names included, and a real agent starts on it, next to a cloud that remembers what it was told by that moment.

By default a sample of the states; ``EDGE_TEST_SWEEP=1`` takes every subset of up to twelve pending changes and a
thousand of each larger set, and starts an agent on all that a reader can tell apart: some 16,000 disks, hours.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.nursery import Nursery
from tests.fakes.power_cut import SWEEP
from tests.fakes.replay import Left, Replay
from tests.fakes.sweep import KILL, Places, Sweep, cases

SEED = int(os.environ.get("EDGE_TEST_SEED", "15"))
SAMPLE = {"deploy": 80, "start": 30}
# Calls and distinct disks below which something was not seen.
LEAST = {"deploy": (200, 60), "start": (20, 5)}
TELL_EVERY = 500


def survived(
    replay: Replay, sweeps: list[Sweep], home: Path, lefts: Iterator[Left], tell: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Start a device on each state; return how many there were and what is wrong.

    Each sweep takes its next state when it is done with one: all of them at once would not fit into memory.
    """
    taking = threading.Lock()
    problems: list[str] = []
    taken = itertools.count(1)

    def take() -> Left | None:
        with taking:
            left = next(lefts, None)
            if left is not None and (number := next(taken)) % TELL_EVERY == 0:
                tell(f"\n{number} ")
            return left

    def run(number: int) -> int:
        count = 0
        while (left := take()) is not None:
            for problem in replay.survive(left, home / f"after-{number}", sweeps[number]):
                problems.append(f"moment {left.moment}: {problem[-3000:]}")
                tell(f"\n{problems[-1]}\n")
            count += 1
        return count

    with ThreadPoolExecutor(len(sweeps)) as pool:
        return sum(pool.map(run, range(len(sweeps)))), problems


@pytest.mark.timeout(14_400 if SWEEP else 900)
@pytest.mark.parametrize("story", ["deploy", "start"])
def test_power_cut_at_any_moment_leaves_a_disk_on_which_the_table_holds(
    story: str, home: Path, places: Places, nurseries: list[Nursery], capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps = [Sweep(places, nursery, f"replay-{number}") for number, nursery in enumerate(nurseries)]
    place = places.copy("deploy", f"recorded-{story}")
    if story == "start":
        # Killed in the middle of the job: a log to read back, a state to go on with, a close with its checkpoint.
        every = cases("deploy", sweeps[0].calls("deploy"))
        synced = [case for case in every if (case.call.name, case.fault) == ("fdatasync", KILL)]
        place = sweeps[0].killed(synced[-4], f"recorded-{story}")
    replay = Replay(sweeps[0], place, {"deploy": "deploy", "start": "begin"}[story], home)
    rng = random.Random(SEED)
    lefts = replay.every(rng) if SWEEP else replay.some(rng, SAMPLE[story])

    def say(words: str) -> None:
        with capsys.disabled():
            sys.stdout.write(words)
            sys.stdout.flush()

    say(f"\n{story}: {replay.calls} calls, seed {SEED} (EDGE_TEST_SEED) ")
    count, problems = survived(replay, sweeps, home, lefts, say)
    say(f"\n{count} disks, {len(problems)} problems ")
    assert not problems, "\n".join(problems[:20])
    calls, disks = LEAST[story]
    assert replay.calls >= calls
    assert count >= disks
