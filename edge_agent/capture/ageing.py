"""How long captures have been on this disk: counted while the machine runs, whatever its clock says.

A clock may be set forward by years, wrongly or to put it right; neither makes a capture old,
and what is removed for its age does not come back. So each capture's time is counted from when
it was first seen here. The time that the machine is off does not count: nobody could tell it from
a clock that was set. Captures then stay longer, which the quota bounds.
"""

import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from edge_agent.storage.database import Database, rebuilt

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SCHEMA = (
    """
    CREATE TABLE ran (counted REAL NOT NULL, boot TEXT NOT NULL, uptime REAL NOT NULL);
    INSERT INTO ran VALUES (0, '', 0);
    CREATE TABLE first_seen (id TEXT PRIMARY KEY, counted REAL NOT NULL);
    """,
)


class Uptime(NamedTuple):
    """How long the machine has been on.

    Attributes:
        boot: which of its starts.
        seconds: since then, sleep included.
    """

    boot: str
    seconds: float


def uptime() -> Uptime:
    """Return this machine's."""
    return Uptime(_BOOT_ID.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME))


class Ageing:
    """Counts how long captures have been here; survives restarts.

    Args:
        path: the database; where a damaged one is begun anew, captures begin to age anew.
        up: the machine's uptime.

    Raises:
        StorageError: it can neither be opened nor made.
    """

    def __init__(self, path: Path, up: Callable[[], Uptime]) -> None:
        self._database = rebuilt(lambda place: Database(place, _SCHEMA), path)
        self._up = up

    def older(self, here: Collection[str], than_s: float) -> set[str]:
        """Return which of the captures that are here have been so for longer than ``than_s``.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; the time since the last call counts the next time.
        """
        ids = json.dumps(list(here))
        with self._database.transaction() as database:
            counted = self._count(database)
            database.execute(
                "INSERT OR IGNORE INTO first_seen SELECT value, ? FROM json_each(?) WHERE true", (counted, ids)
            )
            database.execute("DELETE FROM first_seen WHERE id NOT IN (SELECT value FROM json_each(?))", (ids,))
            rows = database.query("SELECT id FROM first_seen WHERE ? - counted > ?", (counted, than_s))
        return {row["id"] for row in rows}

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _count(self, database: Database) -> float:
        (last,) = database.query("SELECT * FROM ran")
        up = self._up()
        # Of another start only that much is certain: the machine has been on since it.
        passed = max(0.0, up.seconds - last["uptime"]) if up.boot == last["boot"] else up.seconds
        counted = float(last["counted"]) + (passed if last["boot"] else 0.0)
        database.execute("UPDATE ran SET counted = ?, boot = ?, uptime = ?", (counted, up.boot, up.seconds))
        return counted
