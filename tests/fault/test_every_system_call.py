"""Killed, or told ENOSPC, EIO, EROFS or EMFILE, at every system call that changes the state directory.

Two stories of a whole device, on the thread that writes in them: its first start and stop (the main thread),
and a job that installs version 2 with a local rollback after it (the deployer's). A case is one fault at one
call of one story. After it the device starts without faults, and then: what answers is the committed version,
whole and verified; what was under way ends as the table says; cloud and journal tell the same; the audit log
holds; no floor sank; nothing staged is left over; and another version can be installed.

By default a sample of the cases runs, each pair of call and fault at least once; ``EDGE_TEST_SWEEP=1`` runs all,
``EDGE_TEST_SEED`` draws another sample, ``EDGE_TEST_CASE=deploy:pwrite64:17:EIO`` runs the one that failed.
"""

from __future__ import annotations

import os
import queue
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes.nursery import Nursery
from tests.fakes.sweep import STORIES, Case, Places, Sweep, Verdict, cases

WHOLE = os.environ.get("EDGE_TEST_SWEEP") == "1"
SEED = int(os.environ.get("EDGE_TEST_SEED", "14"))
ONE = os.environ.get("EDGE_TEST_CASE", "")
SAMPLE = 240
TELL_EVERY = 100


def chosen(every: list[Case]) -> list[Case]:
    """Return what runs now: one, all, or a sample with each (story, call, fault) at least once."""
    if ONE:
        return [nearest(every, *ONE.split(":"))]
    if WHOLE:
        return every
    shuffled = random.Random(SEED).sample(every, len(every))
    kinds = {(case.story, case.call.name, case.fault): case for case in shuffled}
    left = [case for case in shuffled if case not in kinds.values()]
    return [*kinds.values(), *left[: max(0, SAMPLE - len(kinds))]]


def nearest(every: list[Case], story: str, call: str, number: str, fault: str) -> Case:
    """Return the case; numbers of writes differ a little from one run to the next."""
    alike = [case for case in every if (case.story, case.call.name, case.fault) == (story, call, fault)]
    return min(alike, key=lambda case: abs(case.call.number - int(number)))


def swept(sweeps: list[Sweep], wanted: list[Case]) -> Iterator[Verdict]:
    """Run the cases, as many at once as there are sweeps; yield what came of each, in order."""
    idle: queue.SimpleQueue[Sweep] = queue.SimpleQueue()
    for sweep in sweeps:
        idle.put(sweep)

    def run(case: Case) -> Verdict:
        sweep = idle.get()
        try:
            return sweep.run(case)
        finally:
            idle.put(sweep)

    with ThreadPoolExecutor(len(sweeps)) as pool:
        yield from pool.map(run, wanted)


def say(capsys: pytest.CaptureFixture[str], words: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{words} ")
        sys.stdout.flush()


def told(verdict: Verdict) -> str:
    """Return what is wrong, and how to see it again."""
    problems = "\n".join(problem[-3000:] for problem in verdict.problems)
    again = f"EDGE_TEST_CASE={verdict.case} scripts/test fault -k every_system_call"
    return f"{verdict.case.call.line[:200]}\n{problems}\nagain: {again}\n"


@pytest.mark.timeout(7200 if WHOLE else 900)
def test_a_fault_at_any_system_call_that_changes_the_state_directory_is_survived(
    places: Places, nurseries: list[Nursery], capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps = [Sweep(places, nursery, f"device-{number}") for number, nursery in enumerate(nurseries)]
    every = [case for story in STORIES for case in cases(story, sweeps[0].calls(story))]
    wanted = chosen(every)
    say(capsys, f"{len(wanted)} of {len(every)} faults, seed {SEED} (EDGE_TEST_SEED)")
    verdicts: list[Verdict] = []
    for verdict in swept(sweeps, wanted):
        verdicts.append(verdict)
        if verdict.problems:
            say(capsys, told(verdict))
        if len(verdicts) % TELL_EVERY == 0:
            say(capsys, f"{len(verdicts)} done")
    bad = [verdict for verdict in verdicts if verdict.problems]
    say(capsys, f"{len(verdicts) - len(bad)} of {len(wanted)} survived")
    assert not bad, "\n".join(map(told, bad[:20]))
    assert len(verdicts) == len(wanted) > 0
    assert all(verdict.fired for verdict in verdicts)
    # What a sweep that silently sees nothing would not have.
    assert {case.call.name for case in every} >= {
        "openat",
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
        "rename",
        "mkdir",
    }
