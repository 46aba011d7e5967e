"""Creates, cancels and reads AWS IoT jobs whose document is ours."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.rollout.targets import find_targets
from edge_agent.errors import Code
from edge_agent.formats import JobDocument, JobModel, ModelVersion, parse
from edge_agent.formats.job_document import SCHEMA

_JOB_ID_LIMIT = 64  # AWS IoT Jobs: jobId is [a-zA-Z0-9_-]{1,64}
_SERVICE = "iot"

# AWS IoT Jobs' words for an execution that will not change any more.
SUCCEEDED = "SUCCEEDED"
ENDED = frozenset({SUCCEEDED, "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"})
JOB_ENDED = frozenset({"COMPLETED", "CANCELED"})


class Job(NamedTuple):
    """A job that was created."""

    job_id: str
    targets: tuple[str, ...]


class Execution(NamedTuple):
    """What one device made of a job; ``step``, ``code``, ``message`` are its own words."""

    thing: str
    status: str
    step: str = ""
    code: str = ""
    message: str = ""


class JobStatus(NamedTuple):
    """A job and all its executions, by thing."""

    job_id: str
    status: str
    executions: tuple[Execution, ...]

    @property
    def ended(self) -> bool:
        """Tell whether nothing will change any more."""
        if self.status in JOB_ENDED:
            return all(execution.status in ENDED for execution in self.executions)
        return False

    def to_document(self) -> dict[str, Any]:
        """Return it as ``status --json`` prints it."""
        executions = [execution._asdict() for execution in self.executions]
        return {"job_id": self.job_id, "status": self.status, "executions": executions}


def pairs(words: Sequence[str]) -> list[dict[str, str]]:
    """Return ``MODEL VERSION MODEL VERSION…`` as a job document's models.

    Raises:
        CloudError: a version is missing.
    """
    if not words or len(words) % 2:
        raise CloudError(Code.INVALID_ARGUMENT, f"expected MODEL VERSION [MODEL VERSION…], came {' '.join(words)!r}")
    return [{"name": name, "version": version} for name, version in zip(words[::2], words[1::2], strict=True)]


def form_document(
    operation: str, models: Sequence[Mapping[str, object]], policy: dict[str, Any] | None = None
) -> JobDocument:
    """Return a validated job document.

    Raises:
        DocumentError: a field is wrong; the message names it.
    """
    content = {"schema": SCHEMA, "operation": operation, "models": list(models), "policy": policy or {}}
    return parse(JobDocument, content, what="job")


def create_job(aws: Aws, document: JobDocument, to: Sequence[str], *, job_id: str = "") -> Job:
    """Ask all targets for what ``document`` says.

    Args:
        aws: the account.
        document: as ``form_document`` returns it.
        to: ``thing/NAME`` or ``group/NAME``.
        job_id: the job's name; empty: one that says what it is for.

    Raises:
        CloudError: a target is not there, or AWS refused.
    """
    arns = find_targets(aws, to)
    job_id = job_id or _name(document)
    aws.call(
        _SERVICE,
        "create_job",
        jobId=job_id,
        targets=arns,
        document=document.to_json().decode().strip(),
        description=describe_document(document),
        targetSelection="SNAPSHOT",
    )
    return Job(job_id, tuple(dict.fromkeys(to)))


def ask_once(aws: Aws, release: ModelVersion, to: Sequence[str], job_id: str) -> None:
    """Ask all targets to install a release; a job of this name that is there already has done so.

    Raises:
        CloudError: a target is not there, or AWS refused.
    """
    document = form_document("install", [release._asdict()])
    try:
        create_job(aws, document, to, job_id=job_id)
    except CloudError as exc:
        if exc.code is not Code.ALREADY_EXISTS:
            raise


def cancel_job(aws: Aws, job_id: str, *, force: bool = False, comment: str = "") -> None:
    """Take a job back; with ``force`` also from devices that work on it.

    Raises:
        CloudError: NOT_FOUND, or the job has ended already.
    """
    status = aws.call(_SERVICE, "describe_job", jobId=job_id)["job"]["status"]
    if status in JOB_ENDED:
        raise CloudError(Code.FAILED_PRECONDITION, f"job {job_id}: expected one that runs, it is {status}")
    said = {"comment": comment} if comment else {}
    aws.call(_SERVICE, "cancel_job", jobId=job_id, force=force, **said)


def read_status(aws: Aws, job_id: str, *, known: JobStatus | None = None) -> JobStatus:
    """Return the job with all its executions.

    Args:
        aws: the account.
        job_id: the job.
        known: an earlier answer; executions that had ended there are not asked for again.

    Raises:
        CloudError: NOT_FOUND.
    """
    # The job first: if it is complete, the executions read after it have ended too.
    status = str(aws.call(_SERVICE, "describe_job", jobId=job_id)["job"]["status"])
    ended = {one.thing: one for one in (known.executions if known else ()) if one.status in ENDED}
    executions = (ended.get(one.thing) or _in_words(aws, job_id, one) for one in read_executions(aws, job_id))
    return JobStatus(job_id, status, tuple(executions))


def read_executions(aws: Aws, job_id: str) -> list[Execution]:
    """Return all executions of a job by thing, without the devices' own words: one call for each 250.

    Raises:
        CloudError: NOT_FOUND.
    """
    summaries = aws.pages(_SERVICE, "list_job_executions_for_job", "executionSummaries", jobId=job_id, maxResults=250)
    # Of a device that was asked again by AWS the newest number holds.
    numbered = sorted(summaries, key=lambda one: int(one["jobExecutionSummary"].get("executionNumber", 1)))
    newest = {str(one["thingArn"]).rpartition("/")[2]: one["jobExecutionSummary"]["status"] for one in numbered}
    return [Execution(thing, str(status)) for thing, status in sorted(newest.items())]


def list_jobs(aws: Aws, limit: int) -> list[dict[str, str]]:
    """Return the newest jobs, at most ``limit``."""
    found = aws.pages(_SERVICE, "list_jobs", "jobs")
    newest = sorted(found, key=lambda job: job["createdAt"], reverse=True)[:limit]
    return [
        {"job_id": job["jobId"], "status": job["status"], "created": job["createdAt"].isoformat()} for job in newest
    ]


def _in_words(aws: Aws, job_id: str, execution: Execution) -> Execution:
    """Return an execution with the device's words; one that waits has said none yet."""
    return execution if execution.status == "QUEUED" else read_execution(aws, job_id, execution.thing)


