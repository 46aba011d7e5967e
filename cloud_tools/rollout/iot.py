"""The calls to AWS IoT that a rollout is made of. Each may be made twice without harm."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cloud_tools.aws import Aws, if_there
from cloud_tools.errors import CloudError
from cloud_tools.rollout.asked import is_ours, request
from cloud_tools.rollout.jobs import JOB_ENDED, Execution, Summary, read_execution, read_executions
from cloud_tools.rollout.seen import FAILURES, Seen, SeenJob, Shadow, Shadows
from cloud_tools.rollout.shadows import read_shadow
from cloud_tools.rollout.state import Part, RolloutState
from edge_agent.errors import Code


class Jobs(Protocol):
    """What a driver asks of the cloud."""

    def look(self, state: RolloutState, known: Seen) -> Seen:
        """Return the rollout's jobs as they are now; ``known`` is an earlier answer."""

    def create(self, state: RolloutState, part: Part) -> tuple[str, ...]:
        """Make a job unless it is there; return the things that are not there, and then none was made."""

    def cancel(self, job_id: str, comment: str, *, force: bool) -> None:
        """Take a job back, if it has not ended by itself."""

    def shadows(self, things: Sequence[str]) -> Shadows:
        """Return what these devices run, as their shadows say."""


class IotJobs:
    """AWS IoT jobs of one account.

    Args:
        aws: the account.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def look(self, state: RolloutState, known: Seen) -> dict[str, SeenJob]:
        """Return the rollout's jobs: one call for each and for each 250 devices, and one for each new failure.

        Raises:
            CloudError: ALREADY_EXISTS: somebody else's job has the id of one; or as ``Aws`` says.
        """
        found = ((part.job_id, self._look(state, part, known.get(part.job_id))) for part in state.all_parts())
        return {job_id: job for job_id, job in found if job is not None}

    def create(self, state: RolloutState, part: Part) -> tuple[str, ...]:
        """Make a job unless it is there; return the things that are not there, and then none was made.

        Raises:
            CloudError: as ``Aws`` says.
        """
        try:
            self._aws.call("iot", "create_job", **request(state, part))
        except CloudError as exc:
            # Whose job it is that is there already, the next look tells.
            if exc.code is Code.ALREADY_EXISTS:
                return ()
            # What is only too much or away now would not be answered a hundred times either.
            if exc.code is not Code.NOT_FOUND:
                raise
            gone = tuple(thing for thing in part.things if not self._is_there(thing))
            if not gone:
                raise
            return gone
        return ()

    def cancel(self, job_id: str, comment: str, *, force: bool) -> None:
        """Take a job back, if it has not ended by itself.

        Raises:
            CloudError: as ``Aws`` says.
        """
        # AWS IoT Jobs: comment is at most 2,028 characters without control characters.
        said = "".join(character for character in comment if character.isprintable())[:2028]
        try:
            self._aws.call("iot", "cancel_job", jobId=job_id, force=force, comment=said)
        except CloudError:
            if self._job(job_id)["status"] not in JOB_ENDED:
                raise

    def shadows(self, things: Sequence[str]) -> Shadows:
        """Return what these devices run, as their shadows say: one call for each.

        Raises:
            CloudError: as ``Aws`` says.
        """
        return {thing: found for thing in things if (found := self._shadow(thing)) is not None}

    def _shadow(self, thing: str) -> Shadow | None:
        answer = if_there(self._aws, "iot-data", "get_thing_shadow", thingName=thing)
        return read_shadow(answer["payload"].read()) if answer else None

    def _look(self, state: RolloutState, part: Part, known: SeenJob | None) -> SeenJob | None:
        if known and known.is_over:
            return known
        # The job first: if it has ended, what is read of its executions after it has ended too.
        try:
            job = self._job(part.job_id)
        except CloudError as exc:
            if exc.code is Code.NOT_FOUND:
                return None
            raise
        _check_ours(state, part, str(job.get("description", "")))
        before = known.executions if known else {}
        summaries = read_executions(self._aws, part.job_id)
        executions = {one.thing: self._execution(part.job_id, one, before) for one in summaries}
        changed = {one.thing: one.at for one in summaries}
        return SeenJob(str(job["status"]), str(job.get("comment", "")), executions, changed)

    def _execution(self, job_id: str, now: Summary, before: Mapping[str, Execution]) -> Execution:
        if now.status not in FAILURES:
            return Execution(now.thing, now.status)
        known = before.get(now.thing)
        return known if known and known.status == now.status else read_execution(self._aws, job_id, now.thing)

    def _job(self, job_id: str) -> Mapping[str, Any]:
        job: Mapping[str, Any] = self._aws.call("iot", "describe_job", jobId=job_id)["job"]
        return job

    def _is_there(self, thing: str) -> bool:
        return if_there(self._aws, "iot", "describe_thing", thingName=thing) is not None


def _check_ours(state: RolloutState, part: Part, description: str) -> None:
    if not is_ours(state, part, description):
        raise CloudError(
            Code.ALREADY_EXISTS,
            f"expected job {part.job_id} of rollout {state.name}, somebody else made one of that name: {description!r}",
        )
