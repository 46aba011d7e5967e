"""The disk under the counts is full to the last byte: the line goes on, and nothing counted is lost or doubled."""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import Code, StorageError
from edge_agent.formats import Counts, InspectedFrame, ModelResult, Verdict
from edge_agent.inspection import ResultCounter
from tests.fakes.small_disk import small_disk

PATIENCE_S = 60.0
DISK_BYTES = 2 << 20
_RESULTS = 4000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, DISK_BYTES):
        yield place


class Refusals(logging.Handler):
    """Hears that counts wait."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "action", "") == "counts_waiting":
            self.heard.set()


def part(number: int) -> InspectedFrame:
    # Many applications, so that what is counted needs pages that a full disk does not have.
    result = ModelResult(application=f"app-{number % 64:03}" * 12, model="m", verdict=Verdict.NG, score=0.9)
    return InspectedFrame(id="f", at=time.time(), verdict=Verdict.NG, results=(result,), milliseconds=float(number))


def test_what_was_counted_on_a_full_disk_is_there_once_when_there_is_room(disk: Path) -> None:
    refusals = Refusals()
    logging.getLogger("edge_agent.inspection.results").addHandler(refusals)
    counter = ResultCounter(disk / "inspections.db", write_every_s=0.02)
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    for number in range(_RESULTS):
        counter.add(part(number))
    assert refusals.heard.wait(PATIENCE_S)
    assert counter.counts() == counter.current().counts == Counts(ng=_RESULTS)
    with pytest.raises(StorageError) as caught:
        counter.reset("anna", lambda _ended: None)
    assert caught.value.code is Code.NO_SPACE
    assert counter.current().counts == Counts(ng=_RESULTS)
    filler.unlink()
    counter.close()
    logging.getLogger("edge_agent.inspection.results").removeHandler(refusals)
    again = ResultCounter(disk / "inspections.db")
    (shift, *_) = again.shifts(10)
    assert again.counts() == shift.counts == Counts(ng=_RESULTS)
    assert sum(sum(histogram.bins) for histogram in shift.scores) == _RESULTS
    assert sum(point.count for point in shift.latency) == _RESULTS
    again.close()
