"""Messages that wait for a connection, on the disk: they survive outages and restarts, and never fill it.

Where room ends the oldest lines of the log go first, then the oldest alarms; what went is counted. Beside
them stands which alarms were raised, written in one step with their messages, so that none is told twice
or never cleared.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from edge_agent.errors import DocumentError
from edge_agent.formats import Alarm, parse
from edge_agent.storage.database import Database

SCHEMA: Final = (
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, word TEXT NOT NULL, payload BLOB NOT NULL, bytes INTEGER NOT NULL) STRICT;
    CREATE TABLE alarms (key TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT;
    CREATE TABLE totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    INSERT INTO totals VALUES ('dropped', 0)
    """,
)
ALARM: Final = "alarm"
LOG: Final = "log"
# What SQLite needs for a row beside its payload.
_OVERHEAD: Final = 64


class Message(NamedTuple):
    """One message; ``word`` is the last one of its topic."""

    word: str
    payload: bytes
    id: int = 0


class Change(NamedTuple):
    """An alarm that is raised or cleared."""

    key: str
    alarm: Alarm


class MessageSpool:
    """The queue; safe for any number of threads.

    Args:
        path: the SQLite file, this class's own.
        quota_bytes: of all messages together.

    Raises:
        StorageError: the file cannot be used.
    """

    def __init__(self, path: Path, quota_bytes: int) -> None:
        self._database = Database(path, SCHEMA)
        self._quota = quota_bytes
        self._lock = threading.RLock()
        # Summed up once; what comes and goes after that is counted.
        self._bytes = int(self._database.query("SELECT coalesce(sum(bytes), 0) AS sum FROM messages")[0]["sum"])

    def add(self, messages: Sequence[Message]) -> None:
        """Keep messages, durable before this returns; older ones give way.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; none of them is kept.
        """
        with self._counted():
            self._insert(messages)

    def change(self, changes: Sequence[Change]) -> None:
        """Keep what alarms were raised and cleared together with their messages.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; nothing of it is kept.
        """
        with self._counted() as database:
            for key, alarm in changes:
                document = alarm.to_json()
                if alarm.detail.state == "raised":
                    database.execute("INSERT OR REPLACE INTO alarms VALUES (?, ?)", (key, document.decode()))
                else:
                    database.execute("DELETE FROM alarms WHERE key = ?", (key,))
            self._insert([Message(ALARM, change.alarm.to_json()) for change in changes])

    def standing(self) -> dict[str, Alarm]:
        """Return the alarms that were raised and not cleared, by key.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        rows = self._database.query("SELECT key, document FROM alarms ORDER BY key")
        read = ((row["key"], _read(row["document"])) for row in rows)
        return {key: alarm for key, alarm in read if alarm is not None}

    def oldest(self, limit: int, without: Iterable[str] = ()) -> list[Message]:
        """Return messages in the order in which they are sent: alarms first, each kind as it came.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        left_out = json.dumps(list(without))
        rows = self._database.query(
            "SELECT id, word, payload FROM messages WHERE word NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY word = 'alarm' DESC, id LIMIT ?",
            (left_out, limit),
        )
        return [Message(row["word"], bytes(row["payload"]), row["id"]) for row in rows]

    def done(self, sent: Iterable[Message]) -> None:
        """Forget messages that the broker has.

        Raises:
            StorageError: STORAGE_FAILED; they are sent once more.
        """
        with self._counted():
            for message in sent:
                self._delete(message.id)

    def waiting(self) -> int:
        """Return how many messages wait.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return int(self._database.query("SELECT count(*) AS count FROM messages")[0]["count"])

    def dropped(self) -> int:
        """Return how many messages gave way since the device was set up.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return int(self._database.query("SELECT value FROM totals WHERE name = 'dropped'")[0]["value"])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _counted(self) -> Iterator[Database]:
        """Write as a whole or not at all, the count of bytes too; threads wait for each other."""
        with self._lock:
            before = self._bytes
            try:
                with self._database.transaction() as database:
                    yield database
            except BaseException:
                self._bytes = before
                raise

    def _insert(self, messages: Sequence[Message]) -> None:
        for word, payload, _ in messages:
            size = len(payload) + _OVERHEAD
            values = (word, payload, size)
            self._database.execute("INSERT INTO messages (word, payload, bytes) VALUES (?, ?, ?)", values)
            self._bytes += size
        gone = self._trim(alarms=False) + self._trim(alarms=True)
        if gone:
            self._database.execute("UPDATE totals SET value = value + ? WHERE name = 'dropped'", (gone,))

    def _trim(self, *, alarms: bool) -> int:
        """Delete the oldest alarms, or the oldest of the others, while there are too many bytes; return how many."""
        gone = 0
        while self._bytes > self._quota:
            oldest = "SELECT id FROM messages WHERE (word = ?) = ? ORDER BY id LIMIT 1"
            rows = self._database.query(oldest, (ALARM, alarms))
            if not rows:
                break
            self._delete(int(rows[0]["id"]))
            gone += 1
        return gone

    def _delete(self, number: int) -> None:
        """Delete a message, if it is still there."""
        for row in self._database.query("SELECT bytes FROM messages WHERE id = ?", (number,)):
            self._database.execute("DELETE FROM messages WHERE id = ?", (number,))
            self._bytes -= int(row["bytes"])


def _read(document: str) -> Alarm | None:
    """Return an alarm; None for one of another agent's form, which is told anew if it stands."""
    try:
        return parse(Alarm, document, what="alarm")
    except DocumentError:
        return None
