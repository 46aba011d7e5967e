"""Counts by shift on a real disk: resets, clocks that jump, full disks, processes that are killed."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge_agent.errors import Code, StorageError
from edge_agent.formats import Counts, InspectedFrame, ModelResult, Shift, Verdict
from edge_agent.inspection import ResultCounter
from edge_agent.inspection.ledger import SCHEMA
from edge_agent.storage.database import Database

PATIENCE_S = 60.0
BERLIN = ZoneInfo("Europe/Berlin")
SHIFTS = {"early": "06:00", "late": "14:00", "night": "22:00"}
NOON = datetime(2026, 7, 1, 12, tzinfo=BERLIN).timestamp()
HOUR_S = 3600.0


def part(at: float, verdict: Verdict = Verdict.OK, *, score: float = 0.1, ms: float = 8.0) -> InspectedFrame:
    result = ModelResult(application="app", model="m", verdict=verdict, score=score, threshold=0.5)
    return InspectedFrame(id="f", at=at, verdict=verdict, results=(result,), milliseconds=ms)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Opened = Callable[..., ResultCounter]


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Opened]:
    """Opens counters over one file, one after the other."""
    counters: list[ResultCounter] = []

    def open_(**more: object) -> ResultCounter:
        settings = {"shifts": SHIFTS, "zone": BERLIN, "now": clock, "write_every_s": 3600.0, **more}
        counters.append(ResultCounter(tmp_path / "inspections.db", **settings))  # type: ignore[arg-type]
        return counters[-1]

    yield open_
    for counter in counters:
        counter.close()


def test_a_shift_has_counts_scores_and_latencies_of_its_own_and_they_survive(opened: Opened, clock: Clock) -> None:
    counter = opened()
    for _ in range(19):
        counter.add(part(NOON))
    counter.add(part(NOON + 400, Verdict.NG, score=0.97, ms=80.0))
    clock.now = NOON + 3 * HOUR_S
    counter.add(part(clock.now))
    before = counter.shifts(10)
    assert [(shift.name, shift.counts, shift.running) for shift in before] == [
        ("late", Counts(ok=1), True),
    ]  # the earlier one is not written yet, and this one goes on in memory
    counter.close()
    again = opened()
    late, early = again.shifts(10)
    assert (late.name, late.counts, late.running) == ("late", Counts(ok=1), True)
    assert (early.name, early.counts, early.running) == ("early", Counts(ok=19, ng=1), False)
    assert early.ends - early.began == 8 * HOUR_S
    (scores,) = early.scores
    assert (scores.application, scores.model, scores.threshold, len(scores.bins)) == ("app", "m", 0.5, 20)
    assert (scores.bins[2], scores.bins[19]) == (19, 1)
    assert [(point.at, point.count) for point in early.latency] == [(NOON, 19), (NOON + 300, 1)]
    assert early.latency[0].p50_ms == pytest.approx(8.0, rel=0.05)
    assert early.latency[1].p95_ms == pytest.approx(80.0, rel=0.05)
    assert again.counts() == Counts(ok=20, ng=1)
    assert again.current() == late.model_copy(update={"scores": (), "latency": ()})


def test_a_clock_that_is_set_back_goes_on_with_the_shift_that_it_comes_to(opened: Opened, clock: Clock) -> None:
    counter = opened(write_every_s=0.01)
    moments = [NOON, NOON + 3 * HOUR_S, NOON + 1, NOON + 3 * HOUR_S, -HOUR_S, NOON + 2]
    for moment in moments:
        clock.now = moment
        counter.add(part(moment))
        assert counter.counts().ok == moments.index(moment) + 1 or moments.count(moment) > 1
    assert counter.counts() == Counts(ok=6)
    counter.close()
    counts = {(shift.name, shift.began): shift.counts.ok for shift in opened().shifts(10)}
    assert sorted(counts.values()) == [1, 2, 3]
    assert sum(counts.values()) == 6
    assert len(counts) == 3


def test_a_reset_begins_anew_and_keeps_what_was_counted_as_a_piece_that_ended(opened: Opened, clock: Clock) -> None:
    told: list[Shift] = []
    counter = opened(told=told.append)
    counter.add(part(NOON, Verdict.NG))
    clock.now = NOON + 60
    noted: list[Counts] = []
    fresh = counter.reset("anna", noted.append)
    assert noted == [Counts(ng=1)]
    assert (fresh.name, fresh.began, fresh.counts, fresh.running, fresh.reset_by) == (
        "early", NOON + 60, Counts(), True, "anna"
    )  # fmt: skip
    assert told == [fresh]
    counter.add(part(NOON + 61))
    running, ended = counter.shifts(10)
    assert (running.counts, running.running, running.reset_by) == (Counts(ok=1), True, "anna")
    assert (ended.counts, ended.ends, ended.running, ended.reset_by) == (Counts(ng=1), NOON + 60, False, "")
    assert counter.counts() == Counts(ok=1, ng=1), "since the device was set up"
    counter.close()
    assert [shift.counts for shift in opened().shifts(10)] == [Counts(ok=1), Counts(ng=1)]


def test_a_reset_that_cannot_be_put_on_record_changes_nothing(opened: Opened) -> None:
    counter = opened()
    counter.add(part(NOON, Verdict.NG))

    def refuse(_counts: Counts) -> None:
        raise StorageError(Code.NO_SPACE, "the audit log is full")

    with pytest.raises(StorageError, match="audit log is full"):
        counter.reset("anna", refuse)
    (shift,) = counter.shifts(10)
    assert (shift.counts, shift.reset_by, counter.counts()) == (Counts(ng=1), "", Counts(ng=1))
    counter.close()
    assert opened().counts() == Counts(ng=1)


def test_only_so_many_days_are_kept_counted_in_shifts(opened: Opened, clock: Clock) -> None:
    counter = opened(keep_days=2)
    for number in range(20):
        counter.add(part(NOON + number * 8 * HOUR_S))
    clock.now = NOON + 19 * 8 * HOUR_S
    counter.close()
    again = opened(keep_days=2)
    assert len(again.shifts(100)) == 6
    assert again.shifts(100)[0].running
    assert again.counts() == Counts(ok=20)


def test_a_shift_is_told_when_it_changes_and_when_another_begins(opened: Opened, clock: Clock) -> None:
    told: list[Shift] = []
    heard = threading.Condition()

    def tell(shift: Shift) -> None:
        with heard:
            told.append(shift)
            heard.notify()

    counter = opened(write_every_s=0.01, told=tell)
    counter.add(part(NOON))
    with heard:
        assert heard.wait_for(lambda: told and told[-1].counts == Counts(ok=1), PATIENCE_S)
        clock.now = NOON + 3 * HOUR_S
        assert heard.wait_for(lambda: told[-1].name == "late" and told[-1].running, PATIENCE_S)
    assert told[-1].counts == Counts()
    assert told[-1].scores == ()


def test_a_database_of_the_version_before_keeps_its_counts(tmp_path: Path, opened: Opened) -> None:
    old = Database(tmp_path / "inspections.db", SCHEMA[:1])
    old.execute("INSERT INTO inspections VALUES ('NG', 7)")
    old.close()
    counter = opened()
    assert counter.counts() == Counts(ng=7)
    assert counter.current().counts == Counts()


def test_what_a_newer_agent_counted_is_not_lost_when_an_older_one_takes_over(tmp_path: Path, opened: Opened) -> None:
    counter = opened()
    counter.add(part(NOON, Verdict.NG))
    counter.close()
    newer = Database(tmp_path / "inspections.db", (*SCHEMA, "ALTER TABLE pieces ADD COLUMN line TEXT DEFAULT 'a'"))
    newer.execute("UPDATE inspections SET count = 7")
    newer.close()
    again = opened()
    assert again.counts() == Counts(ng=7)
    assert again.current().counts == Counts(ng=1)
    assert [sum(histogram.bins) for histogram in again.shifts(1)[0].scores] == [1]
    assert (tmp_path / "inspections.db.damaged").exists()


def test_what_a_full_disk_does_not_take_waits_and_is_counted_once(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = opened(write_every_s=0.01)
    refused = threading.Semaphore(0)
    execute = Database.execute

    def full(database: Database, sql: str, values: tuple[object, ...] = ()) -> int:
        # The disk takes the first table and not the second: nothing of either may stay.
        if sql.startswith("UPDATE pieces"):
            refused.release()
            raise StorageError(Code.NO_SPACE, "the disk is full")
        return execute(database, sql, values)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "execute", full)
    counter.add(part(NOON))
    assert refused.acquire(timeout=PATIENCE_S)
    counter.add(part(NOON, Verdict.NG))
    assert refused.acquire(timeout=PATIENCE_S)
    assert refused.acquire(timeout=PATIENCE_S)
    assert counter.counts() == Counts(ok=1, ng=1)
    assert counter.current().counts == Counts(ok=1, ng=1)
    monkeypatch.undo()
    counter.close()
    again = opened()
    assert again.counts() == again.current().counts == Counts(ok=1, ng=1)
    assert [sum(histogram.bins) for histogram in again.shifts(1)[0].scores] == [2]


_LIFE = """
import sys, time
from pathlib import Path
from edge_agent.formats import InspectedFrame, Verdict
from edge_agent.inspection import ResultCounter
counter = ResultCounter(Path(sys.argv[1]), write_every_s=0.01)
number = 0
while True:
    counter.add(InspectedFrame(id="f", at=time.time(), verdict=Verdict.NG, milliseconds=1.0))
    number += 1
    print(number, counter.ledger.totals()[Verdict.NG], flush=True)
"""


@pytest.mark.parametrize("lines", [1, 50, 500])
def test_a_kill_costs_no_more_than_what_was_not_written(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "inspections.db"
    life = subprocess.Popen([sys.executable, "-c", _LIFE, str(path)], stdout=subprocess.PIPE, text=True)
    assert life.stdout is not None
    added, written = 0, 0
    while added < lines or not written:
        added, written = map(int, life.stdout.readline().split())
    life.send_signal(signal.SIGKILL)
    rest = life.stdout.read().splitlines()
    life.wait(PATIENCE_S)
    life.stdout.close()
    last = next((line for line in reversed(rest) if len(line.split()) == 2), f"{added} {written}")
    added = int(last.split()[0]) + 1
    counter = ResultCounter(path, write_every_s=3600)
    found = counter.counts().ng
    by_shift = sum(shift.counts.ng for shift in counter.shifts(10))
    points = sum(point.count for shift in counter.shifts(10) for point in shift.latency)
    counter.close()
    assert written <= found <= added
    assert found == by_shift == points, "what is on the disk is a whole"
