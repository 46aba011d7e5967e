"""Counted inspections; the counts survive a restart.

A frame is counted in memory at once and written within a second, so that an inspection never
waits for the disk and a line of a hundred parts a second does not wear out flash memory. A
power cut costs the counts of that second; a stop costs none.
"""

import logging
import threading
from collections import Counter
from pathlib import Path

from edge_agent.errors import StorageError
from edge_agent.formats import Counts, Verdict
from edge_agent.storage.database import Database
from edge_agent.telemetry.threads import Watched

_LOG = logging.getLogger(__name__)

SCHEMA = ("CREATE TABLE inspections (verdict TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT",)
_ADD = (
    "INSERT INTO inspections (verdict, count) VALUES (?, ?) "
    "ON CONFLICT (verdict) DO UPDATE SET count = count + excluded.count"
)
_WRITE_EVERY_S = 1.0


class ResultCounter:
    """Inspections by verdict, since the device was set up.

    Args:
        path: the SQLite file.
        write_every_s: seconds between writes.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, write_every_s: float = _WRITE_EVERY_S) -> None:
        self._database = Database(path, SCHEMA)
        self._lock = threading.Lock()
        self._written = self._read()
        self._waiting: Counter[Verdict] = Counter()
        self._every_s = write_every_s
        self._thread = Watched("inspection-counts", self._write_on)
        self._thread.start()

    def add(self, verdict: Verdict) -> None:
        """Count one inspection."""
        with self._lock:
            self._waiting[verdict] += 1

    def counts(self) -> Counts:
        """Return all counts, those not yet written included."""
        with self._lock:
            total = self._written + self._waiting
        return Counts(ok=total[Verdict.OK], ng=total[Verdict.NG], no_result=total[Verdict.NO_RESULT])

    def close(self) -> None:
        """Write what waits and close the file."""
        self._thread.stop()
        self._write()
        self._database.close()

    def _read(self) -> Counter[Verdict]:
        rows = self._database.query("SELECT verdict, count FROM inspections")
        return Counter({Verdict(row["verdict"]): int(row["count"]) for row in rows})

    def _write_on(self, thread: Watched) -> None:
        while not thread.wait(self._every_s):
            self._write()

    def _write(self) -> None:
        """Write what waits; on a full disk it goes on waiting."""
        with self._lock:
            news = +self._waiting
        if not news:
            return
        try:
            with self._database.transaction() as database:
                for verdict, count in news.items():
                    database.execute(_ADD, (verdict.value, count))
        except StorageError as exc:
            _LOG.warning("counts are not written yet", extra={"action": "counts_waiting", "reason": exc.message})
            return
        with self._lock:
            self._waiting -= news
            self._written += news
