"""A rollout as a file: what is asked of whom, in which stages, and what stops it. Pure but for ``read_plan``."""

import itertools
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from cloud_tools.errors import CloudError
from cloud_tools.rollout.targets import FORM
from cloud_tools.yaml_door import read_yaml
from edge_agent.errors import Code
from edge_agent.formats import JobDocument, JobModel, Operation, Policy, describe, parse
from edge_agent.formats.document import Document
from edge_agent.formats.job_document import SCHEMA as JOB_SCHEMA

SCHEMA: Literal["edge-agent/rollout/1"] = "edge-agent/rollout/1"
# One device that says one of these says it of the release, and the next one would say it too.
STOP_CODES = (
    Code.SHADOW_REGRESSION,
    Code.PROBATION_REGRESSION,
    Code.QUARANTINED,
    Code.GOLDEN_MISMATCH,
    Code.ROLLED_BACK,
    Code.LOAD_FAILED,
)
# AWS IoT Jobs: a job id has at most 64 characters, and stage, attempt and part of a stage follow the name.
NAME = "[a-zA-Z0-9][a-zA-Z0-9-]{0,39}"
_NAME = re.compile(NAME)
RolloutName = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
Target = Annotated[str, StringConstraints(pattern=f"^{FORM}$")]
# Strict: a yes would count as 1.
Percent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False, strict=True)]
Minutes = Annotated[float, Field(ge=0, le=43_200, allow_inf_nan=False, strict=True)]


class Stage(Document):
    """Devices that are asked together, and what must be seen before the next stage."""

    name: str = Field("", max_length=40, description="what a person calls it; empty: canary, or its percentage")
    to: tuple[Target, ...] = Field((), description="thing/NAME or group/NAME: those of the rollout's devices in here")
    percent: Percent | None = Field(None, description="as many of all devices are asked when the stage has begun")
    soak_minutes: Minutes = Field(0.0, description="how long nothing may go wrong after it, before the next begins")
    enough_percent: Percent | None = Field(
        None,
        description="go on when so many of its devices succeeded, though others are off, and stop when so many cannot "
        "any more; none: when all ended",
    )
    within_minutes: Minutes | None = Field(None, gt=0, description="stop when it takes longer; none: wait for ever")
    failed_percent: Percent | None = Field(None, description="instead of stop.failed_percent")

    @model_validator(mode="after")
    def _one_kind(self) -> "Stage":
        if bool(self.to) == (self.percent is not None):
            raise ValueError("expected either to or percent")
        return self

    @property
    def title(self) -> str:
        """Return what a person calls it."""
        return self.name or ("canary" if self.percent is None else f"{self.percent:g}%")


class StopRule(Document):
    """What ends a rollout by itself."""

    failed_percent: Percent = Field(
        10.0, description="stop at this share of failed, rejected and timed out devices among those that ended"
    )
    min_ended: int = Field(
        10, ge=1, description="look at the share when so many of a stage have ended, or all of a smaller stage"
    )
    codes: tuple[Code, ...] = Field(STOP_CODES, description="one device that ends with one of these stops it")
    other_version: bool = Field(
        default=True,
        description="before each stage and at the end look at the shadows of devices that succeeded: one that runs "
        "another version by then, or none, has failed with ROLLED_BACK",
    )


class RolloutPlan(Document):
    """What is asked of which devices, in stages."""

    schema_: Literal["edge-agent/rollout/1"] = Field(SCHEMA, alias="schema")
    name: RolloutName = Field(description="letters, digits, dashes; jobs are called NAME-s0, NAME-s1, …")
    operation: Operation = "install"
    models: tuple[JobModel, ...] = Field(min_length=1, max_length=16)
    policy: Policy = Policy()
    to: tuple[Target, ...] = Field(min_length=1, description="all devices: thing/NAME or group/NAME")
    stages: tuple[Stage, ...] = Field(min_length=1, max_length=20)
    stop: StopRule = StopRule()
    per_minute: int | None = Field(None, ge=1, le=1000, description="devices told in a minute; none: all at once")
    timeout_minutes: int | None = Field(
        None, ge=1, le=10_080, description="a device that works on it longer has TIMED_OUT; none: its own limits hold"
    )
    on_stop: Literal["keep", "rollback"] = Field(
        "keep", description="rollback: devices that succeeded go back to their version before"
    )

    @model_validator(mode="after")
    def _sound(self) -> "RolloutPlan":
        _check_percentages([stage.percent for stage in self.stages if stage.percent is not None])
        if self.on_stop == "rollback" and self.operation != "install":
            raise ValueError("on_stop: only an install can be rolled back")
        try:
            self.document()
        except ValidationError as exc:
            raise ValueError(describe(exc)) from exc
        return self

    def document(self) -> JobDocument:
        """Return the document of its jobs."""
        return JobDocument(schema_=JOB_SCHEMA, operation=self.operation, models=self.models, policy=self.policy)

    def undo(self) -> JobDocument:
        """Return the document of the job that takes it back, on devices where it is still what answers."""
        models = tuple(JobModel(name=model.name, version=model.version) for model in self.models)
        return JobDocument(schema_=JOB_SCHEMA, operation="rollback", models=models)

    def failed_percent(self, stage: int) -> float:
        """Return the share of failures that stops a stage."""
        own = self.stages[stage].failed_percent
        return self.stop.failed_percent if own is None else own


def read_plan(path: Path) -> RolloutPlan:
    """Return the rollout that a file holds, YAML or JSON.

    Raises:
        CloudError: NOT_FOUND, DOCUMENT_INVALID: it is not YAML.
        DocumentError: a field is wrong; the message names it.
    """
    return parse(RolloutPlan, read_yaml(path, "a rollout's file"), what=str(path))


def _check_percentages(percentages: list[float]) -> None:
    for before, after in itertools.pairwise(percentages):
        if after <= before:
            raise ValueError(f"expected percentages that grow from stage to stage, came {after:g} after {before:g}")


def is_name(name: str) -> bool:
    """Tell whether a rollout may have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return a rollout's name, which becomes part of a key.

    Raises:
        CloudError: INVALID_ARGUMENT.
    """
    if not is_name(name):
        raise CloudError(
            Code.INVALID_ARGUMENT, f"expected a rollout's name of letters, digits and dashes, came {name!r}"
        )
    return name
