"""What people say that captured parts are: durable, and kept until the cloud has it.

A label outlives its capture's picture, and may be given when the capture was sent long ago:
it goes to the cloud as an object of its own. Taking a label back is a label too, an empty one.
"""

import json
import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.storage.database import Database, Row, readable, rebuilt

log = logging.getLogger(__name__)

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
    """
    ALTER TABLE labels ADD COLUMN role TEXT NOT NULL DEFAULT '';
    ALTER TABLE labels ADD COLUMN user TEXT NOT NULL DEFAULT '';
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
        actor: who said it, in full; for this device alone.
        labelled: when, epoch seconds; later than what it replaces, whatever the clock says.
        at: the inspection's time, which names the folder in the cloud.
        models: the models under which the capture is filed.
        role: of who said it; empty: not known.
        user: who logged in; empty: nobody had to.
    """

    id: str
    label: str
    actor: str
    labelled: float
    at: float
    models: tuple[str, ...]
    role: str = ""
    user: str = ""


class Labels:
    """The labels of one device. Thread-safe.

    Args:
        path: the database; a damaged one is set aside and said so, and what can be read of it is carried over:
            nobody says again what thousands of parts were.
        sends: the cloud gets them; else none waits for it.

    Raises:
        StorageError: it can neither be opened nor made.
    """

    def __init__(self, path: Path, *, sends: bool = True) -> None:
        self._sends = sends
        self._database = rebuilt(lambda place: Database(place, _SCHEMA), path, _rescue)

    def set(self, label: Label, *, instead_of: str | None = None) -> None:
        """Keep a label in place of what was said before; durable when this returns.

        Args:
            label: what is said.
            instead_of: the label that has to stand, empty: none; None: whatever stands.

        The oldest are forgotten once the cloud has them; where nothing is sent, once there are too many.

        Raises:
            InferenceError: FAILED_PRECONDITION: another stands.
            StorageError: NO_SPACE or STORAGE_FAILED; the former one stands.
        """
        with self._database.transaction() as database:
            if instead_of is not None:
                _check_standing(database, label.id, instead_of)
            _put(database, label)
            if database.query("SELECT count(*) AS amount FROM labels")[0]["amount"] > _KEPT + _PRUNED:
                database.execute(
                    "DELETE FROM labels WHERE (sent = 1 OR NOT ?) AND id NOT IN"
                    " (SELECT id FROM labels ORDER BY labelled DESC LIMIT ?)",
                    (self._sends, _KEPT),
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
        """Return how many wait for the cloud."""
        if not self._sends:
            return 0
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


def _check_standing(database: Database, capture_id: str, expected: str) -> None:
    rows = database.query("SELECT label FROM labels WHERE id = ?", (capture_id,))
    standing = rows[0]["label"] if rows else ""
    if standing != expected:
        message = f"capture {capture_id}: expected the label {expected!r} to stand, {standing!r} does"
        raise InferenceError(Code.FAILED_PRECONDITION, message)


def _put(database: Database, label: Label, *, sent: bool = False) -> None:
    values = {**label._asdict(), "models": json.dumps(label.models), "sent": sent}
    names, places = ", ".join(values), ", ".join("?" for _ in values)
    database.execute(f"INSERT OR REPLACE INTO labels ({names}) VALUES ({places})", list(values.values()))  # noqa: S608 - our own names


def _label(row: Row) -> Label:
    known = dict(zip(row.keys(), tuple(row), strict=True))
    told = {name: known[name] for name in Label._fields if name in known}
    return Label(**told | {"models": tuple(json.loads(known["models"]))})


def _rescue(aside: Path, database: Database) -> None:
    """Carry over what can be read, also of a newer agent, whose fields are only ever more."""
    rows = readable(aside, "SELECT * FROM labels")
    with database.transaction():
        for row in rows:
            with suppress(ValueError, TypeError, KeyError, StorageError):
                _put(database, _label(row), sent=bool(row["sent"]))
    log.warning("labels carried over", extra={"action": "labels_carried_over", "amount": len(rows), "from": aside.name})
