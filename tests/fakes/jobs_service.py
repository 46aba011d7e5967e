"""AWS IoT Jobs, device side, in memory: a message in, the messages it causes out.

It keeps jobs and executions for any number of things and holds to the rules that
the contract suite checks on the local AWS as well: queue order, versions, the codes
of rejections, and which notification follows what.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PENDING = ("QUEUED", "IN_PROGRESS")
TERMINAL = ("SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED")
SETTABLE = ("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")


class Publication(NamedTuple):
    """A message that the service sends."""

    topic: str
    payload: bytes


@dataclass
class Execution:
    """One thing's execution of one job."""

    job_id: str
    thing: str
    document: Any
    order: int
    queued_at: int
    updated_at: int
    status: str = "QUEUED"
    version: int = 1
    number: int = 1
    started_at: int | None = None
    details: dict[str, str] | None = None
    step_timeout_minutes: int | None = None
    timeout_from: int = 0
    history: list[str] = field(default_factory=list)

    def become(self, status: str, now: int) -> None:
        self.status, self.updated_at = status, now
        self.version += 1
        self.history.append(status)

    def summary(self) -> dict[str, Any]:
        told = {"jobId": self.job_id, "queuedAt": self.queued_at, "lastUpdatedAt": self.updated_at}
        if self.started_at is not None:
            told["startedAt"] = self.started_at
        return told | {"executionNumber": self.number, "versionNumber": self.version}

    def view(self, *, with_document: bool = True) -> dict[str, Any]:
        told = self.summary() | {"status": self.status}
        if self.details is not None:
            told["statusDetails"] = self.details
        return told | ({"jobDocument": self.document} if with_document else {})

    def state(self) -> dict[str, Any]:
        details = {} if self.details is None else {"statusDetails": self.details}
        return {"status": self.status, **details, "versionNumber": self.version}


