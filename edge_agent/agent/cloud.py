"""Between jobs and deployments: what the cloud asks becomes orders, records become reports."""

import time
from collections.abc import Callable

from edge_agent.deployment.deployer import Deployer
from edge_agent.deployment.orders import JobOrder
from edge_agent.deployment.record import Deployment, status_details
from edge_agent.deployment.states import TABLE, State
from edge_agent.jobs import Connection, Event, JobGone, JobOffered, JobReported, JobsClient, Reportable

_STATUSES: dict[State, Reportable] = {State.COMMITTED: "SUCCEEDED", State.REFUSED: "REJECTED"}
_MARGIN_MINUTES = 10
# AWS Jobs: stepTimeoutInMinutes is 1 to 10080.
_LIMIT_MINUTES = 10_080
_PROGRESS_INTERVAL_S = 3.0


class CloudReporter:
    """Reports records; within one state only now and then."""

    def __init__(self, jobs: Callable[[], JobsClient | None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._clock = clock
        self._last: tuple[str, State] | None = None
        self._told_at = 0.0

    def __call__(self, record: Deployment, *, final: bool) -> None:
        """Report where the record stands; durable before this returns."""
        jobs = self._jobs()
        if jobs is None:
            return
        if final:
            jobs.report(record.job_id, _STATUSES.get(record.outcome, "FAILED"), status_details(record))
        elif self._is_news(record):
            limit_minutes = int(TABLE[record.state].limit_s / 60) + _MARGIN_MINUTES
            jobs.report(
                record.job_id,
                "IN_PROGRESS",
                status_details(record),
                step_timeout_minutes=min(limit_minutes, _LIMIT_MINUTES),
            )

    def _is_news(self, record: Deployment) -> bool:
        now, what = self._clock(), (record.id, record.state)
        if what == self._last and now - self._told_at < _PROGRESS_INTERVAL_S:
            return False
        self._last, self._told_at = what, now
        return True


def hand_over(deployer: Deployer, connected: Callable[[bool], None]) -> Callable[[Event], None]:
    """Return what the jobs room calls with its events; it only hands over."""

    def take(event: Event) -> None:
        if isinstance(event, JobOffered):
            deployer.offer(JobOrder(event.job_id, event.execution_number, event.document, event.queued_at))
        elif isinstance(event, JobGone):
            deployer.cancel(event.job_id, event.reason)
        elif isinstance(event, JobReported):
            deployer.reported(event.job_id)
        elif isinstance(event, Connection):
            connected(event.connected)

    return take
