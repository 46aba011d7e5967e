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
from concurrent.futures import Future
from typing import Any, NamedTuple, NoReturn, Protocol

from edge_agent.deployment import record as records
from edge_agent.deployment import states
from edge_agent.deployment.journal import Journal
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
)
from edge_agent.formats import DeploymentReport, JobDocument

_log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Tells the cloud of a deployment; durable before it returns."""

    def __call__(self, record: Deployment, *, final: bool) -> None:
        """Report where the record stands."""


class JobOrder(NamedTuple):
    """A job that the cloud offers."""

    job_id: str
    execution_number: int
    document: dict[str, Any]


class LocalOrder(NamedTuple):
    """A call on the control socket."""

    identity: str
    document: JobDocument
    reason: str
    actor: str
    result: "Future[DeploymentReport]"


class _Reported(NamedTuple):
    job_id: str


class _Stop(NamedTuple):
    pass


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
        self._inbox: queue.SimpleQueue[JobOrder | LocalOrder | _Reported | _Stop] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: Deployment | None = None
        self._given_up: CancelledError | None = None
        self._gone: set[str] = set()  # jobs that were offered and withdrawn before their turn
        self._answered: list[Future[DeploymentReport]] = []  # rollbacks that the end of a watch fulfils
        self._disturbed = threading.Event()  # set: whoever waits looks at what happened
        self._stopping = False

    # -- called from other threads --------------------------------------------------------------------------

    def offer(self, order: JobOrder | LocalOrder) -> None:
        """Take an order; a rollback of a model under watch only ends that watch, at once."""
        with self._lock:
            if isinstance(order, JobOrder):
                self._gone.discard(order.job_id)
            elif self._supersedes(order):
                self._give_up(Code.SUPERSEDED, f"taken back by {order.actor or 'a local call'}: {order.reason}")
                self._answered.append(order.result)
                return
        self._inbox.put(order)

    def cancel(self, job_id: str, reason: str) -> None:
        """End the running deployment if it is this job's; the cloud no longer wants it."""
        with self._lock:
            if self._running is not None and self._running.job_id == job_id:
                self._give_up(Code.CANCELLED, f"the job is no longer this device's: {reason}")
            else:
                self._gone.add(job_id)

    def reported(self, job_id: str) -> None:
        """Note that the cloud took, or will never take, the job's last report."""
        self._inbox.put(_Reported(job_id))

    def running(self) -> Deployment | None:
        """Return the deployment under way."""
        with self._lock:
            return self._running

    def stop(self) -> None:
        """Let the thread end soon; a deployment under way goes on after the next start."""
        with self._lock:
            self._stopping = True
            self._disturbed.set()
        self._inbox.put(_Stop())

    def _supersedes(self, order: LocalOrder) -> bool:
        running = self._running
        return (
            running is not None
            and running.state in UNDER_WATCH
            and order.document.operation == "rollback"
            and {model.name for model in order.document.models} <= {target.name for target in running.targets}
        )

    def _give_up(self, code: Code, message: str) -> None:
        self._given_up = CancelledError(code, message)
        self._disturbed.set()

    # -- the deployer's thread ------------------------------------------------------------------------------

    def run(self) -> None:
        """Resume what was under way, then take orders until stopped."""
        found = self._journal.running()
        try:
            if found is not None:
                self._carry(self._resumed(found))
            while not isinstance(order := self._inbox.get(), _Stop):
                self._take(order)
        except _Stopping:
            _log.info("deployment pauses", extra={"action": "deployment_paused"})

    def _resumed(self, record: Deployment) -> Deployment:
        unclean = record.state is State.PROBATION and not record.paused
        record = record.model_copy(update={"unclean_ends": record.unclean_ends + unclean, "paused": False})
        state = states.resume(record.state, record.operation, record.unclean_ends)
        if state is State.ROLLING_BACK and record.state is not State.ROLLING_BACK:
            if record.state is State.PROBATION:
                self._steps.quarantine(record)
            record = records.blame(record, Code.ROLLED_BACK, f"the agent ended in {record.state.value}")
        _log.info("deployment resumed", extra=_fields(record, "deployment_resumed", resumes_at=state.value))
        return self._enter(record, state) if state is not record.state else self._keep(record)

    def _take(self, order: JobOrder | LocalOrder | _Reported) -> None:
        if isinstance(order, JobOrder):
            self._take_job(order)
        elif isinstance(order, LocalOrder):
            self._take_call(order)
        else:
            self._close(self._journal.of_job(order.job_id))

    def _take_call(self, order: LocalOrder) -> None:
        try:
            begun = self._begin(order.identity, order.document, reason=order.reason, actor=order.actor)
            record = self._carry(begun)
        except _Stopping as exc:
            order.result.set_exception(InferenceError(Code.UNAVAILABLE, "the agent is being stopped"))
            raise exc from None
        order.result.set_result(records.to_report(record))

    def _take_job(self, order: JobOrder) -> None:
        if order.job_id in self._gone:
            return
        known = self._journal.of_job(order.job_id)
        if known is not None and known.execution_number == order.execution_number:
            # Offered again, since an answer was lost: say it again, do nothing twice.
            self._report(known, final=True)
            return
        try:
            document = read_job(order.document, allow_unsigned_packages=self._allow_unsigned_packages)
        except (RefusedError, DocumentError) as exc:
            self._refuse(order, exc)
            return
        origin = {"job_id": order.job_id, "execution_number": order.execution_number}
        self._carry(self._begin(self._new_id(), document, **origin))

    def _begin(self, identity: str, document: JobDocument, **origin: Any) -> Deployment:
        record = records.begin(identity, document, now=self._now(), deadline_s=self._deadline_s, **origin)
        with self._lock:
            self._given_up = None
            if not self._stopping:
                self._disturbed.clear()
        _log.info("deployment accepted", extra=_fields(record, "deployment_accepted"))
        return self._keep(record)

    def _refuse(self, order: JobOrder, exc: RefusedError | DocumentError) -> None:
        code = exc.code if isinstance(exc, RefusedError) else Code.JOB_INVALID
        record = records.refused(
            self._new_id(), order.job_id, order.execution_number, now=self._now(), code=code, message=exc.message
        )
        self._carry(self._keep(record))

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
            if self._stopping and isinstance(exc, CancelledError):
                self._pause(record)
            record, event = records.blame(record, exc.code, exc.message), _event_of(exc)
        except _Stopping:
            self._pause(record)
        except Exception as exc:  # noqa: BLE001 - one of the two places of the design where this stands
            # The deployment fails, the process lives: a fault of ours must not stop the line.
            _log.exception("deployment step failed", extra=_fields(record, "deployment_fault"))
            record, event = records.blame(record, Code.INTERNAL, f"{type(exc).__name__}: {exc}"), Event.BROKE
        if event is Event.DONE and record.state in ENDS:
            return self._end(record)
        return self._enter(record, states.advance(record.state, event, record.operation))

    def _pause(self, record: Deployment) -> NoReturn:
        self._journal.save(record.model_copy(update={"paused": True}))
        raise _Stopping

    def _check(self, record: Deployment) -> None:
        if states.TABLE[record.state].on_cancel is None:
            return
        with self._lock:
            if self._stopping:
                raise _Stopping
            if self._given_up is not None:
                raise self._given_up
        if self._now() > record.deadline:
            raise DeploymentError(Code.DEADLINE_EXCEEDED, "the deployment did not end before its deadline")

    def _work(self, record: Deployment) -> Work:
        def wait(seconds: float) -> None:
            self._disturbed.wait(seconds)
            self._check(record)

        def cancelled() -> bool:
            return self._disturbed.is_set()

        return Work(wait=wait, cancelled=cancelled, progress=self._tell, keep=self._journal.save, jitter=self._jitter)

    def _enter(self, record: Deployment, state: State) -> Deployment:
        if state is State.ROLLING_BACK and record.code != Code.ROLLED_BACK.value:
            message = f"{record.code}: {record.message}"
            record = record.model_copy(update={"code": Code.ROLLED_BACK.value, "message": message})
        record = records.enter(record, state, self._now())
        _log.info("deployment state", extra=_fields(record, "deployment_state"))
        return self._keep(record)

    def _keep(self, record: Deployment) -> Deployment:
        self._journal.save(record)
        self._tell(record)
        return record

    def _tell(self, record: Deployment) -> None:
        with self._lock:
            self._running = None if record.ended else record
        self._observe(record)
        if record.job_id and record.ended is None and record.state is not State.ACCEPTED:
            self._report(record, final=False)

    def _end(self, record: Deployment) -> Deployment:
        record = record.model_copy(update={"ended": self._now()})
        try:
            self._steps.clean_up(record)
        except AgentError as exc:
            _log.warning("clean-up failed", extra=_fields(record, "clean_up_failed", reason=exc.message))
        if record.job_id:
            # In the outbox before the journal forgets that it was running: said twice is harmless, never is not.
            self._report(record, final=True)
        self._keep(record)
        _log.info("deployment ended", extra=_fields(record, "deployment_ended"))
        if not record.job_id:
            record = self._close(record) or record
        self._answer(record)
        return record

    def _answer(self, record: Deployment) -> None:
        with self._lock:
            answered, self._answered = self._answered, []
        for result in answered:
            result.set_result(records.to_report(record))

    def _close(self, record: Deployment | None) -> Deployment | None:
        if record is None or record.ended is None or record.state is State.REPORTED:
            return record
        return self._keep(records.enter(record, State.REPORTED, self._now()))


def _event_of(exc: AgentError) -> Event:
    if isinstance(exc, RefusedError):
        return Event.REFUSED
    return Event.CANCELLED if isinstance(exc, CancelledError) else Event.BROKE


def _fields(record: Deployment, action: str, **more: str) -> dict[str, str]:
    models = ", ".join(f"{target.name} {target.to}" for target in record.targets)
    fields = {"action": action, "deployment": record.id, "job": record.job_id, "models": models}
    return {**fields, "state": record.state.value, "code": record.code, "detail": record.message, **more}
