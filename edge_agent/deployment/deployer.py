"""The deployer: one thread that walks one deployment at a time through the table.

Every state is durable before its work begins, and every report follows what is durable.
Orders come from the jobs room and from local calls; they only wait in its inbox here.
Not done here: the work itself (``steps``), decisions (``plan``, ``guards``).
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol

from edge_agent.deployment import record as records
from edge_agent.deployment import states
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.orders import JobOrder, LocalOrder, Order, Reported, Stop
from edge_agent.deployment.plan import read_job
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import ENDS, UNDER_WATCH, Event, State
from edge_agent.deployment.steps import AlreadyCurrent, Steps
from edge_agent.deployment.work import Work
from edge_agent.errors import (
    AgentError,
    CancelledError,
    Code,
    DeploymentError,
    DocumentError,
    InferenceError,
    RefusedError,
    StorageError,
)

_log = logging.getLogger(__name__)

# How long a disk that takes nothing is left alone.
RETRY_S = 5.0
# Entered also when that cannot be written down: what stands on disk leads there again.
_UNDOING: Final = (ENDS - {State.COMMITTED}) | {State.ROLLING_BACK}


class Reporter(Protocol):
    """Tells the cloud of a deployment; durable before it returns."""

    def __call__(self, record: Deployment, *, final: bool) -> None:
        """Report where the record stands."""


class _Stopping(Exception):  # noqa: N818 - not an error: the deployment goes on after the restart
    """The agent is being stopped."""


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
        now: Callable[[], float] = time.time,
    ) -> None:
        self._steps = steps
        self._journal = journal
        self._report = report
        self._observe = observe
        self._deadline_s = deadline_s
        self._allow_unsigned_packages = allow_unsigned_packages
        self._new_id = new_id
        self._jitter = jitter
        self._now = now
        self._inbox: queue.SimpleQueue[Order | Stop] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: Deployment | None = None
        self._given_up: CancelledError | None = None
        self._waiting: dict[str, JobOrder] = {}  # jobs that were offered and not withdrawn before their turn
        self._superseding: list[LocalOrder] = []  # rollbacks that the end of a watch fulfils
        self._disturbed = threading.Event()  # set: whoever waits looks at what happened
        self._stopping = threading.Event()
        self._unsaved = False  # the running record is further than what stands in the journal

    # -- called from other threads --------------------------------------------------------------------------

    def offer(self, order: JobOrder | LocalOrder) -> None:
        """Take an order; a rollback of a model under watch only ends that watch, at once."""
        with self._lock:
            if isinstance(order, JobOrder):
                self._waiting[order.job_id] = order
            elif self._stopping.is_set():
                _turn_away(order)
                return
            elif self._supersedes(order):
                self._give_up(Code.SUPERSEDED, f"taken back by {order.actor or 'a local call'}: {order.reason}")
                self._superseding.append(order)
                return
            self._inbox.put(order)

    def cancel(self, job_id: str, reason: str) -> None:
        """End the job's deployment if it is under way, else forget its order; the cloud no longer wants it."""
        with self._lock:
            if self._running is not None and self._running.job_id == job_id:
                self._give_up(Code.CANCELLED, f"the job is no longer this device's: {reason}")
            else:
                self._waiting.pop(job_id, None)

    def reported(self, job_id: str) -> None:
        """Note that the cloud took, or will never take, the job's last report."""
        self._inbox.put(Reported(job_id))

    def running(self) -> Deployment | None:
        """Return the deployment under way."""
        with self._lock:
            return self._running

    def stop(self) -> None:
        """Let the thread end soon; a deployment under way goes on after the next start."""
        with self._lock:
            self._stopping.set()
            self._disturbed.set()
            self._inbox.put(Stop())

    def _supersedes(self, order: LocalOrder) -> bool:
        running = self._running
        return (
            running is not None
            and running.state in UNDER_WATCH
            and order.document.operation == "rollback"
            and {model.name for model in order.document.models} <= {target.name for target in running.targets}
        )

    def _forget(self, order: JobOrder) -> bool:
        """Take the order out of those that wait; tell whether it was still wanted."""
        wanted = self._waiting.get(order.job_id) is order
        if wanted:
            del self._waiting[order.job_id]
        return wanted

    def _give_up(self, code: Code, message: str) -> None:
        self._given_up = CancelledError(code, message)
        self._disturbed.set()

    # -- the deployer's thread ------------------------------------------------------------------------------

    def run(self) -> None:
        """Resume what was under way, then take orders until stopped."""
        try:
            found = self._journal.running()
            if found is not None:
                self._carry(self._resumed(found))
            while not isinstance(order := self._inbox.get(), Stop):
                self._take(order)
        except _Stopping:
            _log.info("deployment pauses", extra={"action": "deployment_paused"})
        finally:
            self._turn_away_waiting()

    def _resumed(self, record: Deployment) -> Deployment:
        unclean = record.state is State.PROBATION and not record.paused
        record = record.model_copy(update={"unclean_ends": record.unclean_ends + unclean, "paused": False})
        state = states.resume(record.state, record.operation, record.unclean_ends)
        if state is State.ROLLING_BACK and record.state is not State.ROLLING_BACK:
            if record.state is State.PROBATION:
                self._quarantine(record)
            record = records.blame(record, Code.ROLLED_BACK, f"the agent ended in {record.state.value}")
        _log.info("deployment resumed", extra=_fields(record, "deployment_resumed", resumes_at=state.value))
        return self._kept(record, records.enter(record, state, self._now()) if state is not record.state else record)

    def _quarantine(self, record: Deployment) -> None:
        try:
            self._steps.quarantine(record)
        except AgentError as exc:
            _log.error("not quarantined", extra=_fields(record, "quarantine_failed", reason=exc.message))

    def _take(self, order: Order) -> None:
        try:
            if isinstance(order, JobOrder):
                self._take_job(order)
            elif isinstance(order, LocalOrder):
                self._take_call(order)
            else:
                self._close(self._journal.of_job(order.job_id))
        except StorageError as exc:
            # Nothing was begun: what begins ends, whatever the disk does.
            _log.error("order put off", extra={"action": "order_put_off", "reason": exc.message})
            self._put_off(order, exc)

    def _put_off(self, order: Order, exc: StorageError) -> None:
        if isinstance(order, LocalOrder):
            order.result.set_exception(exc)
            return
        self._pause_between_tries()
        self._inbox.put(order)

    def _take_call(self, order: LocalOrder) -> None:
        if self._stopping.is_set():
            _turn_away(order)
            return
        record = records.begin(
            order.identity,
            order.document,
            now=self._now(),
            deadline_s=self._deadline_s,
            reason=order.reason,
            actor=order.actor,
        )
        try:
            record = self._carry(self._begin(record))
        except _Stopping:
            message = "the agent is being stopped; what was begun goes on after its next start"
            order.result.set_exception(InferenceError(Code.UNAVAILABLE, message))
            raise
        order.result.set_result(records.to_report(record))

    def _take_job(self, order: JobOrder) -> None:
        with self._lock:
            if self._stopping.is_set() or self._waiting.get(order.job_id) is not order:
                return
        known = self._journal.of_job(order.job_id)
        if known is not None and (known.execution_number, known.queued_at) == (order.execution_number, order.queued_at):
            # Offered again, since an answer was lost: say it again, do nothing twice.
            self._report(known, final=True)
            with self._lock:
                self._forget(order)
            return
        self._carry(self._begin(self._record_of(order), order))

    def _record_of(self, order: JobOrder) -> Deployment:
        identity, now = self._new_id(), self._now()
        origin: dict[str, Any] = {
            "job_id": order.job_id,
            "execution_number": order.execution_number,
            "queued_at": order.queued_at,
        }
        try:
            document = read_job(order.document, allow_unsigned_packages=self._allow_unsigned_packages)
        except (RefusedError, DocumentError) as exc:
            code = exc.code if isinstance(exc, RefusedError) else Code.JOB_INVALID
            return records.refused(identity, now=now, code=code, message=exc.message, **origin)
        return records.begin(identity, document, now=now, deadline_s=self._deadline_s, **origin)

    def _begin(self, record: Deployment, order: JobOrder | None = None) -> Deployment:
        with self._lock:
            self._given_up = None
            if not self._stopping.is_set():
                self._disturbed.clear()
        self._journal.save(record)
        self._unsaved = False
        with self._lock:
            self._running = record
            # Withdrawn since its turn came: whoever withdrew it found nothing under way yet.
            if order is not None and not self._forget(order):
                self._give_up(Code.CANCELLED, "the job was withdrawn before it began")
        _log.info("deployment accepted", extra=_fields(record, "deployment_accepted"))
        self._tell(record)
        return record

    def _carry(self, record: Deployment) -> Deployment:
        """Walk a record to its end, state by state."""
        while record.ended is None:
            record = self._step(record)
        return record

    def _step(self, record: Deployment) -> Deployment:
        """Do the work of one state; afterwards the state that follows is durable."""
        try:
            self._check(record)
            record = self._steps.run(record, self._work(record))
            event = Event.DONE
        except AlreadyCurrent as exc:
            record, event = exc.record, Event.CONFIRMED
        except AgentError as exc:
            record, event = self._blamed(record, exc)
        except _Stopping:
            self._pause(record)
        except Exception as exc:  # noqa: BLE001 - one of the two places of the design where this stands
            # The deployment fails, the process lives: a fault of ours must not stop the line.
            _log.exception("deployment step failed", extra=_fields(record, "deployment_fault"))
            message = f"{type(exc).__name__}: {exc}"
            record, event = records.blame(self._latest(record), Code.INTERNAL, message), Event.BROKE
        if event is Event.DONE and record.state in ENDS:
            return self._end(record)
        return self._enter(record, event)

    def _blamed(self, record: Deployment, exc: AgentError) -> tuple[Deployment, Event]:
        if isinstance(exc, CancelledError):
            if self._stopping.is_set():
                self._pause(record)
            with self._lock:
                exc = self._given_up or exc
        return records.blame(self._latest(record), exc.code, exc.message), _event_of(exc)

    def _pause(self, record: Deployment) -> NoReturn:
        try:
            self._journal.save(self._latest(record).model_copy(update={"paused": True}))
        except StorageError as exc:
            _log.warning("pause not noted", extra=_fields(record, "pause_not_noted", reason=exc.message))
        raise _Stopping

    def _latest(self, record: Deployment) -> Deployment:
        """Return the record with what its step told meanwhile: bytes that came, time under watch."""
        with self._lock:
            told = self._running
        return told if told is not None and (told.id, told.state) == (record.id, record.state) else record

    def _check(self, record: Deployment) -> None:
        if states.TABLE[record.state].on_cancel is None:
            return
        with self._lock:
            # A restart would undo an activation, and it is done at once.
            if self._stopping.is_set() and record.state is not State.ACTIVATING:
                raise _Stopping
            if self._given_up is not None:
                raise self._given_up
        if self._now() > record.deadline:
            raise DeploymentError(Code.DEADLINE_EXCEEDED, "the deployment did not end before its deadline")

    def _work(self, record: Deployment) -> Work:
        def wait(seconds: float) -> None:
            self._disturbed.wait(seconds)
            self._check(record)

        return Work(
            wait=wait, cancelled=self._disturbed.is_set, progress=self._tell, keep=self._keep, jitter=self._jitter
        )

    def _enter(self, record: Deployment, event: Event) -> Deployment:
        state = states.advance(record.state, event, record.operation)
        if state is State.ROLLING_BACK and record.code != Code.ROLLED_BACK.value:
            message = f"{record.code}: {record.message}"
            record = record.model_copy(update={"code": Code.ROLLED_BACK.value, "message": message})
        entered = records.enter(record, state, self._now())
        _log.info("deployment state", extra=_fields(entered, "deployment_state"))
        return self._kept(record, entered)

    def _kept(self, before: Deployment, entered: Deployment) -> Deployment:
        """Return the record in the state it entered; a state that is not durable is not worked on, but undone."""
        try:
            return self._keep(entered)
        except StorageError as exc:
            _log.error("state not durable", extra=_fields(entered, "state_not_durable", reason=exc.message))
            if entered.state not in _UNDOING and entered.state is not before.state:
                return self._enter(records.blame(before, exc.code, exc.message), Event.BROKE)
        self._unsaved = True
        self._tell(entered)
        return entered

    def _keep(self, record: Deployment) -> Deployment:
        self._journal.save(record)
        self._unsaved = False
        self._tell(record)
        return record

    def _tell(self, record: Deployment) -> None:
        """Tell people and cloud how far it is; whether they can be told changes nothing."""
        with self._lock:
            self._running = None if record.ended else record
        try:
            self._observe(record)
            # An end is told when it is durable, and the cloud knows by itself that a job was accepted.
            if record.job_id and record.state not in (State.ACCEPTED, State.REPORTED, *ENDS):
                self._report(record, final=False)
        except AgentError as exc:
            _log.warning("progress not told", extra=_fields(record, "progress_not_told", reason=exc.message))

    def _end(self, record: Deployment) -> Deployment:
        ended = record.model_copy(update={"ended": self._now()})
        try:
            self._steps.clean_up(ended)
        except AgentError as exc:
            _log.warning("clean-up failed", extra=_fields(ended, "clean_up_failed", reason=exc.message))
        if self._unsaved:
            # Else a restart could find the intent to commit what the cloud was told has failed.
            self._insist(record, lambda: self._journal.save(record))
        if record.job_id:
            # In the outbox before the journal forgets that it was running: said twice is harmless, never is not.
            self._insist(record, lambda: self._report(ended, final=True))
        self._insist(record, lambda: self._journal.save(ended))
        self._tell(ended)
        _log.info("deployment ended", extra=_fields(ended, "deployment_ended"))
        if not record.job_id:
            ended = self._closed(ended)
        self._answer(ended)
        return ended

    def _insist(self, record: Deployment, write: Callable[[], None]) -> None:
        """Write an end down, however long the disk takes nothing: the line is served meanwhile."""
        while True:
            try:
                write()
            except StorageError as exc:
                _log.error("end not durable yet", extra=_fields(record, "end_not_durable", reason=exc.message))
            else:
                return
            self._pause_between_tries()

    def _pause_between_tries(self) -> None:
        if self._stopping.wait(RETRY_S):
            raise _Stopping

    def _answer(self, record: Deployment) -> None:
        with self._lock:
            superseding, self._superseding = self._superseding, []
        for order in superseding:
            if record.outcome is State.COMMITTED:
                # It came when the watch was just over: what is committed is taken back like anything else.
                self._inbox.put(order)
            else:
                order.result.set_result(records.to_report(record))

    def _closed(self, record: Deployment) -> Deployment:
        try:
            return self._close(record) or record
        except StorageError as exc:
            _log.warning("end not closed", extra=_fields(record, "end_not_closed", reason=exc.message))
            return record

    def _close(self, record: Deployment | None) -> Deployment | None:
        if record is None or record.ended is None or record.state is State.REPORTED:
            return record
        return self._keep(records.enter(record, State.REPORTED, self._now()))

    def _turn_away_waiting(self) -> None:
        with self._lock:
            left, self._superseding = self._superseding, []
            while not self._inbox.empty():
                order = self._inbox.get()
                left += [order] if isinstance(order, LocalOrder) else []
        for order in left:
            _turn_away(order)


def _turn_away(order: LocalOrder) -> None:
    order.result.set_exception(InferenceError(Code.UNAVAILABLE, "the agent is being stopped"))


def _event_of(exc: AgentError) -> Event:
    if isinstance(exc, RefusedError):
        return Event.REFUSED
    return Event.CANCELLED if isinstance(exc, CancelledError) else Event.BROKE


def _fields(record: Deployment, action: str, **more: str) -> dict[str, str]:
    models = ", ".join(f"{target.name} {target.to}" for target in record.targets)
    fields = {"action": action, "deployment": record.id, "job": record.job_id, "models": models}
    return {**fields, "state": record.state.value, "code": record.code, "detail": record.message, **more}
