"""What is known of one deployment, and how that knowledge grows.

A record is immutable; every function here returns the next one. Times are epoch seconds.
"""

from collections.abc import Mapping

from pydantic import Field

from edge_agent.deployment.states import ENDS, State
from edge_agent.deployment.watching.watches import Beside, Watch
from edge_agent.errors import Code
from edge_agent.formats import (
    DeployedModel,
    DeploymentReport,
    Document,
    JobDocument,
    ModelVersion,
    Operation,
    Package,
    Policy,
    StateReport,
)

# AWS Jobs: a value of statusDetails has 1 to 1024 characters.
LIMIT_MESSAGE = 900


class Target(Document):
    """One model of the deployment: what answers now, and what shall."""

    name: str
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    manifest_sha256: str = ""
    release_seq: int = 0
    threshold: float | None = Field(None, description="what a configure sets; None: as it was signed")
    unsigned: bool = Field(default=False, description="out of a package that nobody signed")

    @property
    def version(self) -> ModelVersion:
        """Return what shall answer; known from the start for installs, from CHECKING on for rollbacks."""
        return ModelVersion(self.name, self.to or "")


class JobIdentity(Document):
    """Which execution of which job: ids can be used again, so the time of queueing belongs to it."""

    job_id: str
    execution_number: int = 0
    queued_at: int = 0


class Deployment(Document):
    """One deployment; the journal keeps it as JSON."""

    id: str
    job_id: str = ""
    execution_number: int = 0
    queued_at: int = 0
    operation: Operation
    targets: tuple[Target, ...]
    policy: Policy = Policy()
    state: State
    code: str = ""
    message: str = ""
    remark: str = Field("", description="what people should know of it while it goes well: what it waits for, and why")
    reason: str = ""
    actor: str = ""
    started: float
    deadline: float
    ended: float | None = None
    states: tuple[StateReport, ...] = ()
    shadow: Beside = Beside()
    probation: Watch = Watch()
    unclean_ends: int = 0
    paused: bool = Field(default=False, description="the agent was stopped in good order meanwhile")
    bytes_done: int = 0
    bytes_total: int = 0
    waits_for_window: bool = Field(default=False, description="in CHECKING; a rollback does not wait behind it")
    unload_first: bool = Field(default=False, description="memory holds one version only: no shadow, nothing warm")
    superseded_by: JobIdentity | None = Field(None, description="the rollback job that ended its watch")
    fulfilled_by: str = Field("", description="the deployment whose end did all that this one's job asks for")
    package: Package | None = Field(None, description="where it comes from, if nobody signed it")
    refusal: str = Field("", description="why the cloud will never take the last report")

    @property
    def job(self) -> JobIdentity:
        """Return which execution it works on."""
        return JobIdentity(job_id=self.job_id, execution_number=self.execution_number, queued_at=self.queued_at)

    @property
    def versions(self) -> tuple[ModelVersion, ...]:
        """Return what shall answer."""
        return tuple(target.version for target in self.targets)

    @property
    def sets_thresholds(self) -> bool:
        """Tell whether its targets' thresholds mean anything."""
        return self.operation == "configure"

    @property
    def told(self) -> str:
        """Return the remark as people read it."""
        unsigned = f"unsigned package {self.package}" if self.package else ""
        return "; ".join(filter(None, [unsigned, self.remark]))

    @property
    def outcome(self) -> State:
        """Return how it ended, or where it stands; a commit that is being undone is no end."""
        ends = [State(entry.state) for entry in self.states if entry.state in ENDS]
        return ends[-1] if ends and self.state is State.REPORTED else self.state


def begin(
    identity: str,
    document: JobDocument,
    *,
    now: float,
    deadline_s: float,
    job_id: str = "",
    execution_number: int = 0,
    queued_at: int = 0,
    reason: str = "",
    actor: str = "",
    package: Package | None = None,
) -> Deployment:
    """Return the record of an order just accepted."""
    limit_s = min(deadline_s, document.policy.deadline_s or deadline_s)
    return Deployment(
        id=identity,
        job_id=job_id,
        execution_number=execution_number,
        queued_at=queued_at,
        operation=document.operation,
        targets=tuple(
            Target(name=model.name, to=model.version, threshold=model.threshold) for model in document.models
        ),
        policy=document.policy,
        state=State.ACCEPTED,
        reason=reason,
        actor=actor,
        package=package,
        started=now,
        deadline=now + limit_s,
        states=(StateReport(state=State.ACCEPTED.value, at=now),),
    )


def time_left(record: Deployment, now: float) -> float:
    """Return the seconds that the deployment still has; never more than it was given, should the clock have jumped."""
    return min(record.deadline - now, record.deadline - record.started)