class RejectedError(Exception):
    """The request is turned away."""

    def __init__(self, code: str, message: str, execution: Execution | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.execution = execution


class JobsService:
    """All jobs of all things.

    Args:
        now: epoch seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = lambda: int(now())
        self._order = 0
        self.executions: dict[tuple[str, str], Execution] = {}

    # what the cloud's operator does

    def create_job(self, job_id: str, document: Any, *things: str) -> list[Publication]:
        told: list[Publication] = []
        for thing in things:
            with_front = self._front(thing)
            self._order += 1
            now = self._now()
            self.executions[thing, job_id] = Execution(job_id, thing, document, self._order, now, now)
            told += self._notify(thing, with_front)
        return told

    def cancel_job(self, job_id: str, *, force: bool = False) -> list[Publication]:
        told: list[Publication] = []
        for execution in [e for e in self.executions.values() if e.job_id == job_id]:
            if execution.status == "QUEUED" or (force and execution.status == "IN_PROGRESS"):
                told += self._end(execution, "CANCELED")
        return told

    def time_out(self, thing: str, job_id: str) -> list[Publication]:
        return self._end(self.executions[thing, job_id], "TIMED_OUT")

    def expire(self) -> list[Publication]:
        """End every execution whose own step time-out has passed."""
        told: list[Publication] = []
        for execution in tuple(self.executions.values()):
            minutes = execution.step_timeout_minutes
            if execution.status == "IN_PROGRESS" and minutes and self._now() - execution.timeout_from > minutes * 60:
                told += self._end(execution, "TIMED_OUT")
        return told

    def delete_job(self, job_id: str) -> list[Publication]:
        told: list[Publication] = []
        for key in [key for key in self.executions if key[1] == job_id]:
            told += self._delete(*key)
        return told

    # what the device asks

    def handle(self, topic: str, payload: bytes) -> list[Publication]:
        """Return what the service sends because of a message; nothing for one that is not a request."""
        match topic.split("/"):
            case ["$aws", "things", thing, "jobs", ("get" | "start-next") as verb]:
                words = (thing, verb, "")
            case ["$aws", "things", thing, "jobs", job_id, ("get" | "update") as verb] if job_id != "get":
                words = (thing, f"job-{verb}", job_id)
            case _:
                return []
        return list(self._answer(topic, payload, *words))

    def _answer(self, topic: str, payload: bytes, thing: str, verb: str, job_id: str) -> Iterator[Publication]:
        front = self._front(thing)
        token: dict[str, Any] = {}
        try:
            request = _request(payload)
            token = {"clientToken": request["clientToken"]} if "clientToken" in request else {}
            answer = self._act(thing, verb, job_id, request)
        except RejectedError as exc:
            state = {"executionState": exc.execution.state()} if exc.execution else {}
            rejected = token | {"timestamp": self._now()} | state | {"code": exc.code, "message": exc.message}
            yield _publication(f"{topic}/rejected", rejected)
            return
        yield _publication(f"{topic}/accepted", token | {"timestamp": self._now()} | answer)
        if verb == "job-update" and request["status"] in TERMINAL:
            yield from self._notify(thing, front)

    def _act(self, thing: str, verb: str, job_id: str, request: dict[str, Any]) -> dict[str, Any]:
        if verb == "get":
            pending = self._pending(thing)
            return {
                "inProgressJobs": [e.summary() for e in pending if e.status == "IN_PROGRESS"][:10],
                "queuedJobs": [e.summary() for e in pending if e.status == "QUEUED"][:10],
            }
        if verb == "start-next":
            return self._start_next(thing, request)
        if verb == "job-get":
            return self._describe(thing, job_id, request)
        return self._update(thing, job_id, request)

    def _start_next(self, thing: str, request: dict[str, Any]) -> dict[str, Any]:
        pending = self._pending(thing)
        if not pending:
            return {}
        execution = pending[0]
        if execution.status == "QUEUED":
            execution.become("IN_PROGRESS", self._now())
            execution.started_at = self._now()
            execution.details = request.get("statusDetails", execution.details)
        return {"execution": execution.view()}

    def _describe(self, thing: str, job_id: str, request: dict[str, Any]) -> dict[str, Any]:
        if job_id == "$next":
            pending = self._pending(thing)
            return {"execution": pending[0].view()} if pending else {}
        execution = self._find(thing, job_id, request)
        if execution.status in TERMINAL:
            raise RejectedError("TerminalStateReached", "Job Execution has reached terminal state.")
        return {"execution": execution.view(with_document=request.get("includeJobDocument", True))}

    def _update(self, thing: str, job_id: str, request: dict[str, Any]) -> dict[str, Any]:
        status, details = request.get("status"), request.get("statusDetails")
        if details is not None and not _details_fit(details):
            raise RejectedError("InvalidRequest", "statusDetails must be a map of non-empty strings")
        if status not in (*PENDING, *TERMINAL):
            raise RejectedError("InvalidRequest", f"Invalid job execution status: {status!r}")
        if status not in SETTABLE:
            raise RejectedError("InvalidStateTransition", f"The status cannot be changed to be {status}")
        execution = self._find(thing, job_id, request)
        expected = request.get("expectedVersion")
        if expected is not None and int(expected) != execution.version:
            message = f"Expected version {expected} but found version {execution.version}"
            raise RejectedError("VersionMismatch", message, execution)
        if execution.status in TERMINAL:
            raise RejectedError("InvalidStateTransition", f"already finished as {execution.status}", execution)
        self._apply(execution, status, request)
        state = {"executionState": execution.state()} if request.get("includeJobExecutionState") else {}
        return state | ({"jobDocument": execution.document} if request.get("includeJobDocument") else {})

    def _apply(self, execution: Execution, status: str, request: dict[str, Any]) -> None:
        execution.become(status, self._now())
        execution.details = request.get("statusDetails", execution.details)
        if status != "REJECTED" and execution.started_at is None:
            execution.started_at = self._now()
        minutes = request.get("stepTimeoutInMinutes")
        if status == "IN_PROGRESS" and minutes is not None:
            execution.step_timeout_minutes = None if minutes == -1 else minutes
            execution.timeout_from = self._now()

    # shared

    def _find(self, thing: str, job_id: str, request: dict[str, Any]) -> Execution:
        execution = self.executions.get((thing, job_id))
        if execution is None or request.get("executionNumber", execution.number) != execution.number:
            raise RejectedError("ResourceNotFound", f"Job {job_id} not found for {thing}")
        return execution

    def _pending(self, thing: str) -> list[Execution]:
        mine = [e for e in self.executions.values() if e.thing == thing and e.status in PENDING]
        return sorted(mine, key=lambda execution: execution.order)

    def _front(self, thing: str) -> str:
        return next((execution.job_id for execution in self._pending(thing)), "")

    def _end(self, execution: Execution, status: str) -> list[Publication]:
        front = self._front(execution.thing)
        execution.become(status, self._now())
        return self._notify(execution.thing, front)

    def _delete(self, thing: str, job_id: str) -> list[Publication]:
        front = self._front(thing)
        execution = self.executions.pop((thing, job_id))
        return self._notify(thing, front) if execution.status in PENDING else []

    def _notify(self, thing: str, front_before: str) -> list[Publication]:
        pending = self._pending(thing)
        lists: dict[str, list[dict[str, Any]]] = {}
        for execution in pending:
            lists.setdefault(execution.status, []).append(execution.summary())
        topic = f"$aws/things/{thing}/jobs/notify"
        told = [_publication(topic, {"timestamp": self._now(), "jobs": lists})]
        if self._front(thing) != front_before:
            execution_key = {"execution": pending[0].view()} if pending else {}
            told.append(_publication(f"{topic}-next", {"timestamp": self._now()} | execution_key))
        return told


def _request(payload: bytes) -> dict[str, Any]:
    try:
        request = json.loads(payload) if payload else {}
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise RejectedError("InvalidJson", "The contents of the request could not be interpreted as valid JSON")
    return request


def _details_fit(details: Any) -> bool:
    if not isinstance(details, dict) or len(details) > 10:
        return False
    return all(isinstance(value, str) and 1 <= len(value) <= 1024 and value.isprintable() for value in details.values())


def _publication(topic: str, document: dict[str, Any]) -> Publication:
    return Publication(topic, json.dumps(document).encode())
