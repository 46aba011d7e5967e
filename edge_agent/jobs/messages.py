"""What is said about jobs: to the service, by the service, and to the rest of the agent.

Documents of the service are read leniently (it may add fields) and checked
where this agent relies on them. Not done here: deciding, see ``session``.
"""

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edge_agent.errors import Code, JobsError

Reportable = Literal["IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"]
REPORTABLE: Final = ("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")
TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED"})

# AWS IoT: a message has at most 128 KiB.
LIMIT_PAYLOAD_BYTES: Final = 128 * 1024
# AWS Jobs: statusDetails has at most 10 pairs; keys have 1 to 128 characters, values 1 to 1024, none of them control.
LIMIT_DETAILS: Final = 10
LIMIT_KEY: Final = 128
LIMIT_VALUE: Final = 1024
STEP_TIMEOUT_MINUTES: Final = range(1, 10_081)
JOB_ID_PATTERN: Final = r"^[a-zA-Z0-9_-]{1,64}$"


class JobOffered(NamedTuple):
    """A job execution is this device's to work on; after a restart the same one is offered again."""

    job_id: str
    document: dict[str, Any]
    """As it was sent; empty when it was no JSON object."""
    status: Literal["QUEUED", "IN_PROGRESS"]
    version_number: int
    execution_number: int
    details: dict[str, str]
    """The status details last reported for it."""
    queued_at: int = 0
    """Epoch seconds; with the execution number it tells this job from an earlier one of its id."""


class JobGone(NamedTuple):
    """The execution is no longer this device's: cancelled, timed out, removed, or ended by someone else."""

    job_id: str
    reason: str
    """The service's word for it: CANCELED, TIMED_OUT, TerminalStateReached, ResourceNotFound, …"""


class JobReported(NamedTuple):
    """A terminal report is settled: the service took it, or will never take it."""

    job_id: str
    status: str
    accepted: bool
    code: str
    """Why not, in the service's word; empty when accepted."""


class QueuedJob(NamedTuple):
    """A job that waits behind the one in work."""

    job_id: str
    document: dict[str, Any]
    execution_number: int
    version_number: int
    queued_at: int = 0
    """Epoch seconds; with the execution number it tells this job from an earlier one of its id."""


class JobsQueued(NamedTuple):
    """The queue behind the job in work is now this, the oldest first; at most ten are seen."""

    jobs: tuple[QueuedJob, ...]


class Connection(NamedTuple):
    """The connection to the service came or went."""

    connected: bool
    reason: str


Event = JobOffered | JobGone | JobReported | JobsQueued | Connection


class Identity(NamedTuple):
    """Which execution: job ids can be used again after a deletion, so the time of queueing belongs to it."""

    job_id: str
    execution_number: int
    queued_at: int
    """Epoch seconds."""


class Report(NamedTuple):
    """A report of this device that waits in the outbox."""

    id: int
    job_id: str
    status: Reportable
    details: dict[str, str]
    step_timeout_minutes: int | None
    execution: Identity | None
    """None when the device never saw the execution it reports on."""

    @property
    def terminal(self) -> bool:
        """Whether the execution ends with it."""
        return self.status in TERMINAL


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Summary(_Message):
    """One entry of a list of pending executions."""

    job_id: str = Field(alias="jobId", pattern=JOB_ID_PATTERN)
    version_number: int = Field(alias="versionNumber", ge=0)
    execution_number: int = Field(1, alias="executionNumber", ge=0)
    queued_at: int = Field(0, alias="queuedAt")


class Execution(Summary):
    """One execution as the service describes it."""

    status: str
    details: dict[str, str] = Field(default_factory=dict, alias="statusDetails")
    document: dict[str, Any] = Field(default_factory=dict, alias="jobDocument")

    @field_validator("document", mode="before")
    @classmethod
    def _object(cls, value: object) -> object:
        # A job whose document is no object must still be offered, to be refused: ignored, it would block the queue.
        return value if isinstance(value, dict) else {}

    @property
    def identity(self) -> Identity:
        """Which execution it is."""
        return Identity(self.job_id, self.execution_number, self.queued_at)


class State(_Message):
    """How an execution stands, as it comes with answers to updates."""

    status: str
    version_number: int = Field(alias="versionNumber", ge=0)
    details: dict[str, str] = Field(default_factory=dict, alias="statusDetails")


class Accepted(_Message):
    """Any accepted answer; what was not asked for is empty."""

    client_token: str = Field("", alias="clientToken")
    execution: Execution | None = None
    execution_state: State | None = Field(None, alias="executionState")
    in_progress: tuple[Summary, ...] = Field((), alias="inProgressJobs")
    queued: tuple[Summary, ...] = Field((), alias="queuedJobs")


class Rejected(_Message):
    """Any rejected answer."""

    client_token: str = Field("", alias="clientToken")
    code: str
    message: str = ""
    execution_state: State | None = Field(None, alias="executionState")


class Notice(_Message):
    """A notification; it only says that it is time to ask."""

    execution: Execution | None = None


def compose(**fields: Any) -> bytes:
    """Return a request's payload; fields that are None are left out."""
    return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()


def compose_update(report: Report, *, expected_version: int | None, token: str, bare: bool = False) -> bytes:
    """Return the update that tells ``report``; ``bare`` leaves the details out."""
    started = report.status == "IN_PROGRESS"
    return compose(
        status=report.status,
        statusDetails=None if bare else report.details or None,
        expectedVersion=expected_version,
        executionNumber=report.execution.execution_number if report.execution else None,
        stepTimeoutInMinutes=report.step_timeout_minutes if started else None,
        includeJobExecutionState=True,
        clientToken=token,
    )


def check_report(job_id: str, status: str, details: Mapping[str, str], step_timeout_minutes: int | None) -> None:
    """Check what a caller wants to report.

    Raises:
        JobsError: (permanent) the job id is empty, the status is not one that a device
            may set, a detail is not text, or the step's time-out is out of range.
    """
    fault = ""
    if not job_id:
        fault = "expected a job id, came nothing"
    elif status not in REPORTABLE:
        fault = f"expected a status of {', '.join(REPORTABLE)}, came {status!r}"
    elif not all(isinstance(part, str) for pair in details.items() for part in pair):
        fault = "expected details of text to text"
    elif step_timeout_minutes is not None and step_timeout_minutes not in STEP_TIMEOUT_MINUTES:
        fault = f"expected a step time-out of 1 to 10080 minutes, came {step_timeout_minutes!r}"
    if fault:
        raise JobsError(Code.INVALID_ARGUMENT, f"report on job {job_id!r}: {fault}", permanent=True)


def clean_details(details: Mapping[str, str]) -> dict[str, str]:
    """Return ``details`` as the service takes them: the first ten, shortened, without control characters."""
    cleaned: dict[str, str] = {}
    for key, value in details.items():
        name, text = _clean_key(key), _clean_value(value)
        if name and text and len(cleaned) < LIMIT_DETAILS:
            cleaned.setdefault(name, text)
    return cleaned


def _clean_key(key: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in ":_-") else "_" for c in key)[:LIMIT_KEY]


def _clean_value(value: str) -> str:
    # AWS Jobs: [^\p{C}]+, so unassigned, private and lone-surrogate characters count as control characters too.
    text = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in value).strip()
    if _units(text) <= LIMIT_VALUE:
        return text
    text = text[:LIMIT_VALUE]
    while _units(text) >= LIMIT_VALUE:
        text = text[:-1]
    return text + "…"


def _units(text: str) -> int:
    # The service counts UTF-16 code units.
    return len(text.encode("utf-16-le")) // 2
