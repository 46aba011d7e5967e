"""Reports that wait for the service, and what the device already finished; both survive a power cut.

A report is in the file before ``add`` returns and leaves it when the service
has accepted it or will never accept it. Reports of progress replace one another;
terminal ones stay, and the first terminal report of an execution is the only one.
The final status of each execution is kept (the newest thousand), so that a job the
service offers again gets its answer again and is not executed twice.
"""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge_agent.jobs.messages import TERMINAL, Identity, Report, Reportable, clean_details
from edge_agent.storage.database import Database

SCHEMA: Final = (
    """
    CREATE TABLE reports (
        id INTEGER PRIMARY KEY, job_id TEXT NOT NULL, status TEXT NOT NULL, details TEXT NOT NULL,
        step_timeout_minutes INTEGER, execution_number INTEGER, queued_at INTEGER);
    CREATE TABLE executions (
        job_id TEXT PRIMARY KEY, execution_number INTEGER NOT NULL, queued_at INTEGER NOT NULL,
        version_number INTEGER NOT NULL, seen INTEGER NOT NULL,
        final_status TEXT, final_details TEXT, final_code TEXT);
    """,
)
KEPT_EXECUTIONS: Final = 1000


class Seen(NamedTuple):
    """An execution that this device knows."""

    identity: Identity
    version_number: int
    final_status: Reportable | None
    """What was reported last of all, or None while it is in work."""
    final_code: str | None
    """None while the service is not through with the final report; empty when it took it; else why not."""


class Outbox:
    """The durable queue of reports; safe to use from several threads.

    Args:
        path: the SQLite file, this class's own.

    Raises:
        StorageError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA)
        self._lock = threading.Lock()
        self._last_id = self._largest("reports", "id")
        self._last_seen = self._largest("executions", "seen")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(
        self,
        job_id: str,
        status: Reportable,
        details: Mapping[str, str],
        *,
        step_timeout_minutes: int | None = None,
    ) -> Report | None:
        """Keep a report and return it; None when the execution already has its terminal report.

        Details are shortened to what the service takes.

        Raises:
            StorageError: it could not be made durable; nothing was kept.
        """
        with self._lock, self._database.transaction():
            seen = self.seen(job_id)
            if (seen and seen.final_status) or any(report.terminal for report in self.pending(job_id)):
                return None
            identity = seen.identity if seen else None
            report = self._next(job_id, status, clean_details(details), step_timeout_minutes, identity)
            if report.terminal:
                self._database.execute(
                    "UPDATE executions SET final_status = ?, final_details = ?, final_code = NULL WHERE job_id = ?",
                    (status, json.dumps(report.details), job_id),
                )
        return report

    def repeat(self, identity: Identity) -> Report | None:
        """Put the final report of an execution in once more, for a service that forgot it; None when there is none.

        Raises:
            StorageError: it could not be made durable; nothing was kept.
        """
        with self._lock, self._database.transaction():
            rows = self._database.query(
                "SELECT final_status, final_details FROM executions"
                " WHERE job_id = ? AND execution_number = ? AND queued_at = ? AND final_status IS NOT NULL",
                identity,
            )
            if not rows or self.pending(identity.job_id):
                return None
            self._database.execute("UPDATE executions SET final_code = NULL WHERE job_id = ?", (identity.job_id,))
            return self._next(identity.job_id, rows[0][0], json.loads(rows[0][1]), None, identity)

    def learn(self, identity: Identity, version_number: int) -> None:
        """Keep which execution a job's is; another one than before is not finished.

        Raises:
            StorageError: it could not be made durable.
        """
        with self._lock, self._database.transaction():
            seen = self.seen(identity.job_id)
            if seen is not None and seen.identity == identity:
                self._set_version(identity, version_number)
                return
            self._last_seen += 1
            self._database.execute(
                "REPLACE INTO executions (job_id, execution_number, queued_at, version_number, seen)"
                " VALUES (?, ?, ?, ?, ?)",
                (*identity, version_number, self._last_seen),
            )
            self._database.execute("DELETE FROM executions WHERE seen <= ?", (self._last_seen - KEPT_EXECUTIONS,))

    def settle(self, report: Report, code: str, version_number: int | None) -> None:
        """Take a report out: the service took it, or ``code`` says why it never will.

        Raises:
            StorageError: it could not be made durable; the report is still there.
        """
        with self._lock, self._database.transaction():
            self._database.execute("DELETE FROM reports WHERE id = ?", (report.id,))
            if report.execution is None:
                return
            if version_number is not None:
                self._set_version(report.execution, version_number)
            if report.terminal:
                self._database.execute(
                    "UPDATE executions SET final_code = ? WHERE job_id = ? AND execution_number = ? AND queued_at = ?",
                    (code, *report.execution),
                )

    def pending(self, job_id: str | None = None) -> list[Report]:
        """Return the reports that wait, of one job or of all, the oldest first."""
        rows = self._database.query("SELECT * FROM reports WHERE ? IS NULL OR job_id = ? ORDER BY id", (job_id, job_id))
        return [_report(row) for row in rows]

    def seen(self, job_id: str) -> Seen | None:
        """Return what is known of a job's execution."""
        rows = self._database.query("SELECT * FROM executions WHERE job_id = ?", (job_id,))
        return _seen(rows[0]) if rows else None

    def all_seen(self) -> list[Seen]:
        """Return every execution that is known, the oldest first."""
        return [_seen(row) for row in self._database.query("SELECT * FROM executions ORDER BY seen")]

    def _next(
        self,
        job_id: str,
        status: Reportable,
        details: dict[str, str],
        step_timeout_minutes: int | None,
        identity: Identity | None,
    ) -> Report:
        self._last_id += 1
        report = Report(self._last_id, job_id, status, details, step_timeout_minutes, identity)
        # Only the newest progress matters; a terminal report makes all of it old.
        self._database.execute("DELETE FROM reports WHERE job_id = ? AND status = 'IN_PROGRESS'", (job_id,))
        execution = identity[1:] if identity else (None, None)
        self._database.execute(
            "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?)",
            (report.id, job_id, status, json.dumps(details), step_timeout_minutes, *execution),
        )
        return report

    def _set_version(self, identity: Identity, version_number: int) -> None:
        self._database.execute(
            "UPDATE executions SET version_number = ? WHERE job_id = ? AND execution_number = ? AND queued_at = ?",
            (version_number, *identity),
        )

    def _largest(self, table: str, column: str) -> int:
        rows = self._database.query(f"SELECT COALESCE(MAX({column}), 0) FROM {table}")  # noqa: S608 - our own words
        return int(rows[0][0])


def _report(row: Any) -> Report:
    identity = None
    if row["execution_number"] is not None:
        identity = Identity(row["job_id"], row["execution_number"], row["queued_at"])
    details = json.loads(row["details"])
    return Report(row["id"], row["job_id"], row["status"], details, row["step_timeout_minutes"], identity)


def _seen(row: Any) -> Seen:
    identity = Identity(row["job_id"], row["execution_number"], row["queued_at"])
    final = row["final_status"]
    if final is not None and final not in TERMINAL:
        final = None
    return Seen(identity, row["version_number"], final, row["final_code"])
