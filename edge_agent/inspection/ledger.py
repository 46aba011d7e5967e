"""Counted inspections on the disk: all of them by verdict, and by shift.

A shift whose counts were reset has several pieces; only the last of them goes on, the others stay as they
ended. Counts find their shift by the time of the inspection, so that a clock that is set back into a shift
that had ended goes on with that one: nothing is lost, and nothing counted twice.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import StorageError
from edge_agent.formats import Verdict
from edge_agent.inspection.shifts import ShiftSpan
from edge_agent.inspection.tally import Tally
from edge_agent.storage.database import Database, Row, readable, rebuilt

SCHEMA = (
    "CREATE TABLE inspections (verdict TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT",
    """
    CREATE TABLE pieces (
        id INTEGER PRIMARY KEY, shift TEXT NOT NULL, shift_began INTEGER NOT NULL, began REAL NOT NULL,
        ends REAL NOT NULL, counts TEXT NOT NULL, reset_by TEXT NOT NULL
    ) STRICT;
    CREATE INDEX pieces_by_shift ON pieces (shift_began, shift);
    CREATE TABLE scores (
        piece INTEGER NOT NULL REFERENCES pieces ON DELETE CASCADE, application TEXT NOT NULL, model TEXT NOT NULL,
        threshold REAL NOT NULL, bins TEXT NOT NULL, PRIMARY KEY (piece, application, model)
    ) STRICT;
    CREATE TABLE latency (
        piece INTEGER NOT NULL REFERENCES pieces ON DELETE CASCADE, at INTEGER NOT NULL, buckets TEXT NOT NULL,
        PRIMARY KEY (piece, at)
    ) STRICT;
    CREATE TABLE golden (only INTEGER PRIMARY KEY CHECK (only = 1), shift_began INTEGER NOT NULL, found TEXT NOT NULL)
    STRICT
    """,
)
_ADD = (
    "INSERT INTO inspections (verdict, count) VALUES (?, ?) "
    "ON CONFLICT (verdict) DO UPDATE SET count = count + excluded.count"
)
_LAST = "SELECT * FROM pieces WHERE shift_began = ? AND shift = ? ORDER BY id DESC LIMIT 1"
_KEEP = (
    "DELETE FROM pieces WHERE shift_began NOT IN "
    "(SELECT shift_began FROM pieces GROUP BY shift_began ORDER BY max(id) DESC LIMIT ?)"
)

# What is carried over out of a newer agent's file, parents first.
_CARRIED = {
    "inspections": ("verdict", "count"),
    "pieces": ("id", "shift", "shift_began", "began", "ends", "counts", "reset_by"),
    "scores": ("piece", "application", "model", "threshold", "bins"),
    "latency": ("piece", "at", "buckets"),
}

log = logging.getLogger(__name__)


class Piece(NamedTuple):
    """A shift's counts, or those up to a reset, or from one on."""

    span: ShiftSpan
    began: float
    ends: float
    reset_by: str
    tally: Tally
    id: int = 0
    """0: it is not on the disk yet."""

    @classmethod
    def fresh(cls, span: ShiftSpan) -> "Piece":
        """Return one in which nothing was counted."""
        return cls(span, span.began, span.ends, "", Tally())


