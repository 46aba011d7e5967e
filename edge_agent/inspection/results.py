"""Counted inspections, since the device was set up and by shift; the counts survive a restart.

A frame is counted in memory at once and written within a second, so that an inspection never
waits for the disk and a line of a hundred parts a second does not wear out flash memory. A
power cut costs the counts of that second; a stop costs none.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import tzinfo
from pathlib import Path

from edge_agent.errors import StorageError
from edge_agent.formats import Counts, InspectedFrame, Shift
from edge_agent.inspection.ledger import SCHEMA, Ledger, Piece
from edge_agent.inspection.shifts import WHOLE_DAY, ShiftSpan, shift_at
from edge_agent.inspection.tally import Tally, counts_of, histograms_of, points_of
from edge_agent.telemetry.threads import Watched

__all__ = ["SCHEMA", "ResultCounter"]

_LOG = logging.getLogger(__name__)

_WRITE_EVERY_S = 1.0
_KEEP_DAYS = 60

_News = dict[ShiftSpan, Tally]


class ResultCounter:
    """Inspections by verdict, with scores and latencies by shift.

    Args:
        path: the SQLite file.
        shifts: begins by name, HH:MM of local wall time.
        keep_days: so many days' worth of shifts are kept, counted in shifts and not by a clock.
        zone: whose wall time; None: this machine's.
        told: told of the running shift when it changed, without distributions, at each write; only hands over.
        write_every_s: seconds between writes.
        now: epoch seconds.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        shifts: Mapping[str, str] = WHOLE_DAY,
        keep_days: int = _KEEP_DAYS,
        zone: tzinfo | None = None,
        told: Callable[[Shift], object] = lambda _shift: None,
        write_every_s: float = _WRITE_EVERY_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._shifts, self._zone, self._now, self._told = shifts, zone, now, told
        self.ledger = Ledger(path, keep_shifts=keep_days * max(len(shifts), 1))
        self._lock = threading.Lock()  # of what is in memory; never held while the disk is waited for
        self._writing_lock = threading.Lock()  # one writer at a time
        self._span = self._at(now())
        self._totals = self.ledger.totals()
        self._running = self.ledger.piece(self._span)
        self._waiting: _News = {}
        self._writing: _News = {}
        self._every_s = write_every_s
        self._thread = Watched("inspection-counts", self._write_on)
        self._thread.start()

    def add(self, frame: InspectedFrame) -> None:
        """Count one inspection, in the shift in which it began."""
        with self._lock:
            if not self._span.covers(frame.at):
                self._span = self._at(frame.at)
            self._waiting.setdefault(self._span, Tally()).add(frame)

    def counts(self) -> Counts:
        """Return all counts, those not yet written included."""
        with self._lock:
            total = Counter(self._totals)
            for news in (self._writing, self._waiting):
                for tally in news.values():
                    total.update(tally.verdicts)
        return counts_of(total)

    def span(self) -> ShiftSpan:
        """Return the shift that runs."""
        now = self._now()
        with self._lock:
            span = self._span
        return span if span.covers(now) else self._at(now)

    def current(self) -> Shift:
        """Return the shift that runs, without distributions."""
        span = self.span()
        with self._lock:
            piece = self._running if _is_of(self._running, span) else Piece.fresh(span)
            verdicts = Counter(piece.tally.verdicts)
            for news in (self._writing, self._waiting):
                verdicts.update(news[span].verdicts if span in news else {})
        return _report(piece, span, counts_of(verdicts))

    def shifts(self, limit: int) -> list[Shift]:
        """Return shifts with distributions, the one that runs first, others the newest first.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with self._writing_lock:
            span, pieces = self.span(), self.ledger.pieces(limit)
            going_on = self.ledger.piece(span)
            with self._lock:
                waiting = self._waiting.get(span)
                if waiting is not None:
                    going_on.tally.merge(waiting)
        others = [piece for piece in pieces if not going_on.id or piece.id != going_on.id]
        return [_in_full(piece, span) for piece in (going_on, *others)][:limit]

    def reset(self, actor: str, note: Callable[[Counts], None]) -> Shift:
        """Begin the running shift's counts anew; those up to now stay as a piece that ended.

        Args:
            actor: who wants it.
            note: puts on record what ends; if it raises nothing is changed.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; nothing is changed.
        """

        def begin_anew(span: ShiftSpan, news: _News) -> Piece:
            now = self._now()
            return self.ledger.begin_anew(
                span, news, now=now, actor=actor, note=lambda ended: note(counts_of(ended.tally.verdicts))
            )

        with self._writing_lock:
            self._write_by(begin_anew)
        shift = self.current()
        self._told(shift)
        return shift

    def close(self) -> None:
        """Write what waits and close the file."""
        self._thread.stop()
        self._write()
        self.ledger.close()

    def _at(self, now: float) -> ShiftSpan:
        return shift_at(now, self._shifts, self._zone)

    def _write_on(self, thread: Watched) -> None:
        before = self.current()
        while not thread.wait(self._every_s):
            self._write()
            shift = self.current()
            if shift != before:
                self._told(shift)
            before = shift

    def _write(self) -> None:
        """Write what waits; on a full disk it goes on waiting."""
        with self._lock:
            is_idle = not self._waiting
        if is_idle and _is_of(self._running, self.span()):
            return
        try:
            with self._writing_lock:
                self._write_by(self.ledger.add)
        except StorageError as exc:
            _LOG.warning("counts are not written yet", extra={"action": "counts_waiting", "reason": exc.message})

    def _write_by(self, act: Callable[[ShiftSpan, _News], Piece]) -> None:
        with self._lock:
            self._writing, self._waiting = self._waiting, {}
        try:
            running = act(self.span(), self._writing)
        except BaseException:
            self._take_back()
            raise
        with self._lock:
            for tally in self._writing.values():
                self._totals.update(tally.verdicts)
            self._running, self._writing = running, {}

    def _take_back(self) -> None:
        with self._lock:
            for span, later in self._waiting.items():
                self._writing.setdefault(span, Tally()).merge(later)
            self._waiting, self._writing = self._writing, {}


def _is_of(piece: Piece, span: ShiftSpan) -> bool:
    return (piece.span.name, piece.span.began) == (span.name, span.began)


def _report(piece: Piece, span: ShiftSpan, counts: Counts) -> Shift:
    return Shift(
        name=piece.span.name,
        began=piece.began,
        ends=piece.ends,
        counts=counts,
        running=_is_of(piece, span) and piece.ends >= span.ends,
        reset_by=piece.reset_by,
    )


def _in_full(piece: Piece, span: ShiftSpan) -> Shift:
    report = _report(piece, span, counts_of(piece.tally.verdicts))
    return report.model_copy(update={"scores": histograms_of(piece.tally), "latency": points_of(piece.tally)})
