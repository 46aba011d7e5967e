"""Where models found captured parts: durable, so that a part can be compared with those of last week."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.formats import ModelVersion
from edge_agent.storage.database import Database, rebuilt

LIMIT_OF_VERSION = 5000
LIMIT_VERSIONS = 8
_PRUNED = 100

_SCHEMA = (
    """
    CREATE TABLE places (
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        id TEXT NOT NULL,
        at REAL NOT NULL,
        embedding BLOB NOT NULL,
        PRIMARY KEY (model, version, id)
    ) WITHOUT ROWID;
    CREATE INDEX places_by_time ON places (model, version, at);
    """,
)


class Place(NamedTuple):
    """Where one model version found a captured part."""

    id: str
    at: float
    embedding: bytes


class Places:
    """Places of captured parts, the newest of each version. Thread-safe.

    Args:
        path: the database; a damaged one is set aside and said so.

    Raises:
        StorageError: it can neither be opened nor made.
    """

    def __init__(self, path: Path) -> None:
        self._database = rebuilt(lambda place: Database(place, _SCHEMA), path)

    def add(self, version: ModelVersion, place: Place) -> None:
        """Keep a place; the oldest of its version give way, and so do versions that were not seen for longest.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; it is not kept.
        """
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?, ?)", (*version, *place))
            count = database.query("SELECT count(*) FROM places WHERE model = ? AND version = ?", version)[0][0]
            if count > LIMIT_OF_VERSION + _PRUNED:
                database.execute(
                    "DELETE FROM places WHERE model = ? AND version = ? AND id NOT IN"
                    " (SELECT id FROM places WHERE model = ? AND version = ? ORDER BY at DESC LIMIT ?)",
                    (*version, *version, LIMIT_OF_VERSION),
                )
            if count == 1:
                database.execute(
                    "DELETE FROM places WHERE (model, version) NOT IN"
                    " (SELECT model, version FROM places GROUP BY model, version ORDER BY max(at) DESC LIMIT ?)",
                    (LIMIT_VERSIONS,),
                )

    def of(self, version: ModelVersion, width: int) -> tuple[list[Place], NDArray[np.float32]]:
        """Return the places of a version and their embeddings [N, width], the newest first.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        rows = self._database.query(
            "SELECT id, at, embedding FROM places WHERE model = ? AND version = ? AND length(embedding) = ?"
            " ORDER BY at DESC LIMIT ?",
            (*version, width * np.dtype(np.float32).itemsize, LIMIT_OF_VERSION),
        )
        found = [Place(row["id"], row["at"], row["embedding"]) for row in rows]
        content = b"".join(place.embedding for place in found)
        return found, np.frombuffer(content, np.float32).reshape(len(found), width)

    def forget(self, version: ModelVersion, identity: str) -> None:
        """Forget a part that is no longer on this device.

        Raises:
            StorageError: it is still kept.
        """
        self._database.execute("DELETE FROM places WHERE model = ? AND version = ? AND id = ?", (*version, identity))

    def close(self) -> None:
        """Close the database."""
        self._database.close()
