"""Captures that no longer wait: sent, or failed for good. Bounded, and it survives a restart."""

import json
from collections.abc import Collection
from pathlib import Path

from edge_agent.formats import CaptureReport
from edge_agent.storage.database import Database, Row, rebuilt

_SCHEMA = (
    """
    CREATE TABLE finished (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        at REAL NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        verdict TEXT NOT NULL,
        state TEXT NOT NULL,
        bytes INTEGER NOT NULL
    );
    CREATE INDEX finished_at ON finished (at);
    CREATE TABLE counters (state TEXT PRIMARY KEY, amount INTEGER NOT NULL);
    """,
    """
    ALTER TABLE finished ADD COLUMN score REAL NOT NULL DEFAULT 0;
    ALTER TABLE finished ADD COLUMN threshold REAL NOT NULL DEFAULT 0;
    ALTER TABLE finished ADD COLUMN source TEXT NOT NULL DEFAULT '';
    ALTER TABLE finished ADD COLUMN name TEXT NOT NULL DEFAULT '';
    ALTER TABLE finished ADD COLUMN reason TEXT NOT NULL DEFAULT '';
    ALTER TABLE finished ADD COLUMN has_mask INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE finished ADD COLUMN models TEXT NOT NULL DEFAULT '[]';
    CREATE TABLE objects_sent (id TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (id, key));
    """,
)
_COLUMNS = (
    "id", "at", "model", "version", "verdict", "state", "bytes", "score", "threshold", "source", "name", "reason",
    "has_mask",
)  # fmt: skip
_KEPT = 10_000
_PRUNED_EVERY = 500


class History:
    """What became of captures.

    Args:
        path: the database; a damaged one is set aside, since only old news are lost with it.

    Raises:
        StorageError: it can neither be opened nor made.
    """

    def __init__(self, path: Path) -> None:
        self._database = rebuilt(lambda place: Database(place, _SCHEMA), path)

    def add(self, report: CaptureReport, models: Collection[str] = (), *, kept: Collection[str] = ()) -> None:
        """Keep a finished capture; the same id again replaces it and is not counted twice.

        Args:
            report: what became of it.
            models: under which it is filed.
            kept: ids that are not forgotten however old, as their files are still here.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        values = [getattr(report, name) for name in _COLUMNS]
        names, places = ", ".join(_COLUMNS), ", ".join("?" for _ in _COLUMNS)
        with self._database.transaction() as database:
            database.execute("DELETE FROM objects_sent WHERE id = ?", (report.id,))
            added = database.execute(
                f"INSERT OR IGNORE INTO finished ({names}, models) VALUES ({places}, ?)",  # noqa: S608 - our own names
                (*values, json.dumps(list(models))),
            )
            if not added:
                return
            database.execute(
                "INSERT INTO counters VALUES (?, 1) ON CONFLICT (state) DO UPDATE SET amount = amount + 1",
                (report.state,),
            )
            self._prune(database, kept)

    def find(self, capture_id: str) -> CaptureReport | None:
        """Return a finished capture, None when it is unknown."""
        rows = self._database.query("SELECT * FROM finished WHERE id = ?", (capture_id,))
        return _report(rows[0]) if rows else None

    def models_of(self, capture_id: str) -> tuple[str, ...]:
        """Return the models under which a finished capture is filed."""
        rows = self._database.query("SELECT model, models FROM finished WHERE id = ?", (capture_id,))
        return tuple(json.loads(rows[0]["models"]) or [rows[0]["model"]]) if rows else ()

    def newest(self, limit: int, *, before: float = 0.0, verdict: str = "", state: str = "") -> list[CaptureReport]:
        """Return the newest inspections first: older than ``before`` and of these words, where given."""
        rows = self._database.query(
            "SELECT * FROM finished WHERE (? = 0 OR at < ?) AND ? IN ('', verdict) AND ? IN ('', state)"
            " ORDER BY at DESC, number DESC LIMIT ?",
            (before, before, verdict, state, limit),
        )
        return [_report(row) for row in rows]

    def note_sent(self, capture_id: str, key: str) -> None:
        """Note that one of several objects of a waiting capture is in the cloud.

        Raises:
            StorageError: it may be sent again.
        """
        self._database.execute("INSERT OR IGNORE INTO objects_sent VALUES (?, ?)", (capture_id, key))

    def sent(self, capture_id: str) -> set[str]:
        """Return the keys of what is in the cloud of a waiting capture."""
        rows = self._database.query("SELECT key FROM objects_sent WHERE id = ?", (capture_id,))
        return {row["key"] for row in rows}

    def count(self, state: str) -> int:
        """Return how many ever came to ``state``."""
        rows = self._database.query("SELECT amount FROM counters WHERE state = ?", (state,))
        return int(rows[0]["amount"]) if rows else 0

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @staticmethod
    def _prune(database: Database, kept: Collection[str]) -> None:
        number = int(database.query("SELECT max(number) AS n FROM finished")[0]["n"])
        if number % _PRUNED_EVERY == 0:
            database.execute(
                "DELETE FROM finished WHERE number <= ? AND id NOT IN (SELECT value FROM json_each(?))",
                (number - _KEPT, json.dumps(list(kept))),
            )


def _report(row: Row) -> CaptureReport:
    return CaptureReport.model_validate({name: row[name] for name in _COLUMNS})
