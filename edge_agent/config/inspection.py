"""Inspection: from answers of models to one verdict, what is counted, parts that are known."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from typing_extensions import Self

from edge_agent.config.fields import HOUR, OptionalPath, Room

_SHIFTS_LIMIT = 24
_NAME_LIMIT = 64

Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Margin = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _n_of_m(value: str) -> str:
    wanted, window = map(int, value.split("/"))
    if wanted > window:
        raise ValueError("expected N/M with N up to M")
    return value


def _named(value: object) -> object:
    """Return a list of begins as a table in which each is called by its own time."""
    if not isinstance(value, list | tuple):
        return value
    if not all(isinstance(begin, str) for begin in value) or len(set(value)) != len(value):
        raise ValueError('expected begins as ["06:00", "14:00"], each once')
    return {begin: begin for begin in value}


def _shifts(value: dict[str, str]) -> dict[str, str]:
    for name, begin in value.items():
        if not re.fullmatch(HOUR, begin):
            raise ValueError(f"expected begins as HH:MM, 00:00 to 23:59, {name[:40]!r} has {begin[:40]!r}")
        if not name.strip() or len(name) > _NAME_LIMIT:
            raise ValueError(f"expected names of 1 to {_NAME_LIMIT} characters")
    if len(set(value.values())) != len(value) or len(value) > _SHIFTS_LIMIT:
        raise ValueError(f"expected at most {_SHIFTS_LIMIT} shifts, each with a begin of its own")
    return value


def _without_cycles(chain: dict[str, str]) -> dict[str, str]:
    for first, awaited in chain.items():
        seen, application = {first}, awaited
        while application in chain and application not in seen:
            seen.add(application)
            application = chain[application]
        if application in seen:
            raise ValueError(f"expected applications that do not wait for each other, {first} waits for itself")
    return chain


class Inspection(Room):
    """From answers of models to one verdict."""

    rule: Literal["any_ng", "all_ng", "weighted"] = "any_ng"
    """A part is NG if any model says so, only if all do, or if models with enough weight do."""
    weights: dict[str, Weight] = Field(default_factory=dict)
    """For weighted: weights of applications; one that is not named weighs 1."""
    ng_share: float = Field(0.5, gt=0, le=1)
    """For weighted: a part is NG when applications with this share of all weights say so."""
    hysteresis: dict[str, Margin] = Field(default_factory=dict)
    """By application: once NG, its source stays so until the score is this much below the threshold."""
    ng_frames: Annotated[str, AfterValidator(_n_of_m)] = Field("1/1", pattern=r"^[1-9][0-9]{0,2}/[1-9][0-9]{0,2}$")
    """N/M: a frame is NG only if N of the last M frames of its source are; for continuous material and video."""
    forget_s: float = Field(10.0, gt=0, le=86_400)
    """A source that is silent for so many seconds begins anew: hysteresis and N of M forget it."""
    recent_frames: int = Field(64, ge=1, le=10_000)
    """Frames kept in memory for the page."""
    shifts: Annotated[dict[str, str], BeforeValidator(_named), AfterValidator(_shifts)] = Field(default_factory=dict)
    """Begins of shifts, local time, as ["06:00", "14:00", "22:00"] or {early = "06:00", late = "14:00"}; none: days."""
    keep_days: int = Field(60, ge=1, le=3660)
    """Counts of so many days' shifts are kept."""
    golden_parts: OptionalPath = None
    """Directory with OK/ and NG/, pictures of parts that are known; inspected at each shift's begin. Empty: none."""
    golden_required: bool = False
    """No part is OK before the golden parts of its shift were judged as they should be: NO RESULT with the reason."""
    chain: Annotated[dict[str, str], AfterValidator(_without_cycles)] = Field(default_factory=dict)
    """Applications asked only when another says NG, as {"image-segmentation-app" = "image-classification-app"}."""

    @model_validator(mode="after")
    def _golden_parts_where_they_are_required(self) -> Self:
        if self.golden_required and self.golden_parts is None:
            raise ValueError("golden_required: expected golden_parts to name a directory, came none")
        return self
