"""The journal: deployments as they stand, so that a power cut loses none.

Derived facts only. What is committed stands in the generations; without the journal
the agent serves that and forgets what was under way.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge_agent.deployment.record import Deployment, JobIdentity
from edge_agent.deployment.states import State
from edge_agent.errors import Code, DocumentError, StorageError
from edge_agent.formats import parse
from edge_agent.storage.database import Database, Row

_log = logging.getLogger(__name__)

_SCHEMA = (
    """
    CREATE TABLE deployments (
        id TEXT PRIMARY KEY, job_id TEXT NOT NULL, started REAL NOT NULL, over INTEGER NOT NULL, record TEXT NOT NULL
    );
    CREATE INDEX deployments_by_job ON deployments (job_id);
    CREATE TABLE manifests (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL);
    """,
)
_KEPT = 500
# Between a watch that was ended and the job that ended it there are no more deployments than calls that waited.
_LATEST = 20


class Journal:
    """Deployments in the SQLite file ``path``.

    Raises:
        StorageError: the file is damaged or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._database = Database(path, _SCHEMA)

    def save(self, record: Deployment) -> None:
        """Write the record down; afterwards it is durable.

        Raises:
            StorageError: it could not be written; what stood there before still does.
        """
        over = record.ended is not None
        values = (record.id, record.job_id, record.started, int(over), record.to_json().decode())
        with self._database.transaction():
            # A row keeps its number, so that deployments stay in the order in which they began: a clock may jump.
            self._database.execute(
                "INSERT INTO deployments VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET job_id = excluded.job_id, started = excluded.started, over = excluded.over,"
                " record = excluded.record",
                values,
            )
            if over:
                self._database.execute("DELETE FROM manifests")
                self._database.execute(
                    "DELETE FROM deployments WHERE over AND id NOT IN"
                    " (SELECT id FROM deployments ORDER BY rowid DESC LIMIT ?)",
                    (_KEPT,),
                )

    def running(self) -> Deployment | None:
        """Return a deployment that has not ended; one that was begun comes before those that wait for their turn."""
        rows = self._database.query("SELECT record FROM deployments WHERE NOT over ORDER BY rowid")
        return min(_readable(rows), key=lambda record: record.state is State.ACCEPTED, default=None)

    def of_job(self, job_id: str) -> Deployment | None:
        """Return the newest deployment of a job."""
        rows = self._database.query(
            "SELECT record FROM deployments WHERE job_id = ? ORDER BY rowid DESC LIMIT 1", (job_id,)
        )
        return next(_readable(rows), None)

    def superseded_by(self, job: JobIdentity) -> Deployment | None:
        """Return the newest deployment whose watch this rollback job has ended."""
        rows = self._database.query(
            "SELECT record FROM deployments WHERE instr(record, 'superseded_by') AND instr(record, ?)"
            " ORDER BY rowid DESC",
            (job.job_id,),
        )
        return next((record for record in _readable(rows) if record.superseded_by == job), None)

    def owed(self) -> str:
        """Return the job that ended a deployment's watch and has not had its turn yet; empty: none has."""
        rows = self._database.query("SELECT record FROM deployments ORDER BY rowid DESC LIMIT ?", (_LATEST,))
        for record in _readable(rows):
            job = record.superseded_by
            if job is not None:
                known = self.of_job(job.job_id)
                return "" if known is not None and known.job == job else job.job_id
        return ""

    def unreported(self) -> list[Deployment]:
        """Return deployments that have ended and are not closed, the oldest first."""
        rows = self._database.query(
            "SELECT record FROM deployments WHERE over AND NOT instr(record, ?) ORDER BY rowid",
            (State.REPORTED.value,),
        )
        return list(_readable(rows))

    def history(self, *, identity: str = "", limit: int = 100) -> list[Deployment]:
        """Return deployments, the newest first; one alone by its id."""
        rows = self._database.query(
            "SELECT record FROM deployments WHERE ? IN ('', id) ORDER BY rowid DESC LIMIT ?", (identity, limit)
        )
        return list(_readable(rows))

    def keep_manifest(self, sha256: str, content: bytes) -> None:
        """Keep a verified manifest until its deployment is over, so that a resume needs no network."""
        self._database.execute("INSERT OR REPLACE INTO manifests VALUES (?, ?)", (sha256, content))

    def manifest(self, sha256: str) -> bytes:
        """Return a kept manifest's bytes.

        Raises:
            StorageError: CONTENT_MISSING, it is not kept.
        """
        rows = self._database.query("SELECT content FROM manifests WHERE sha256 = ?", (sha256,))
        if not rows:
            raise StorageError(Code.CONTENT_MISSING, f"expected manifest {sha256} in the journal, it is not there")
        return bytes(rows[0]["content"])

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _readable(rows: Iterable[Row]) -> Iterator[Deployment]:
    records = (_read(row["record"]) for row in rows)
    return (record for record in records if record is not None)


def _read(text: str) -> Deployment | None:
    """Return the record; one that a newer agent or a bad disk left unreadable must not stop this one."""
    try:
        return parse(Deployment, text, what="journal")
    except DocumentError as exc:
        _log.error("record not readable", extra={"action": "journal_unreadable", "reason": exc.message})
        return None