def read_execution(aws: Aws, job_id: str, thing: str) -> Execution:
    """Return what one device made of a job, in its own words.

    Raises:
        CloudError: NOT_FOUND.
    """
    found = aws.call(_SERVICE, "describe_job_execution", jobId=job_id, thingName=thing)["execution"]
    details = found.get("statusDetails", {}).get("detailsMap", {})
    words = (str(details.get(key, "")) for key in ("step", "code", "message"))
    return Execution(thing, str(found["status"]), *words)


def _name(document: JobDocument) -> str:
    model = document.models[0]
    # To a person the name should say enough; the rest makes it the only one.
    what = ModelVersion(model.name, model.version).identifier if model.version else model.name
    when = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    rest = f"-{when}-{secrets.token_hex(2)}"
    return f"{document.operation}-{what}"[: _JOB_ID_LIMIT - len(rest)] + rest


def describe_document(document: JobDocument) -> str:
    """Return what a document asks for, in words."""
    models = ", ".join(_words(document, model) for model in document.models)
    return f"{document.operation} {models}"[:2028]  # AWS IoT Jobs: description is at most 2,028 characters


def _words(document: JobDocument, model: JobModel) -> str:
    if document.operation == "configure":
        threshold = "as signed" if model.threshold is None else f"{model.threshold:g}"
        return f"{model.name} threshold {threshold}"
    if document.operation == "rollback":
        return f"{model.name} {model.version or 'to its previous version'}"
    return f"{model.name} {model.version or ''}".strip()
