"""Whatever clocks, disks, resets and restarts do: every inspection is counted once, in all and by shift."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unittest import mock
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import Code, StorageError
from edge_agent.formats import InspectedFrame, Verdict
from edge_agent.inspection import ResultCounter
from edge_agent.inspection.tally import counts_of
from edge_agent.storage.database import Database, Value

# Around the night in which clocks in Berlin are set back.
AUTUMN = 1_793_000_000
SHIFTS = {"early": "06:00", "late": "14:00", "night": "02:30"}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(Verdict)),
        st.tuples(st.just("clock"), st.integers(-200_000, 200_000)),
        st.sampled_from([("write", ""), ("reset", ""), ("restart", "")]),
        st.tuples(
            st.just("fail"), st.sampled_from(["INSERT INTO ins", "UPDATE pieces", "COMMIT", "INSERT OR REPLACE"])
        ),
    ),
    max_size=25,
)


class Line:
    """A counter, and what it should have counted."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, float(AUTUMN)
        self.truth: Counter[Verdict] = Counter()
        self.counter = self.opened()

    def opened(self) -> ResultCounter:
        zone = ZoneInfo("Europe/Berlin")
        return ResultCounter(self.path, shifts=SHIFTS, zone=zone, write_every_s=3600, now=lambda: self.now)

    def take(self, step: str, value: object) -> None:
        if step == "add":
            assert isinstance(value, Verdict)
            self.truth[value] += 1
            self.counter.add(InspectedFrame(id="f", at=self.now, verdict=value, milliseconds=1.0))
        elif step == "clock":
            assert isinstance(value, int)
            self.now = float(AUTUMN + value)
        elif step == "restart":
            self.counter.close()
            self.counter = self.opened()
        elif step == "reset":
            self.counter.reset("anna", lambda _ended: None)
        elif step == "fail":
            with failing(str(value)):
                self.counter._write()
        else:
            self.counter._write()


def failing(start: str) -> "mock._patch[object]":
    execute = Database.execute

    def refuse(database: Database, sql: str, values: Sequence[Value] = ()) -> int:
        if sql.startswith(start):
            raise StorageError(Code.NO_SPACE, "the disk is full")
        return execute(database, sql, values)

    return mock.patch.object(Database, "execute", refuse)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_everything_is_counted_once(steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        line = Line(Path(directory) / "inspections.db")
        for step, value in steps:
            line.take(step, value)
            assert line.counter.counts() == counts_of(line.truth)
        line.take("write", "")
        pieces = line.counter.shifts(1000)
        assert line.counter.current() == pieces[0].model_copy(update={"scores": (), "latency": ()})
        line.counter.close()
        assert [piece.running for piece in pieces].count(True) == 1
        told: Counter[Verdict] = Counter()
        for piece in pieces:
            counts = piece.counts
            told.update({Verdict.OK: counts.ok, Verdict.NG: counts.ng, Verdict.NO_RESULT: counts.no_result})
            assert sum(point.count for point in piece.latency) == counts.ok + counts.ng + counts.no_result
        assert counts_of(told) == counts_of(line.truth)
