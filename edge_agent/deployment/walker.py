"""The walker: carries one record through the table of states, one durable step after the other.

A state is durable before its work begins. Not done here: the work itself (``steps``), what is
decided by the table alone (``states``), orders (``deployer``).
"""

import logging
import time
from collections.abc import Callable
from typing import Final, NoReturn

from edge_agent.deployment import record as records
from edge_agent.deployment import states
from edge_agent.deployment.desk import Desk, Stopping
from edge_agent.deployment.ledger import Ledger, fields
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import ENDS, UNDOING, Event, State
from edge_agent.deployment.steps.table import AlreadyCurrent, Steps
from edge_agent.deployment.work import Work
from edge_agent.errors import AgentError, CancelledError, Code, DeploymentError, RefusedError, StorageError

_log = logging.getLogger(__name__)

# These words say by themselves that the version before it answers.
_SAY_IT_ALL: Final = frozenset({Code.ROLLED_BACK.value, Code.SUPERSEDED.value})


class Walker:
    """Does the work of each state and enters the next.

    Args:
        steps: the work of each state.
        ledger: keeps what was entered.
        desk: tells when the deployment must end.
        jitter: a random time between 0 and its argument.
        now: epoch seconds, which may jump.
        steady: seconds that only grow.
    """

    def __init__(
        self,
        steps: Steps,
        ledger: Ledger,
        desk: Desk,
        *,
        jitter: Callable[[float], float],
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = steps
        self._ledger = ledger
        self._desk = desk
        self._jitter = jitter
        self._now = now
        self._steady = steady
        self._over_at = float("inf")

    def carry(self, record: Deployment) -> Deployment:
        """Walk a record to its end, state by state.

        Raises:
            Stopping: the agent is being stopped; the record goes on after its next start.
        """
        # A deadline in epoch seconds means the same after a restart; a clock that is set back must not move it away.
        self._over_at = self._steady() + records.time_left(record, self._now())
        while record.ended is None:
            record = self._step(record)
        return record

    def resumed(self, record: Deployment) -> Deployment:
        """Return a record that a restart found, in the state in which it goes on."""
        overruled = self._steps.overruled(record)
        if overruled is not None:
            return self._overruled(record, overruled)
        unclean = record.state is State.PROBATION and not record.paused
        record = record.model_copy(update={"unclean_ends": record.unclean_ends + unclean, "paused": False})
        if record.state is State.ACCEPTED and not record.job_id:
            record = records.postponed(record, self._now())
        state = states.resume(record.state, record.operation, record.unclean_ends)
        if state is State.ROLLING_BACK and record.state is not State.ROLLING_BACK:
            if record.state is State.PROBATION:
                self._quarantine(record)
            record = records.blame(record, Code.INTERRUPTED, f"the agent ended in {record.state.value}")
            record = _rolled_back(record)
        _log.info("deployment resumed", extra=fields(record, "deployment_resumed", resumes_at=state.value))
        return self._kept(record, records.enter(record, state, self._now()) if state is not record.state else record)

    def _overruled(self, record: Deployment, state: State) -> Deployment:
        """Follow what is committed: the journal is an old one, and tells of what has long been done or undone."""
        if state is State.COMMITTED:
            entered = record.model_copy(update={"fulfilled_by": record.id, "code": "", "message": ""})
        else:
            message = "something else was committed since this deployment was planned: its journal is an old one"
            entered = records.blame(record, Code.INTERRUPTED, message)
        _log.error("journal overruled", extra=fields(record, "journal_overruled", ends_as=state.value))
        if state is not record.state:
            entered = records.enter(entered, state, self._now())
        return self._kept(record, entered)

    def _quarantine(self, record: Deployment) -> None:
        try:
            self._steps.quarantine(record)
        except AgentError as exc:
            _log.error("not quarantined", extra=fields(record, "quarantine_failed", reason=exc.message))

    def _step(self, record: Deployment) -> Deployment:
        """Do the work of one state; afterwards the state that follows is durable."""
        try:
            self._check(record)
            record = self._do(record)
            event = Event.DONE
        except AlreadyCurrent as exc:
            record, event = exc.record, Event.CONFIRMED
        except AgentError as exc:
            record, event = self._blamed(record, exc)
        except Stopping:
            self._pause(record)
        except Exception as exc:  # noqa: BLE001 - one of the three places of the design where this stands
            # The deployment fails, the process lives: a fault of ours must not stop the line.
            _log.exception("deployment step failed", extra=fields(record, "deployment_fault"))
            message = f"{type(exc).__name__}: {exc}"
            record, event = records.blame(self._latest(record), Code.INTERNAL, message), Event.BROKE
        if event is Event.DONE and record.state in ENDS:
            return self._end(record)
        return self._enter(record, event)

    def _do(self, record: Deployment) -> Deployment:
        if record.fulfilled_by:
            # The end of another deployment has done all of it.
            return record
        return self._steps.run(record, self._work(record))

    def _blamed(self, record: Deployment, exc: AgentError) -> tuple[Deployment, Event]:
        if isinstance(exc, CancelledError):
            if self._desk.stopping:
                self._pause(record)
            exc = self._desk.why_given_up() or exc
        return records.blame(self._latest(record), exc.code, exc.message), _event_of(exc)

    def _pause(self, record: Deployment) -> NoReturn:
        try:
            self._ledger.write(self._latest(record).model_copy(update={"paused": True}))
        except StorageError as exc:
            _log.warning("pause not noted", extra=fields(record, "pause_not_noted", reason=exc.message))
        raise Stopping

    def _latest(self, record: Deployment) -> Deployment:
        """Return the record with what its step told meanwhile: bytes that came, time under watch."""
        told = self._desk.running()
        return told if told is not None and (told.id, told.state) == (record.id, record.state) else record

    def _check(self, record: Deployment) -> None:
        if states.TABLE[record.state].on_cancel is None:
            return
        self._desk.check(record)
        if self._now() > record.deadline or self._steady() > self._over_at:
            raise DeploymentError(Code.DEADLINE_EXCEEDED, "the deployment did not end before its deadline")

    def _work(self, record: Deployment) -> Work:
        def wait(seconds: float) -> None:
            self._desk.wait(seconds)
            self._check(record)
            self._ledger.tell_cloud(self._latest(record))

        return Work(
            wait=wait,
            cancelled=lambda: self._desk.disturbed,
            progress=self._ledger.tell,
            keep=self._ledger.keep,
            jitter=self._jitter,
        )

    def _enter(self, record: Deployment, event: Event) -> Deployment:
        state = states.advance(record.state, event, record.operation)
        if state is State.ROLLING_BACK:
            record = _rolled_back(record)
        if state in UNDOING:
            # In the same write as the state that undoes it, so that the job is never taken for one more rollback.
            record = record.model_copy(update={"superseded_by": record.superseded_by or self._desk.superseder()})
        entered = records.enter(record, state, self._now())
        _log.info("deployment state", extra=fields(entered, "deployment_state"))
        return self._kept(record, entered)

    def _kept(self, before: Deployment, entered: Deployment) -> Deployment:
        """Return the record in the state it entered; a state that is not durable is not worked on, but undone."""
        try:
            return self._ledger.keep(entered)
        except StorageError as exc:
            _log.error("state not durable", extra=fields(entered, "state_not_durable", reason=exc.message))
            # What undoes is entered all the same: what stands on disk leads there again.
            if entered.state not in UNDOING and entered.state is not before.state:
                return self._enter(records.blame(before, exc.code, exc.message), Event.BROKE)
        self._ledger.tell_unwritten(entered)
        return entered

    def _end(self, record: Deployment) -> Deployment:
        try:
            self._steps.clean_up(record)
        except AgentError as exc:
            _log.warning("clean-up failed", extra=fields(record, "clean_up_failed", reason=exc.message))
        if record.state is not State.COMMITTED:
            # A commit that failed may yet be visible, and a restart would serve it.
            self._ledger.insist(record, lambda: self._steps.take_back(record))
        ended = self._ledger.end(record)
        self._desk.answer(ended)
        return ended


def _rolled_back(record: Deployment) -> Deployment:
    if record.code in _SAY_IT_ALL:
        return record
    message = f"{record.code}: {record.message}"
    return record.model_copy(update={"code": Code.ROLLED_BACK.value, "message": message})


def _event_of(exc: AgentError) -> Event:
    if isinstance(exc, RefusedError):
        return Event.REFUSED
    # A newer order took its place: the job failed, since nobody in the cloud took it back.
    if isinstance(exc, CancelledError) and exc.code is not Code.SUPERSEDED:
        return Event.CANCELLED
    return Event.BROKE
