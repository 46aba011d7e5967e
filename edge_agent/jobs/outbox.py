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
from typing import Final, NamedTuple

from edge_agent.jobs.messages import Identity, Report, Reportable, clean_details
from edge_agent.storage.database import Database

SCHEMA: Final = (
    """CREATE TABLE reports (
        id INTEGER PRIMARY KEY, job_id TEXT NOT NULL, status TEXT NOT NULL, details TEXT NOT NULL,
        step_timeout_minutes INTEGER, execution_number INTEGER, queued_at INTEGER)""",
    """CREATE TABLE executions (
        job_id TEXT PRIMARY KEY, execution_number INTEGER NOT NULL, queued_at INTEGER NOT NULL,
        version_number INTEGER NOT NULL, seen INTEGER NOT NULL,
        final_status TEXT, final_details TEXT, final_settled INTEGER NOT NULL DEFAULT 0)""",
)
KEPT_EXECUTIONS: Final = 1000


class Seen(NamedTuple):
    """An execution that this device knows."""

    identity: Identity
    version_number: int
    final_status: Reportable | None
    """What was reported last of all, or None while it is in work."""
    settled: bool
    """Whether the service is through with the final report."""


class Outbox:
    """The durable queue of reports; safe to use from several threads.

    Args:
        path: the SQLite file.

    Raises:
        StorageError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        raise NotImplementedError

    def add(
        self,
        job_id: str,
        status: Reportable,
        details: Mapping[str, str],
        *,
        step_timeout_minutes: int | None = None,
    ) -> Report | None:
        """Keep a report and return it; None when the execution already has its terminal report.

        Raises:
            StorageError: it could not be made durable; nothing was kept.
        """
        raise NotImplementedError

    def pending(self, job_id: str | None = None) -> list[Report]:
        """Return the reports that wait, of one job or of all, the oldest first."""
        raise NotImplementedError
