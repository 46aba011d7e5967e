"""A cloud of jobs in memory with devices that do as they are told, and a driver that dies at a call of choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud_tools.errors import CloudError
from cloud_tools.rollout.asked import request
from cloud_tools.rollout.driver import Driver, Stay
from cloud_tools.rollout.jobs import ENDED, Execution
from cloud_tools.rollout.ledger import Ledger
from cloud_tools.rollout.plan import RolloutPlan
from cloud_tools.rollout.seen import FAILURES, Running, Seen, SeenJob, Shadow, Shadows
from cloud_tools.rollout.shares import divide
from cloud_tools.rollout.state import Part, RolloutState
from cloud_tools.storage import DirectoryStorage

END = ("SUCCEEDED", "")


class KilledError(Exception):
    """The driver's process has ended."""


class RolloutCloud:
    """AWS IoT as a rollout sees it: jobs by id, aborted by their own criteria, and devices.

    Args:
        ends: how each device ends, as ``("FAILED", "GOLDEN_MISMATCH")``; others succeed.
    """

    def __init__(self, ends: Mapping[str, tuple[str, str]] | None = None) -> None:
        self.ends = dict(ends or {})
        self.runs: dict[str, Running] = {}
        self.removed: dict[str, float] = {}
        self.asleep: set[str] = set()
        self.deleted: set[str] = set()
        self.asked: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, SeenJob] = {}
        self.created: list[str] = []

    def look(self, state: RolloutState, known: Seen) -> Seen:
        parts = [part.job_id for part in state.all_parts()]
        return {job_id: self.jobs[job_id] for job_id in parts if job_id in self.jobs}

    def create(self, state: RolloutState, part: Part) -> tuple[str, ...]:
        gone = tuple(thing for thing in part.things if thing in self.deleted)
        if gone or part.job_id in self.jobs:
            return gone
        self.created.append(part.job_id)
        self.asked[part.job_id] = request(state, part)
        self.jobs[part.job_id] = SeenJob(
            "IN_PROGRESS", "", {thing: Execution(thing, "QUEUED") for thing in part.things}
        )
        return ()

    def cancel(self, job_id: str, comment: str, *, force: bool) -> None:
        job = self.jobs[job_id]
        if job.live:
            kept = ENDED | (frozenset() if force else {"IN_PROGRESS"})
            self.jobs[job_id] = SeenJob(
                "CANCELED",
                comment,
                {
                    thing: each if each.status in kept else Execution(thing, "CANCELED")
                    for thing, each in job.executions.items()
                },
            )

    def shadows(self, things: Sequence[str]) -> Shadows:
        told = {thing: Shadow({"unet": running}, running.at) for thing, running in self.runs.items()}
        told |= {thing: Shadow({}, at) for thing, at in self.removed.items()}
        return {thing: told[thing] for thing in things if thing in told}

    def turn(self) -> bool:
        """Let every device that is awake take one step; tell whether one did."""
        moved = False
        for job_id in list(self.jobs):
            for thing in list(self.jobs[job_id].executions):
                moved |= self.step(job_id, thing)
        return moved

    def step(self, job_id: str, thing: str) -> bool:
        """Let one device take one step in one job; tell whether it did."""
        job = self.jobs[job_id]
        now = job.executions[thing]
        if now.status in ENDED or thing in self.asleep:
            return False
        status, code = ("IN_PROGRESS", "") if now.status == "QUEUED" else self.ends.get(thing, END)
        executions = {**job.executions, thing: Execution(thing, status, code=code)}
        self.jobs[job_id] = job._replace(executions=executions)
        self._close(job_id)
        return True

    def _close(self, job_id: str) -> None:
        job = self.jobs[job_id]
        words = Counter(each.status for each in job.executions.values())
        if job.live and all(word in ENDED for word in words):
            self.jobs[job_id] = job._replace(status="COMPLETED")
        for rule in self.asked[job_id].get("abortConfig", {}).get("criteriaList", ()):
            ended, failed = sum(words[word] for word in ENDED), sum(words[word] for word in FAILURES)
            met = ended >= rule["minNumberOfExecutedThings"] and failed * 100 >= rule["thresholdPercentage"] * ended
            if met and self.jobs[job_id].live:
                self.cancel(job_id, "Abort criteria met", force=False)

    def things(self, job_id: str) -> list[str]:
        """Return whom a job asks."""
        return sorted(str(arn).rpartition("/")[2] for arn in self.asked[job_id]["targets"])


class World:
    """A rollout, where it is written down, its cloud and its clock.

    Args:
        directory: where it is written down.
        plan: the rollout.
        things: whom it is for.
        canaries: for each stage whom it names.
        ends: as ``RolloutCloud`` takes it.
    """

    def __init__(
        self,
        directory: Path,
        plan: RolloutPlan,
        things: Sequence[str],
        canaries: Sequence[Sequence[str]] = (),
        ends: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.cloud = RolloutCloud(ends)
        self.now = 1_000_000.0
        self.troubles: list[CloudError] = []
        self.name = plan.name
        self.ledger = Ledger(DirectoryStorage(directory))
        self.driver = Driver(self.ledger, self.cloud, lambda: self.now)
        named = [*canaries, *([()] * (len(plan.stages) - len(canaries)))]
        self.ledger.create(
            RolloutState(token="t", plan=plan, thing_arn="arn:thing/", shares=divide(plan, things, named))
        )

    @property
    def state(self) -> RolloutState:
        return self.ledger.read(self.name).state

    def drive(self, *, seconds: float = 60.0) -> RolloutState:
        """Drive it to its end; devices and clock go on while the driver waits."""
        for _ in self.driver.drive(self.name, self.stay(seconds)):
            pass
        return self.state

    def stay(self, seconds: float = 60.0) -> Stay:
        """Let devices and clock go on while a driver waits; trouble that passes is kept in ``troubles``."""
        return Stay(lambda: self.wait(seconds), self.troubles.append)

    def wait(self, seconds: float = 60.0) -> None:
        self.cloud.turn()
        self.now += seconds

    def mortal(self, dies_at: int, *, after: bool) -> Driver:
        """Return a driver whose process ends at its n-th call, right before or right after its effect."""
        left = [dies_at]

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] == 0 and not after:
                    raise KilledError
                answer = call(*arguments, **named)
                if left[0] == 0:
                    raise KilledError
                return answer

            return run

        return Driver(_Each(self.ledger, dying), _Each(self.cloud, dying), lambda: self.now)  # type: ignore[arg-type]


class _Each:
    """Every method of ``inner``, wrapped."""

    def __init__(self, inner: object, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self._inner = inner
        self._wrap = wrap

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._wrap(getattr(self._inner, name))


def plan(*stages: Mapping[str, Any], **fields: Any) -> RolloutPlan:
    """Return a rollout of unet 3."""
    return RolloutPlan.model_validate(
        {"name": "unet-3", "models": [{"name": "unet", "version": "3"}], "to": ["group/hall"], "stages": stages}
        | fields
    )
