"""Follows a job to its end, and says what the end means for an exit code."""

from collections.abc import Callable, Iterator

from cloud_tools.errors import CloudError, Exit
from cloud_tools.rollout.jobs import SUCCEEDED, JobStatus
from edge_agent.errors import Code


def follow(
    read: Callable[[JobStatus | None], JobStatus],
    *,
    wait: Callable[[float], None],
    clock: Callable[[], float],
    interval_s: float,
    timeout_s: float,
) -> Iterator[JobStatus]:
    """Yield the job's status now and at every change, until it has ended.

    Args:
        read: asks for the status, given the last answer.
        wait: waits for so many seconds.
        clock: monotonic seconds.
        interval_s: time between two questions.
        timeout_s: patience; 0: without end.

    Raises:
        CloudError: DEADLINE_EXCEEDED when patience ends first; the job goes on.
    """
    limit = clock() + timeout_s
    status: JobStatus | None = None
    while status is None or not status.ended:
        if status is not None:
            if timeout_s and clock() >= limit:
                raise CloudError(
                    Code.DEADLINE_EXCEEDED, f"job {status.job_id} has not ended within {timeout_s:g} s; it goes on"
                )
            wait(interval_s)
        latest = read(status)
        if latest != status:
            yield latest
        status = latest


def judge(status: JobStatus) -> Exit:
    """Return the exit code that a job's end means."""
    words = [execution.status for execution in status.executions]
    good = words.count(SUCCEEDED)
    if words and good == len(words) and status.status == "COMPLETED":
        return Exit.OK
    if good:
        return Exit.PARTLY_FAILED
    return Exit.TIMED_OUT if words and set(words) == {"TIMED_OUT"} else Exit.FAILED
