"""What is seen of a rollout's jobs, and what that says of each device and stage. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cloud_tools.rollout.jobs import ENDED, JOB_ENDED, SUCCEEDED, Execution
from cloud_tools.rollout.state import RolloutState
from edge_agent.errors import Code

FAILURES = frozenset({"FAILED", "REJECTED", "TIMED_OUT"})
WORKING = "IN_PROGRESS"
WAITING = "QUEUED"


class SeenJob(NamedTuple):
    """A job as the cloud tells it; devices that a rate has not let be told yet are not in ``executions``."""

    status: str
    comment: str
    executions: Mapping[str, Execution]
    changed: Mapping[str, float] = {}
    """When each execution changed last, seconds since 1970."""

    @property
    def live(self) -> bool:
        """Tell whether it may still ask devices."""
        return self.status not in JOB_ENDED

    @property
    def is_over(self) -> bool:
        """Tell whether nothing of it will change any more."""
        return not self.live and all(each.status in ENDED for each in self.executions.values())


Seen = Mapping[str, SeenJob]
"""By job id; a job that is not there yet is not in it."""


class Running(NamedTuple):
    """A version that a device's shadow reports, and since when, seconds since 1970."""

    version: str
    at: float


class Shadow(NamedTuple):
    """What a device says that it runs, by model, and when it said all of it last, seconds since 1970; 0: not known."""

    models: Mapping[str, Running]
    at: float = 0.0


Shadows = Mapping[str, Shadow]
"""By thing; a device without a shadow is not in it."""


class Outcome(NamedTuple):
    """What the newest job that asks a device has made of it."""

    job_id: str
    execution: Execution
    at: float = 0.0

    @property
    def failed(self) -> bool:
        """Tell whether the device said or showed that it cannot."""
        return self.execution.status in FAILURES

    @property
    def succeeded(self) -> bool:
        """Tell whether the device has done it."""
        return self.execution.status == SUCCEEDED

    @property
    def ended(self) -> bool:
        """Tell whether this will not change any more."""
        return self.execution.status in ENDED


class Tally(NamedTuple):
    """Devices of a stage, counted; accepted failures count nowhere but in ``accepted``."""

    things: int
    succeeded: int
    failed: int
    working: int
    waiting: int
    canceled: int
    accepted: int

    @property
    def ended(self) -> int:
        """Return how many will not change any more, without the accepted ones."""
        return self.succeeded + self.failed + self.canceled

    @property
    def all_ended(self) -> bool:
        """Tell whether nobody works or waits any more."""
        return not self.working and not self.waiting


def outcomes(state: RolloutState, seen: Seen) -> dict[str, Outcome]:
    """Return what is known of every device that was asked, by name."""
    found: dict[str, Outcome] = {}
    for wave in state.asking:
        comes = wave == state.waves[-1] and state.phase in {"RUNNING", "PAUSED"}
        for part in state.parts(wave):
            job = seen.get(part.job_id)
            for thing in part.things:
                found[thing] = _outcome(state, part.job_id, job, _execution(job, thing, comes=comes))
    return found


def _outcome(state: RolloutState, job_id: str, job: SeenJob | None, execution: Execution) -> Outcome:
    """Return what a device has made of it; one that went back after it had succeeded has failed."""
    if execution.status == SUCCEEDED and execution.thing in state.went_back:
        said = state.went_back[execution.thing]
        execution = Execution(execution.thing, "FAILED", code=Code.ROLLED_BACK.value, message=said)
    return Outcome(job_id, execution, job.changed.get(execution.thing, 0.0) if job else 0.0)


def _execution(job: SeenJob | None, thing: str, *, comes: bool) -> Execution:
    if job is not None and thing in job.executions:
        return job.executions[thing]
    # A job that was never made, or that ended before its rate came to a device, will never tell it.
    return Execution(thing, WAITING if (comes if job is None else job.live) else "CANCELED")


def tally(state: RolloutState, stage: int, known: Mapping[str, Outcome]) -> Tally:
    """Return a stage counted."""
    members = state.members(stage)
    accepted = set(state.accepted) & set(members)
    found = [known[thing] for thing in members if thing in known and thing not in accepted]
    working = sum(each.execution.status == WORKING for each in found)
    succeeded, failed = sum(each.succeeded for each in found), sum(each.failed for each in found)
    ended = sum(each.ended for each in found)
    waiting = len(members) - len(accepted) - working - ended
    return Tally(len(members), succeeded, failed, working, waiting, ended - succeeded - failed, len(accepted))


def failures(known: Iterable[Outcome]) -> list[Outcome]:
    """Return those that failed, by device."""
    return sorted((each for each in known if each.failed), key=lambda each: each.execution.thing)


def to_check(state: RolloutState, known: Mapping[str, Outcome]) -> tuple[str, ...]:
    """Return the devices of which it matters that they still run what they were asked for."""
    if not state.plan.stop.other_version or state.plan.operation != "install":
        return ()
    left = {*state.gone, *state.accepted}
    return tuple(sorted(thing for thing, outcome in known.items() if outcome.succeeded and thing not in left))


def went_back(state: RolloutState, known: Mapping[str, Outcome], shadows: Shadows) -> dict[str, str]:
    """Return the devices that run something else, or nothing of it, since they succeeded, with what a person is told.

    What a shadow said before the success only tells that it came late.
    """
    wanted = {model.name: str(model.version) for model in state.plan.models}
    found = {}
    for thing in to_check(state, known):
        shadow = shadows.get(thing, Shadow({}))
        for name, version in wanted.items():
            running = shadow.models.get(name) or Running("", shadow.at)
            if running.version != version and running.at > known[thing].at:
                said = f"its shadow says {running.version}" if running.version else "its shadow no longer names it"
                found[thing] = f"it had succeeded with {name} {version}, {said}"
    return found