def enter(record: Deployment, state: State, now: float) -> Deployment:
    """Return the record as it enters ``state``; the state before gets its length."""
    *done, last = record.states
    closed = last.model_copy(update={"seconds": max(0.0, now - last.at)})
    return record.model_copy(
        update={
            "state": state,
            "states": (*done, closed, StateReport(state=state.value, at=now)),
        }
    )


def refused(
    identity: str, *, job_id: str, execution_number: int, queued_at: int, now: float, code: Code, message: str
) -> Deployment:
    """Return the record of a job whose document says nothing that could be begun."""
    return Deployment(
        id=identity,
        job_id=job_id,
        execution_number=execution_number,
        queued_at=queued_at,
        operation="install",
        targets=(),
        state=State.REFUSED,
        code=code.value,
        message=message[:LIMIT_MESSAGE],
        started=now,
        deadline=now,
        states=(StateReport(state=State.REFUSED.value, at=now),),
    )


def fulfilled(
    identity: str, ended: Deployment, *, job_id: str, execution_number: int, queued_at: int, now: float
) -> Deployment:
    """Return the record of a rollback job whose work the end of ``ended`` has done: what stood before it answers."""
    targets = tuple(target.model_copy(update={"from_": target.to, "to": target.from_}) for target in ended.targets)
    answers = ", ".join(f"{target.name} {target.to or 'none'}" for target in targets)
    return Deployment(
        id=identity,
        job_id=job_id,
        execution_number=execution_number,
        queued_at=queued_at,
        operation="rollback",
        targets=targets,
        state=State.COMMITTED,
        remark=f"done by the end of deployment {ended.id}; what answers: {answers}"[:LIMIT_MESSAGE],
        started=now,
        deadline=now,
        states=(StateReport(state=State.COMMITTED.value, at=now),),
        fulfilled_by=ended.id,
    )


def postponed(record: Deployment, now: float) -> Deployment:
    """Return an accepted record whose turn comes now; the time it waited for others is not its own."""
    return record.model_copy(update={"started": now, "deadline": now + record.deadline - record.started})


def reported(record: Deployment, now: float, refusal: str = "") -> Deployment:
    """Return the record with the cloud through with its last report; ``refusal``: why it did not take it."""
    said = f"{Code.UPDATE_REJECTED.value}: {refusal}" if refusal else ""
    return enter(record, State.REPORTED, now).model_copy(update={"refusal": said})


def note(record: Deployment, figures: Mapping[str, float], *, size_bytes: int | None = None) -> Deployment:
    """Return the record with figures added to its present state."""
    *done, last = record.states
    update: dict[str, object] = {"figures": {**last.figures, **figures}}
    if size_bytes is not None:
        update["bytes"] = size_bytes
    return record.model_copy(update={"states": (*done, last.model_copy(update=update))})


def blame(record: Deployment, code: Code, message: str) -> Deployment:
    """Return the record with what went wrong; the first cause stays."""
    if record.code:
        return record
    return record.model_copy(update={"code": code.value, "message": message[:LIMIT_MESSAGE]})


def to_report(record: Deployment) -> DeploymentReport:
    """Return what people and programs are told of it."""
    return DeploymentReport(
        id=record.id,
        job_id=record.job_id,
        operation=record.operation,
        models=tuple(
            DeployedModel.model_validate({"name": t.name, "from": t.from_, "to": t.to, "threshold": t.threshold})
            for t in record.targets
        ),
        state=record.outcome.value,
        code=record.code,
        message=record.message,
        remark=record.told,
        reason=record.reason,
        actor=record.actor,
        refusal=record.refusal,
        started=record.started,
        ended=record.ended,
        states=record.states,
        bytes_done=record.bytes_done,
        bytes_total=record.bytes_total,
    )


def status_details(record: Deployment) -> dict[str, str]:
    """Return what an AWS job execution tells of it: at most ten pairs."""
    details = {
        "deployment": record.id,
        "step": record.outcome.value,
        "models": ", ".join(_words(record.operation, t) for t in record.targets)[:1024],
        "bytes": f"{record.bytes_done}/{record.bytes_total}",
    }
    if record.code:
        details |= {"code": record.code, "message": record.message}
    if record.told:
        details["remark"] = record.told[:1024]
    if record.reason:
        details["reason"] = record.reason[:1024]
    return details


def _words(operation: Operation, target: Target) -> str:
    if operation == "remove":
        return f"{target.name} {target.from_ or ''} removed".replace("  ", " ")
    if operation == "configure":
        threshold = "as signed" if target.threshold is None else f"{target.threshold:g}"
        return f"{target.name} {target.from_ or ''} threshold {threshold}".replace("  ", " ")
    return f"{target.name} {target.from_ or 'none'} -> {target.to or 'previous'}"
