"""The ledger: a record is written down first, then people and cloud are told of it.

What cannot be written down is undone, and an end is written however long the disk takes nothing.
Not done here: deciding what comes next.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from edge_agent.deployment import record as records
from edge_agent.deployment.desk import Desk
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import ENDS, State
from edge_agent.errors import AgentError, StorageError

_log = logging.getLogger(__name__)

# How long a disk that takes nothing is left alone.
RETRY_S = 5.0


class Reporter(Protocol):
    """Tells the cloud of a deployment; durable before it returns."""

    def __call__(self, record: Deployment, *, final: bool) -> None:
        """Report where the record stands."""


class Ledger:
    """Writes records down and tells of them.

    Args:
        journal: where records are kept.
        desk: shows what runs.
        report: tells the cloud.
        observe: told of every change, on the deployer's thread.
        now: epoch seconds.
    """

    def __init__(
        self,
        journal: Journal,
        desk: Desk,
        *,
        report: Reporter,
        observe: Callable[[Deployment], None],
        now: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._desk = desk
        self._report = report
        self._observe = observe
        self._now = now
        self._behind = False  # the running record is further than what stands in the journal

    def keep(self, record: Deployment) -> Deployment:
        """Write the record down, then tell of it.

        Raises:
            StorageError: it could not be written; nobody was told.
        """
        self.write(record)
        self.tell(record)
        return record

    def write(self, record: Deployment) -> None:
        """Write the record down and tell nobody.

        Raises:
            StorageError: it could not be written.
        """
        self._journal.save(record)
        self._behind = False

    def tell_unwritten(self, record: Deployment) -> None:
        """Tell of a record that the disk did not take: it is entered all the same, since it undoes something."""
        self._behind = True
        self.tell(record)

    def tell(self, record: Deployment) -> None:
        """Tell people and cloud how far it is; whether they can be told changes nothing."""
        self._desk.show(record)
        try:
            self._observe(record)
        except AgentError as exc:
            _log.warning("change not shown", extra=fields(record, "change_not_shown", reason=exc.message))
        self.tell_cloud(record)

    def tell_cloud(self, record: Deployment) -> None:
        """Tell only the cloud; a step that takes long must not time out there."""
        # An end is told when it is durable, and the cloud knows by itself that a job was accepted.
        if not record.job_id or record.state in (State.ACCEPTED, State.REPORTED, *ENDS):
            return
        try:
            self._report(record, final=False)
        except AgentError as exc:
            _log.warning("progress not told", extra=fields(record, "progress_not_told", reason=exc.message))

    def repeat(self, record: Deployment) -> None:
        """Tell the cloud once more how it ended.

        Raises:
            StorageError: the report could not be kept.
        """
        self._report(record, final=True)

    def end(self, record: Deployment) -> Deployment:
        """Write the end down, and tell it; return when both are durable.

        Raises:
            Stopping: the disk took nothing until the agent was stopped.
        """
        ended = record.model_copy(update={"ended": self._now()})
        if self._behind:
            # Else a restart could find the intent to commit what the cloud was told has failed.
            self.insist(record, lambda: self.write(record))
        if record.job_id:
            # In the outbox before the journal forgets that it was running: said twice is harmless, never is not.
            self.insist(record, lambda: self._report(ended, final=True))
        self.insist(record, lambda: self.write(ended))
        self.tell(ended)
        _log.info("deployment ended", extra=fields(ended, "deployment_ended"))
        return ended if record.job_id else self._closed(ended)

    def close(self, record: Deployment | None, refusal: str = "") -> Deployment | None:
        """Note that the cloud is through with an ended record; ``refusal`` says why it did not take the report.

        Raises:
            StorageError: it could not be written.
        """
        if record is None or record.ended is None or record.state is State.REPORTED:
            return record
        return self.keep(records.reported(record, self._now(), refusal))

    def _closed(self, record: Deployment) -> Deployment:
        try:
            return self.close(record) or record
        except StorageError as exc:
            _log.warning("end not closed", extra=fields(record, "end_not_closed", reason=exc.message))
            return record

    def insist(self, record: Deployment, write: Callable[[], None]) -> None:
        """Write an end down, however long the disk takes nothing: the line is served meanwhile."""
        while True:
            try:
                write()
            except StorageError as exc:
                _log.error("end not durable yet", extra=fields(record, "end_not_durable", reason=exc.message))
            else:
                return
            self._desk.rest(RETRY_S)


def fields(record: Deployment, action: str, **more: str) -> dict[str, str]:
    """Return what a log line tells of a record."""
    models = ", ".join(f"{target.name} {target.to}" for target in record.targets)
    told = {"action": action, "deployment": record.id, "job": record.job_id, "models": models}
    return {**told, "state": record.state.value, "code": record.code, "detail": record.message, **more}
