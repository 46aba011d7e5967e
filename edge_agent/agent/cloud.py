"""Between jobs and deployments: what the cloud asks becomes orders, records become reports."""

import logging
import time
from collections.abc import Callable

from edge_agent.deployment.deployer import Deployer
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.orders import JobOrder
from edge_agent.deployment.record import Deployment, status_details
from edge_agent.deployment.states import TABLE, State
from edge_agent.jobs import (
    Connection,
    Event,
    JobGone,
    JobOffered,
    JobReported,
    JobsClient,
    JobsQueued,
    QueuedJob,
    Reportable,
)

_log = logging.getLogger(__name__)

_STATUSES: dict[State, Reportable] = {State.COMMITTED: "SUCCEEDED", State.REFUSED: "REJECTED"}
_MARGIN_MINUTES = 10
# AWS Jobs: stepTimeoutInMinutes is 1 to 10080.
_LIMIT_MINUTES = 10_080
_PROGRESS_INTERVAL_S = 3.0


class CloudReporter:
    """Reports records: every state, news within one now and then, and without news before the step times out."""

    def __init__(self, jobs: Callable[[], JobsClient | None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._clock = clock
        self._last: tuple[str, State] | None = None
        self._told: dict[str, str] = {}
        self._told_at = 0.0

    def __call__(self, record: Deployment, *, final: bool) -> None:
        """Report where the record stands; durable before this returns."""
        jobs = self._jobs()
        if jobs is None:
            return
        details = status_details(record)
        if final:
            jobs.report(record.job_id, _STATUSES.get(record.outcome, "FAILED"), details)
        elif self._is_news(record, details):
            jobs.report(record.job_id, "IN_PROGRESS", details, step_timeout_minutes=step_timeout_minutes(record.state))

    def _is_news(self, record: Deployment, details: dict[str, str]) -> bool:
        now, what = self._clock(), (record.id, record.state)
        if what == self._last:
            # AWS Jobs: the timer is set anew by each update to IN_PROGRESS that names a time-out.
            renews_after_s = step_timeout_minutes(record.state) * 60 / 2
            silent_s = renews_after_s if details == self._told else _PROGRESS_INTERVAL_S
            if now - self._told_at < silent_s:
                return False
        self._last, self._told, self._told_at = what, details, now
        return True


def step_timeout_minutes(state: State) -> int:
    """Return after how long without a word the cloud may take a step for dead."""
    return min(int(TABLE[state].limit_s / 60) + _MARGIN_MINUTES, _LIMIT_MINUTES)


def hand_over(deployer: Deployer, connected: Callable[[bool], None]) -> Callable[[Event], None]:
    """Return what the jobs room calls with its events; it only hands over."""

    def take(event: Event) -> None:
        match event:
            case JobOffered():
                deployer.offer(JobOrder(event.job_id, event.execution_number, event.document, event.queued_at))
            case JobsQueued(jobs):
                deployer.look_at_queue([_order(job) for job in jobs])
            case JobGone():
                deployer.cancel(event.job_id, event.reason)
                _log.info("job gone", extra={"action": "job_gone", "job": event.job_id, "reason": event.reason})
            case JobReported():
                deployer.reported(event.job_id, "" if event.accepted else event.code)
            case Connection():
                connected(event.connected)

    return take


def catch_up(journal: Journal, jobs: JobsClient, deployer: Deployer) -> None:
    """Make good what an end of the agent came between: a job that is owed its turn, a record left unclosed.

    Raises:
        StorageError: the journal or the outbox could not be read.
    """
    owed = journal.owed()
    if owed:
        jobs.prefer(owed)
    for record in journal.unreported():
        # Of jobs that shared an id only the newest is known to the outbox.
        if record.job_id and journal.of_job(record.job_id) == record:
            refusal = jobs.settled(record.job_id, record.execution_number, record.queued_at)
            if refusal is not None:
                deployer.reported(record.job_id, refusal)


def _order(job: QueuedJob) -> JobOrder:
    return JobOrder(job.job_id, job.execution_number, job.document, job.queued_at)
