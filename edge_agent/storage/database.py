"""The door to SQLite: one file, one connection, one lock.

WAL with synchronous=FULL: a transaction that has returned survives a power cut.
The schema is a list of migrations; ``PRAGMA user_version`` counts those applied.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.errors import Code, StorageError
from edge_agent.storage import durable

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

Row = sqlite3.Row
Value = str | int | float | bytes | None

_BUSY_TIMEOUT_S = 10.0
_CACHE_KIB = 256
# Damaged files of one name that are kept.
_ASIDE = 9


class Database:
    """A SQLite file with a schema, for use by several threads.

    Args:
        path: the file; it and its directory are made when absent.
        schema: SQL scripts, each applied once and in order; only ever add to the end.

    Raises:
        StorageError: STORAGE_FAILED, the file is damaged, not a database, or of a newer agent;
            NO_SPACE. ``set_aside`` then makes room for a new one.
    """

    def __init__(self, path: Path, schema: Sequence[str]) -> None:
        """Open the file and bring its schema up to date."""
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        durable.make_directory(path.parent)
        with self._translated():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._translated():
                self._prepare(schema)
        except StorageError:
            self._connection.close()
            raise

    def execute(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; nothing of the statement is kept.
        """
        with self._lock, self._translated():
            return self._connection.execute(sql, values).rowcount

    def query(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Return all rows of a SELECT; a row is read by column name or position.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with self._lock, self._translated():
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator["Database"]:
        """Make what the block executes happen as a whole or not at all; other threads wait.

        A transaction inside a transaction joins the outer one.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; nothing of the block is kept.
        """
        with self._lock:
            if self._depth == 0:
                self.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self
                if self._depth == 1:
                    self.execute("COMMIT")
            except BaseException:
                if self._depth == 1:
                    self._roll_back()
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Close the file; later calls raise StorageError."""
        with self._lock:
            self._connection.close()

    def _roll_back(self) -> None:
        # SQLite itself rolls back on a full disk and other hard errors.
        if self._connection.in_transaction:
            self.execute("ROLLBACK")

    def _prepare(self, schema: Sequence[str]) -> None:
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA foreign_keys=ON")
        # Small rows, asked for one at a time: a larger cache would only grow for weeks and look like a leak.
        self._connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        state = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if state != "ok":
            raise StorageError(Code.STORAGE_FAILED, f"{self._path}: expected a sound database, {state}")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(schema):
            message = f"{self._path}: expected schema {len(schema)} or older, came {version} of a newer agent"
            raise StorageError(Code.STORAGE_FAILED, message)
        for number, script in enumerate(schema[version:], start=version + 1):
            self._migrate(number, script)

    def _migrate(self, number: int, script: str) -> None:
        try:
            self._connection.executescript(f"BEGIN IMMEDIATE;\n{script};\nPRAGMA user_version={number};\nCOMMIT;")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            # sqlite_errorcode came with Python 3.11; the text is SQLITE_FULL's own since ever.
            code = Code.NO_SPACE if "disk is full" in str(exc) else Code.STORAGE_FAILED
            raise StorageError(code, f"{self._path}: {exc}") from exc


def rebuilt(make: Callable[[Path], T], path: Path, rescue: Callable[[Path, T], None] = lambda _, __: None) -> T:
    """Return what ``make`` makes of a database, begun anew when the file is damaged, which is kept beside it.

    Args:
        make: opens the database, or makes a new one.
        path: its file.
        rescue: carries over what can be read, from the file that was set aside into the new one.

    Raises:
        StorageError: a new one cannot be made either.
    """
    # One failure of the disk is no damage: what the file holds is worth a second look.
    with suppress(StorageError):
        return make(path)
    try:
        return make(path)
    except StorageError as exc:
        # Nor is a full disk.
        aside = None if exc.code is Code.NO_SPACE else set_aside(path)
        if aside is None:
            raise
        extra = {"action": "database_rebuilt", "database": path.name, "reason": exc.message, "kept": aside.name}
        _LOG.error("database begun anew", extra=extra)
        made = make(path)
        rescue(aside, made)
        return made


def readable(path: Path, select: str) -> list[Row]:
    """Return the rows of a database that may be damaged, as far as they can be read; it is only looked at."""
    rows: list[Row] = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        # One at a time: what comes before the damage is worth keeping.
        rows.extend(connection.execute(select))
    return rows


def snapshot(path: Path, target: Path) -> None:
    """Copy a database as it is at one moment, also while others write to it.

    Raises:
        StorageError: STORAGE_FAILED, it is damaged or cannot be read; NO_SPACE.
    """
    try:
        with (
            closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            # A file of its own, without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as exc:
        code = Code.NO_SPACE if "disk is full" in str(exc) else Code.STORAGE_FAILED
        raise StorageError(code, f"{path}: expected a sound database to copy, {exc}") from exc


def set_aside(path: Path) -> Path | None:
    """Rename a damaged database so that a new one can take its place; return its new path.

    What was set aside before is kept as well, up to a few: somebody may still want what it holds.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with durable.translated(path):
        if not path.exists():
            return None
        names = [f"{path.name}.damaged", *(f"{path.name}.damaged-{number}" for number in range(2, _ASIDE + 1))]
        places = [path.with_name(name) for name in names]
        aside = next((place for place in places if not place.exists()), places[-1])
    durable.publish(path, aside)
    # What was committed and not yet merged stands in the log: it goes with its file.
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if suffix == "-wal" and log.exists():
            durable.publish(log, aside.with_name(aside.name + suffix))
        else:
            durable.remove(log)
    durable.sync_directory(path.parent)
    return aside


def columns(row: Row) -> dict[str, Any]:
    """Return a row as a plain dictionary."""
    return dict(zip(row.keys(), tuple(row), strict=True))
