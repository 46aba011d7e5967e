"""The deployer: one thread that takes orders one by one and sees each deployment to its end.

Every state is durable before its work begins, and every report follows what is durable.
Orders come from the jobs room and from local calls; they wait at the ``desk``, where what must
end is told as well. Not done here: the walk through the states (``walker``), decisions (``plan``, ``guards``).
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent.deployment import record as records
from edge_agent.deployment.desk import Desk, Stopping
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.ledger import RETRY_S, Ledger, Reporter, fields
from edge_agent.deployment.orders import JobOrder, LocalOrder, Order, Reported
from edge_agent.deployment.plan import package_of, read_job
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.deployment.steps.table import Steps
from edge_agent.deployment.walker import Walker
from edge_agent.errors import Code, DocumentError, InferenceError, RefusedError, StorageError
from edge_agent.formats import JobDocument

_log = logging.getLogger(__name__)


def _prefer_nothing(_job_id: str) -> None:
    pass


class Deployer:
    """Runs deployments on a thread of its own.

    Args:
        steps: the work of each state.
        journal: where records are kept.
        report: tells the cloud.
        observe: told of every change, on the deployer's thread.
        deadline_s: the device's limit for one deployment.
        allow_unsigned_packages: as in the settings.
        new_id: makes ids that sort by time.
        jitter: a random time between 0 and its argument.
        prefer: asks the cloud for a queued job before older ones; only hands over.
    """

    def __init__(
        self,
        steps: Steps,
        journal: Journal,
        *,
        report: Reporter,
        observe: Callable[[Deployment], None],
        deadline_s: float,
        allow_unsigned_packages: bool,
        new_id: Callable[[], str],
        jitter: Callable[[float], float],
        prefer: Callable[[str], None] = _prefer_nothing,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._deadline_s = deadline_s
        self._allow_unsigned_packages = allow_unsigned_packages
        self._new_id = new_id
        self._now = now
        self._desk = Desk(prefer)
        self._ledger = Ledger(journal, self._desk, report=report, observe=observe, now=now)
        self._walker = Walker(steps, self._ledger, self._desk, jitter=jitter, now=now)

    # -- called from other threads --------------------------------------------------------------------------

    def offer(self, order: JobOrder | LocalOrder) -> None:
        """Take an order; a rollback of a model under watch only ends that watch, at once."""
        self._desk.offer(order)

    def accept(self, order: LocalOrder) -> None:
        """Take an order that is carried out whatever happens: it is durable before this returns.

        Raises:
            StorageError: it could not be written down, and is not taken.
            InferenceError: UNAVAILABLE, the agent is being stopped.
        """
        if self._desk.stopping:
            raise InferenceError(Code.UNAVAILABLE, "the agent is being stopped")
        self._journal.save(self._record_of_call(order))
        self._desk.offer(order._replace(accepted=True))

    def look_at_queue(self, queue: Sequence[JobOrder]) -> None:
        """Take in which jobs wait in the cloud; a rollback of a model under watch ends that watch."""
        self._desk.look_at_queue(queue)

    def cancel(self, job_id: str, reason: str) -> None:
        """End the job's deployment if it is under way, else forget its order; the cloud no longer wants it."""
        self._desk.withdraw(job_id, reason)

    def reported(self, job_id: str, refusal: str = "") -> None:
        """Note that the cloud took the job's last report, or never will and why."""
        self._desk.note(Reported(job_id, refusal))

    def running(self) -> Deployment | None:
        """Return the deployment under way."""
        return self._desk.running()

    def stop(self) -> None:
        """Let the thread end soon; a deployment under way goes on after the next start."""
        self._desk.stop()

    # -- the deployer's thread ------------------------------------------------------------------------------

    def run(self) -> None:
        """Resume what was under way, then take orders until stopped."""
        try:
            while (found := self._journal.running()) is not None:
                self._walker.carry(self._walker.resumed(found))
            self._close_local()
            while (order := self._desk.next_order()) is not None:
                self._take(order)
        except Stopping:
            _log.info("deployment pauses", extra={"action": "deployment_paused"})
        finally:
            self._desk.close()

    def _close_local(self) -> None:
        """Close what ended just before the agent did and has no cloud to report to."""
        for record in self._journal.unreported():
            if not record.job_id:
                self._ledger.close(record)

    def _take(self, order: Order) -> None:
        try:
            if isinstance(order, JobOrder):
                self._take_job(order)
            elif isinstance(order, LocalOrder):
                self._take_call(order)
            else:
                self._ledger.close(self._journal.of_job(order.job_id), order.refusal)
        except StorageError as exc:
            # Nothing was begun: what begins ends, whatever the disk does.
            _log.error("order put off", extra={"action": "order_put_off", "reason": exc.message})
            self._put_off(order, exc)

    def _put_off(self, order: Order, exc: StorageError) -> None:
        if isinstance(order, LocalOrder) and not order.accepted:
            order.result.set_exception(exc)
            return
        self._desk.rest(RETRY_S)
        self._desk.put_back(order)

    def _take_call(self, order: LocalOrder) -> None:
        known = next(iter(self._journal.history(identity=order.identity)), None)
        if known is not None and known.ended is not None:
            order.result.set_result(records.to_report(known))
            return
        try:
            record = self._begin(records.postponed(known or self._record_of_call(order), self._now()))
            record = self._walker.carry(record)
        except Stopping:
            message = "the agent is being stopped; what was begun goes on after its next start"
            order.result.set_exception(InferenceError(Code.UNAVAILABLE, message))
            raise
        order.result.set_result(records.to_report(record))

    def _record_of_call(self, order: LocalOrder) -> Deployment:
        return records.begin(
            order.identity,
            order.document,
            now=self._now(),
            deadline_s=self._deadline_s,
            reason=order.reason,
            actor=order.actor,
        )

    def _take_job(self, order: JobOrder) -> None:
        if not self._desk.is_wanted(order):
            return
        known = self._journal.of_job(order.job_id)
        if known is not None and known.job == order.identity:
            # Offered again, since an answer was lost: say it again, do nothing twice.
            self._ledger.repeat(known)
            self._desk.forget(order)
            return
        self._walker.carry(self._begin(self._record_of_job(order), order))

    def _record_of_job(self, order: JobOrder) -> Deployment:
        identity, now = self._new_id(), self._now()
        origin: dict[str, Any] = order.identity.model_dump()
        try:
            document = read_job(order.document, allow_unsigned_packages=self._allow_unsigned_packages)
            package = package_of(order.document)
        except (RefusedError, DocumentError) as exc:
            code = exc.code if isinstance(exc, RefusedError) else Code.JOB_INVALID
            return records.refused(identity, now=now, code=code, message=exc.message, **origin)
        ended = self._ended_for(order, document)
        if ended is not None:
            return records.fulfilled(identity, ended, now=now, **origin)
        return records.begin(identity, document, now=now, deadline_s=self._deadline_s, package=package, **origin)

    def _ended_for(self, order: JobOrder, document: JobDocument) -> Deployment | None:
        """Return the deployment whose watch this job has ended; then it has done its work."""
        if document.operation != "rollback":
            return None
        ended = self._journal.superseded_by(order.identity)
        return None if ended is None or ended.outcome is State.COMMITTED else ended

    def _begin(self, record: Deployment, order: JobOrder | None = None) -> Deployment:
        self._desk.clear()
        self._ledger.write(record)
        self._desk.begun(record, order)
        _log.info("deployment accepted", extra=fields(record, "deployment_accepted"))
        self._ledger.tell(record)
        return record