class Ledger:
    """The tables; not for several writers at a time.

    Args:
        path: the SQLite file; one that is damaged or of a newer agent is set aside and said so, and the counts of
            a newer agent are carried over.
        keep_shifts: older ones are forgotten, in the order in which they were begun.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, keep_shifts: int) -> None:
        self._database = rebuilt(lambda place: Database(place, SCHEMA), path, _rescue)
        self._keep = keep_shifts

    def totals(self) -> Counter[Verdict]:
        """Return all inspections since the device was set up."""
        rows = self._database.query("SELECT verdict, count FROM inspections")
        return Counter({Verdict(row["verdict"]): int(row["count"]) for row in rows})

    def add(self, span: ShiftSpan, news: Mapping[ShiftSpan, Tally]) -> Piece:
        """Add what was counted, all of it or nothing; return the piece that goes on, with its verdicts only.

        Args:
            span: the shift that runs.
            news: not written yet.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        with self._database.transaction():
            self._add(news)
            return self.piece(span, in_full=False)

    def begin_anew(
        self,
        span: ShiftSpan,
        news: Mapping[ShiftSpan, Tally],
        *,
        now: float,
        actor: str,
        note: Callable[[Piece], None],
    ) -> Piece:
        """End the piece of a shift, what was counted up to now included, and begin another; all of it or nothing.

        Args:
            span: the shift that runs.
            news: not written yet.
            now: epoch seconds.
            actor: who wants it.
            note: puts what ends on record; if that fails nothing is changed.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        with self._database.transaction() as database:
            self._add(news)
            ended = self._piece_id(span)
            database.execute("UPDATE pieces SET ends = max(began, ?) WHERE id = ?", (now, ended))
            note(self.piece(span))
            self._insert(span, now, actor)
            return self.piece(span)

    def piece(self, span: ShiftSpan, *, in_full: bool = True) -> Piece:
        """Return the piece of a shift that goes on, distributions included if it is wanted in full.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        rows = self._database.query(_LAST, (span.began, span.name))
        return self._piece(rows[0], in_full=in_full) if rows else Piece.fresh(span)

    def pieces(self, limit: int) -> list[Piece]:
        """Return the pieces that were begun last, newest first.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        rows = self._database.query("SELECT * FROM pieces ORDER BY id DESC LIMIT ?", (limit,))
        return [self._piece(row, in_full=True) for row in rows]

    def golden(self) -> tuple[int, str] | None:
        """Return the begin of the shift that was checked last with golden parts, and what was found."""
        rows = self._database.query("SELECT shift_began, found FROM golden")
        return (int(rows[0]["shift_began"]), str(rows[0]["found"])) if rows else None

    def keep_golden(self, shift_began: int, found: str) -> None:
        """Keep what golden parts told of a shift.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        self._database.execute("INSERT OR REPLACE INTO golden VALUES (1, ?, ?)", (shift_began, found))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _add(self, news: Mapping[ShiftSpan, Tally]) -> None:
        for span, tally in news.items():
            for verdict, count in tally.verdicts.items():
                self._database.execute(_ADD, (verdict.value, count))
            piece = self._piece_id(span)
            self._add_counts(piece, tally)
            self._add_scores(piece, tally)
            self._add_latency(piece, tally)

    def _piece_id(self, span: ShiftSpan) -> int:
        rows = self._database.query(_LAST, (span.began, span.name))
        return int(rows[0]["id"]) if rows else self._insert(span, span.began, "")

    def _insert(self, span: ShiftSpan, began: float, reset_by: str) -> int:
        columns = "(shift, shift_began, began, ends, counts, reset_by)"
        values = (span.name, span.began, float(began), float(span.ends), "{}", reset_by)
        self._database.execute(f"INSERT INTO pieces {columns} VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608
        self._database.execute(_KEEP, (self._keep,))
        return int(self._database.query("SELECT max(id) AS id FROM pieces")[0]["id"])

    def _add_counts(self, piece: int, tally: Tally) -> None:
        found = _counts(self._database.query("SELECT counts FROM pieces WHERE id = ?", (piece,))[0]["counts"])
        found.update(tally.verdicts)
        content = json.dumps({verdict.value: count for verdict, count in found.items()})
        self._database.execute("UPDATE pieces SET counts = ? WHERE id = ?", (content, piece))

    def _add_scores(self, piece: int, tally: Tally) -> None:
        for (application, model), bins in tally.scores.items():
            key = (piece, application, model)
            sql = "SELECT bins FROM scores WHERE piece = ? AND application = ? AND model = ?"
            before = _numbers(self._database.query(sql, key))
            before.update(bins)
            values = (*key, tally.thresholds[application, model], json.dumps(before))
            self._database.execute("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", values)

    def _add_latency(self, piece: int, tally: Tally) -> None:
        for at, buckets in tally.latency.items():
            before = _numbers(
                self._database.query("SELECT buckets FROM latency WHERE piece = ? AND at = ?", (piece, at))
            )
            before.update(buckets)
            self._database.execute("INSERT OR REPLACE INTO latency VALUES (?, ?, ?)", (piece, at, json.dumps(before)))

    def _piece(self, row: Row, *, in_full: bool) -> Piece:
        tally = Tally()
        tally.verdicts = _counts(row["counts"])
        if in_full:
            self._fill(tally, row["id"])
        span = ShiftSpan(row["shift"], row["shift_began"], int(row["ends"]))
        return Piece(span, row["began"], row["ends"], row["reset_by"], tally, row["id"])

    def _fill(self, tally: Tally, piece: int) -> None:
        for scores in self._database.query("SELECT * FROM scores WHERE piece = ?", (piece,)):
            key = (scores["application"], scores["model"])
            tally.scores[key], tally.thresholds[key] = _counter(scores["bins"]), scores["threshold"]
        for slot in self._database.query("SELECT * FROM latency WHERE piece = ?", (piece,)):
            tally.latency[slot["at"]] = _counter(slot["buckets"])


def _counts(content: str) -> Counter[Verdict]:
    return Counter({Verdict(word): int(count) for word, count in json.loads(content).items()})


def _numbers(rows: list[Row]) -> Counter[int]:
    return _counter(rows[0][0]) if rows else Counter()


def _counter(content: str) -> Counter[int]:
    return Counter({int(number): int(count) for number, count in json.loads(content).items()})


def _rescue(aside: Path, database: Database) -> None:
    """Carry over what a newer agent counted, whose columns are only ever more; nothing of a damaged file."""
    if [tuple(row) for row in readable(aside, "PRAGMA quick_check(1)")] != [("ok",)]:
        return
    amount = 0
    with suppress(StorageError), database.transaction():
        for table, names in _CARRIED.items():
            columns, places = ", ".join(names), ", ".join("?" for _ in names)
            # Our own names, all of them.
            order = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608
            for row in readable(aside, f"SELECT {columns} FROM {table}"):  # noqa: S608
                amount += database.execute(order, tuple(row))
    log.warning("counts carried over", extra={"action": "counts_carried_over", "rows": amount, "from": aside.name})
