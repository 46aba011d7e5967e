"""Where a rollout stands: the document that every driver and every operator reads and swaps. Pure.

A stage is written down here before its job is made, so whoever goes on after a crash makes
the same job. Only one of two writers wins; the other reads again and decides anew.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import Field

from cloud_tools.errors import CloudError
from cloud_tools.rollout.plan import RolloutPlan
from edge_agent.errors import Code
from edge_agent.formats.document import Document

SCHEMA: Literal["edge-agent/rollout-state/1"] = "edge-agent/rollout-state/1"
# AWS IoT Jobs: the total number of targets of a job must not exceed 100.
TARGETS_LIMIT = 100
_HISTORY_LIMIT = 200

Phase = Literal["RUNNING", "PAUSED", "STOPPED", "ABORTED", "COMPLETED"]


class Wave(Document):
    """Devices that were asked at once: a stage, those of it that are asked again, or who goes back."""

    stage: int = Field(ge=0)
    attempt: int = Field(0, ge=0, description="0: the first; more: asked again")
    undo: bool = Field(default=False, description="asked to go back")
    things: tuple[str, ...] = Field(min_length=1)
    at: float = Field(description="when it was written down, seconds since 1970")


class Happening(Document):
    """What became of it when, for whoever reads it later."""

    at: float
    what: str


class Part(NamedTuple):
    """One job of a wave; AWS takes a hundred targets for each."""

    job_id: str
    wave: Wave
    things: tuple[str, ...]


class RolloutState(Document):
    """A rollout under way."""

    schema_: Literal["edge-agent/rollout-state/1"] = Field(SCHEMA, alias="schema")
    token: str = Field(description="stands in the jobs' descriptions, so that another's job is told apart")
    plan: RolloutPlan
    thing_arn: str = Field(description="how ARNs of things begin here")
    shares: tuple[tuple[str, ...], ...] = Field(description="the things of each stage")
    left_out: tuple[str, ...] = Field((), description="things that no stage asks")
    phase: Phase = "RUNNING"
    reason: str = Field("", description="why it was stopped, paused or aborted")
    force: bool = Field(default=False, description="abort: also where a device works on it")
    undo: bool = Field(default=False, description="devices that succeeded go back")
    waves: tuple[Wave, ...] = ()
    settled_at: float | None = Field(None, description="since when the newest stage has done what was needed")
    accepted: tuple[str, ...] = Field((), description="things whose failure somebody has accepted")
    went_back: dict[str, str] = Field({}, description="things that run something else or nothing since they succeeded")
    gone: tuple[str, ...] = Field((), description="things that were no longer there when their stage began")
    history: tuple[Happening, ...] = ()

    @property
    def name(self) -> str:
        """Return the rollout's name."""
        return self.plan.name

    @property
    def stage(self) -> int:
        """Return the newest stage that has begun; -1: none."""
        return max((wave.stage for wave in self.waves), default=-1)

    @property
    def asking(self) -> tuple[Wave, ...]:
        """Return the waves that ask for what the plan says."""
        return tuple(wave for wave in self.waves if not wave.undo)

    def next_stage(self) -> int | None:
        """Return the stage that comes now, without those that have no devices."""
        later = range(self.stage + 1, len(self.shares))
        return next((stage for stage in later if self.members(stage)), None)

    def members(self, stage: int) -> tuple[str, ...]:
        """Return the things of a stage that are still there."""
        gone = set(self.gone)
        return tuple(thing for thing in self.shares[stage] if thing not in gone)

    def parts(self, wave: Wave) -> list[Part]:
        """Return the jobs of a wave."""
        suffix = "-rollback" if wave.undo else f"-s{wave.stage}" + (f"-r{wave.attempt}" if wave.attempt else "")
        starts = range(0, len(wave.things), TARGETS_LIMIT)
        cut = [wave.things[start : start + TARGETS_LIMIT] for start in starts]
        return [
            Part(f"{self.name}{suffix}" + (f"-{number}" if number else ""), wave, things)
            for number, things in enumerate(cut)
        ]

    def all_parts(self) -> Iterator[Part]:
        """Yield the jobs of all waves, the oldest first."""
        for wave in self.waves:
            yield from self.parts(wave)

    def begun(self, stage: int, now: float) -> "RolloutState":
        """Return it with a stage begun."""
        wave = Wave(stage=stage, things=self.members(stage), at=now)
        title = self.plan.stages[stage].title
        return self._with(now, f"stage {title}: {len(wave.things)} devices", waves=(*self.waves, wave), settled_at=None)

    def settled(self, now: float) -> "RolloutState":
        """Return it with the newest stage done, from when on its soak is counted."""
        return self._with(now, f"stage {self.plan.stages[self.stage].title}: done", settled_at=now)

    def stopped(self, reason: str, now: float) -> "RolloutState":
        """Return it stopped by itself."""
        undo = self.plan.on_stop == "rollback"
        return self._with(now, f"stopped: {reason}", phase="STOPPED", reason=reason, undo=undo)

    def regressed(self, things: Mapping[str, str], now: float) -> "RolloutState":
        """Return it with devices that run something else since they had succeeded."""
        return self._with(now, f"went back: {', '.join(sorted(things))}", went_back={**self.went_back, **things})

    def completed(self, now: float) -> "RolloutState":
        """Return it at its end."""
        return self._with(now, "completed", phase="COMPLETED")

    def paused(self, reason: str, now: float) -> "RolloutState":
        """Return it paused: no further stage begins.

        Raises:
            CloudError: FAILED_PRECONDITION: it does not run.
        """
        if self.phase != "RUNNING":
            raise self._not("one that runs")
        return self._with(now, f"paused: {reason}", phase="PAUSED", reason=reason)

    def aborted(self, reason: str, now: float, *, force: bool, undo: bool) -> "RolloutState":
        """Return it given up; a second time may add a rollback.

        Raises:
            CloudError: FAILED_PRECONDITION: it was completed; INVALID_ARGUMENT: nothing can be rolled back.
        """
        if self.phase == "COMPLETED":
            raise self._not("one that has not ended")
        if undo and self.plan.operation != "install":
            raise CloudError(Code.INVALID_ARGUMENT, "--rollback: expected an install, only one can be rolled back")
        wished = {"force": force or self.force, "undo": undo or self.undo}
        return self._with(now, f"aborted: {reason}", phase="ABORTED", reason=reason, **wished)

    def resumed(self, now: float) -> "RolloutState":
        """Return it going on after a pause; whatever else it is it stays, and what is due is done all the same."""
        return self._with(now, "resumed", phase="RUNNING", reason="") if self.phase == "PAUSED" else self

    def asked_again(self, things: Collection[str], accepted: Collection[str], now: float) -> "RolloutState":
        """Return it going on after a stop, with these asked once more and those failures accepted.

        Raises:
            CloudError: FAILED_PRECONDITION: it was aborted, or its devices were sent back.
        """
        if self.phase not in {"STOPPED", "COMPLETED"} or any(wave.undo for wave in self.waves) or self.undo:
            raise self._not("one that was stopped or completed, and not rolled back")
        last = self.asking[-1]
        attempt = 1 + max(wave.attempt for wave in self.asking if wave.stage == last.stage)
        again = [Wave(stage=last.stage, attempt=attempt, things=tuple(sorted(things)), at=now)] if things else []
        return self._with(
            now,
            f"resumed: {len(things)} devices are asked again, {len(accepted)} failures accepted",
            phase="RUNNING",
            reason="",
            waves=(*self.waves, *again),
            settled_at=None,
            went_back={thing: said for thing, said in self.went_back.items() if thing not in set(things)},
            accepted=tuple(sorted({*self.accepted, *accepted})),
        )

    def undone(self, things: Collection[str], now: float) -> "RolloutState":
        """Return it with these devices asked to go back."""
        wave = Wave(stage=self.stage, undo=True, things=tuple(sorted(things)), at=now)
        return self._with(now, f"{len(wave.things)} devices go back", waves=(*self.waves, wave))

    def without(self, things: Collection[str], now: float) -> "RolloutState":
        """Return it with the newest wave, of which no job holds them yet, without devices that are no longer there."""
        lost, newest = set(things), self.waves[-1]
        kept = tuple(thing for thing in newest.things if thing not in lost)
        left = (newest.model_copy(update={"things": kept}),) if kept else ()
        said = f"no longer there: {', '.join(sorted(lost))}"
        return self._with(now, said, waves=(*self.waves[:-1], *left), gone=tuple(sorted({*self.gone, *lost})))

    def needed(self, stage: int, percent: float) -> int:
        """Return how many devices a share of a stage is, rounded up."""
        return math.ceil(len(self.members(stage)) * percent / 100)

    def _with(self, now: float, what: str, **changes: object) -> "RolloutState":
        history = (*self.history, Happening(at=now, what=what))[-_HISTORY_LIMIT:]
        return self.model_copy(update={**changes, "history": history})

    def _not(self, expected: str) -> CloudError:
        said = f": {self.reason}" if self.reason else ""
        return CloudError(
            Code.FAILED_PRECONDITION, f"rollout {self.name}: expected {expected}, it is {self.phase}{said}"
        )
