"""What people say that captured parts are: durable, and kept until the cloud has it.

A label outlives its capture's picture, and may be given when the capture was sent long ago:
it goes to the cloud as an object of its own. Taking a label back is a label too, an empty one.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from edge_agent.storage.database import Database, Row, rebuilt

_SCHEMA = (
    """
    CREATE TABLE labels (
        id TEXT PRIMARY KEY,
        label TEXT NOT NULL,
        actor TEXT NOT NULL,
        labelled REAL NOT NULL,
        at REAL NOT NULL,
        models TEXT NOT NULL,
        sent INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX labels_unsent ON labels (labelled) WHERE sent = 0;
    """,
)
# More than the history tells captures of; what is older is in the cloud, and unsent ones are all kept.
_KEPT = 20_000
_PRUNED = 500


class Label(NamedTuple):
    """One label.

    Attributes:
        id: the capture's.
        label: OK, NG or a class; empty: taken back.
        actor: who said it.
        labelled: when, epoch seconds.
        at: the inspection's time, which names the folder in the cloud.
        models: the models under which the capture is filed.
    """

    id: str
    label: str
    actor: str
    labelled: float
    at: float
    models: tuple[str, ...]


class Labels:
    """The labels of one device. Thread-safe.

    Args:
        path: the database; a damaged one is set aside and said so.

    Raises:
        StorageError: it can neither be opened nor made.
    """

    def __init__(self, path: Path) -> None:
        self._database = rebuilt(lambda place: Database(place, _SCHEMA), path)

    def set(self, label: Label) -> None:
        """Keep a label in place of what was said before; durable when this returns.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; the former one stands.
        """
        values = (label.id, label.label, label.actor, label.labelled, label.at, json.dumps(label.models))
        with self._database.transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO labels (id, label, actor, labelled, at, models) VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            if database.query("SELECT count(*) AS amount FROM labels")[0]["amount"] > _KEPT + _PRUNED:
                database.execute(
                    "DELETE FROM labels WHERE sent = 1 AND id NOT IN"
                    " (SELECT id FROM labels ORDER BY labelled DESC LIMIT ?)",
                    (_KEPT,),
                )

    def of(self, capture_ids: Collection[str]) -> dict[str, Label]:
        """Return what was said last of these captures, by id."""
        rows = self._database.query(
            "SELECT * FROM labels WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(capture_ids)),)
        )
        return {row["id"]: _label(row) for row in rows}

    def unsent(self) -> list[Label]:
        """Return what the cloud does not have, the newest first, a thousand at most."""
        rows = self._database.query("SELECT * FROM labels WHERE sent = 0 ORDER BY labelled DESC, id LIMIT 1000")
        return [_label(row) for row in rows]

    def count_unsent(self) -> int:
        """Return how many the cloud does not have."""
        return int(self._database.query("SELECT count(*) AS amount FROM labels WHERE sent = 0")[0]["amount"])

    def mark_sent(self, label: Label) -> None:
        """Note that the cloud has it, unless something else was said meanwhile.

        Raises:
            StorageError: it will be sent once more.
        """
        self._database.execute(
            "UPDATE labels SET sent = 1 WHERE id = ? AND label = ? AND labelled = ?",
            (label.id, label.label, label.labelled),
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _label(row: Row) -> Label:
    return Label(row["id"], row["label"], row["actor"], row["labelled"], row["at"], tuple(json.loads(row["models"])))
