"""Captures that no longer wait: sent, or failed for good. Bounded, and it survives a restart."""

import logging
from pathlib import Path

from edge_agent.errors import Code, StorageError
from edge_agent.formats import CaptureReport
from edge_agent.storage.database import Database, set_aside

log = logging.getLogger(__name__)

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
)
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
        try:
            self._database = Database(path, _SCHEMA)
        except StorageError as exc:
            # A full disk is no damage.
            if exc.code is Code.NO_SPACE:
                raise
            log.warning("captures' history damaged", extra={"action": "history_set_aside", "reason": exc.message})
            set_aside(path)
            self._database = Database(path, _SCHEMA)

    def add(self, report: CaptureReport) -> None:
        """Keep a finished capture; the same id again replaces it and is not counted twice.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        values = (report.id, report.at, report.model, report.version, report.verdict, report.state, report.bytes)
        with self._database.transaction() as database:
            added = database.execute(
                "INSERT OR IGNORE INTO finished (id, at, model, version, verdict, state, bytes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            if not added:
                return
            database.execute(
                "INSERT INTO counters VALUES (?, 1) ON CONFLICT (state) DO UPDATE SET amount = amount + 1",
                (report.state,),
            )
            self._prune(database)

    def find(self, capture_id: str) -> CaptureReport | None:
        """Return a finished capture, None when it is unknown."""
        rows = self._database.query("SELECT * FROM finished WHERE id = ?", (capture_id,))
        return _report(rows[0]) if rows else None

    def newest(self, limit: int) -> list[CaptureReport]:
        """Return the newest inspections first."""
        rows = self._database.query("SELECT * FROM finished ORDER BY at DESC, number DESC LIMIT ?", (limit,))
        return [_report(row) for row in rows]

    def count(self, state: str) -> int:
        """Return how many ever came to ``state``."""
        rows = self._database.query("SELECT amount FROM counters WHERE state = ?", (state,))
        return int(rows[0]["amount"]) if rows else 0

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @staticmethod
    def _prune(database: Database) -> None:
        number = int(database.query("SELECT max(number) AS n FROM finished")[0]["n"])
        if number % _PRUNED_EVERY == 0:
            database.execute("DELETE FROM finished WHERE number <= ?", (number - _KEPT,))


def _report(row: object) -> CaptureReport:
    names = ("id", "at", "model", "version", "verdict", "state", "bytes")
    return CaptureReport.model_validate({name: row[name] for name in names})  # type: ignore[index]
