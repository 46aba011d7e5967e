"""Two small tables of the session: reports by job, and the jobs that wait."""

from collections.abc import Iterable

from edge_agent.jobs.messages import Execution, QueuedJob, Report, Summary


class Reports:
    """Reports that are not settled, by job, the oldest first."""

    def __init__(self, reports: Iterable[Report]) -> None:
        self._of: dict[str, list[Report]] = {}
        for report in reports:
            self._of.setdefault(report.job_id, []).append(report)

    def add(self, report: Report, in_flight: Report | None) -> None:
        """Append a report; progress that was not sent yet gives way to it, since only the newest matters."""
        earlier = self._of.get(report.job_id, [])
        kept = [one for one in earlier if one.terminal or one is in_flight]
        self._of[report.job_id] = [*kept, report]

    def remove(self, report: Report) -> None:
        """Take a settled report out."""
        left = [one for one in self._of.get(report.job_id, ()) if one.id != report.id]
        if left:
            self._of[report.job_id] = left
        else:
            self._of.pop(report.job_id, None)

    def of(self, job_id: str) -> tuple[Report, ...]:
        """Return a job's reports, the oldest first."""
        return tuple(self._of.get(job_id, ()))

    def jobs(self) -> tuple[str, ...]:
        """Return the jobs that have reports."""
        return tuple(self._of)

    def ending(self, job_id: str) -> bool:
        """Return whether the job's terminal report is among them."""
        return any(report.terminal for report in self._of.get(job_id, ()))

    def any_ending(self) -> bool:
        """Return whether any terminal report waits."""
        return any(self.ending(job_id) for job_id in self._of)


class Backlog:
    """The jobs behind the one in work, in the service's order, with their documents."""

    def __init__(self) -> None:
        self._order: tuple[str, ...] = ()
        self._jobs: dict[str, QueuedJob] = {}
        self._told: tuple[QueuedJob, ...] = ()

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._order

    def __bool__(self) -> bool:
        return bool(self._order)

    def list(self, pending: dict[str, Summary]) -> list[str]:
        """Take in which jobs wait; return those whose document must be asked for."""
        self._order = tuple(pending)
        self._jobs = {job_id: job for job_id, job in self._jobs.items() if job_id in pending}
        numbers = {job_id: job.execution_number for job_id, job in self._jobs.items()}
        return [job_id for job_id, summary in pending.items() if numbers.get(job_id) != summary.execution_number]

    def describe(self, execution: Execution) -> None:
        """Take in the document of a job that waits."""
        self._jobs[execution.job_id] = QueuedJob(
            execution.job_id,
            execution.document,
            execution.execution_number,
            execution.version_number,
            execution.queued_at,
        )

    def leave(self, job_id: str) -> None:
        """The job waits no longer."""
        self._order = tuple(waiting for waiting in self._order if waiting != job_id)
        self._jobs.pop(job_id, None)

    def news(self) -> tuple[QueuedJob, ...] | None:
        """Return the queue when it is complete and not what was returned last; None otherwise."""
        if any(job_id not in self._jobs for job_id in self._order):
            return None
        jobs = tuple(self._jobs[job_id] for job_id in self._order)
        if jobs == self._told:
            return None
        self._told = jobs
        return jobs
