"""What a simulated device does with a job: which state follows when, and how it ends. Pure.

A device draws its times and its luck from the seed, its own name and the job, so the same fleet does the same again.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from cloud_tools.errors import CloudError
from edge_agent.errors import Code
from edge_agent.formats import JobDocument

# The states that an agent reports (its table is edge_agent.deployment.states), and seconds in each: a small model
# over a good line, answering well for five seconds before it is committed.
TIMES_S: Final[Mapping[str, float]] = {
    "REFRESHING": 0.3,
    "CHECKING": 0.05,
    "DOWNLOADING": 3.0,
    "VERIFIED": 0.05,
    "BUILDING": 2.0,
    "TRIED": 0.05,
    "SHADOW": 0.0,
    "ACTIVATING": 0.05,
    "PROBATION": 5.0,
}
PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "install": tuple(TIMES_S),
    "rollback": ("CHECKING", "BUILDING", "TRIED", "ACTIVATING"),
    "remove": ("CHECKING",),
    "configure": ("CHECKING",),
}
Status = Literal["IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"]
# From here on the new version may have answered, so the old one has to be brought back.
_UNDONE: Final = ("ACTIVATING", "PROBATION")
# Devices are not equally fast: between so much and so much of the time that was asked for.
_SPREAD: Final = (0.5, 1.5)


@dataclass(frozen=True)
class Behaviour:
    """How the devices of a fleet behave.

    Attributes:
        times_s: seconds in each state, on average.
        bad: releases (``MODEL-VERSION``) that fail.
        fail_share: how likely a bad release fails on a device, 0 to 1.
        fail_in: the state in which it fails.
        fail_code: what the device then says.
        seed: another one, another luck.
    """

    times_s: Mapping[str, float] = field(default_factory=lambda: dict(TIMES_S))
    bad: frozenset[str] = frozenset()
    fail_share: float = 1.0
    fail_in: str = "PROBATION"
    fail_code: str = Code.PROBATION_REGRESSION.value
    seed: int = 0


class Step(NamedTuple):
    """A word to the service: ``after_s`` seconds after the one before it."""

    after_s: float
    status: Status
    state: str
    code: str = ""
    message: str = ""


def read_times(words: list[str]) -> dict[str, float]:
    """Return seconds by state, as ``STATE=SECONDS`` gives them; the others keep theirs.

    Raises:
        CloudError: INVALID_ARGUMENT for another form, a state that is not there or a time below 0.
    """
    times = dict(TIMES_S)
    for word in words:
        state, _, text = word.partition("=")
        if state not in times:
            raise CloudError(
                Code.INVALID_ARGUMENT, f"--time: expected STATE=SECONDS with one of {', '.join(times)}, came {word!r}"
            )
        times[state] = _seconds(word, text)
    return times


def check_failure(state: str, code: str) -> None:
    """Check in which state a bad release fails, and what the device says.

    Raises:
        CloudError: INVALID_ARGUMENT, there is no such state or code.
    """
    if state not in TIMES_S:
        raise CloudError(Code.INVALID_ARGUMENT, f"--fail-in: expected one of {', '.join(TIMES_S)}, came {state!r}")
    if code not in {known.value for known in Code}:
        raise CloudError(Code.INVALID_ARGUMENT, f"--fail-code: expected an error code of the agent, came {code!r}")


def _seconds(word: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise CloudError(Code.INVALID_ARGUMENT, f"--time: expected seconds from 0 on, came {word!r}")
    return seconds


def plan(behaviour: Behaviour, thing: str, document: JobDocument) -> list[Step]:
    """Return what the device says of a job, in order; the last word is the terminal one."""
    releases = [f"{model.name}-{model.version}" for model in document.models if model.version]
    rng = random.Random(f"{behaviour.seed}/{thing}/{document.operation}/{releases}")  # noqa: S311 - to be repeated
    fails = document.operation == "install" and rng.random() < behaviour.fail_share
    fault = next((release for release in releases if release in behaviour.bad), "") if fails else ""
    steps: list[Step] = []
    waited_s = 0.0
    for state in PATHS[document.operation]:
        steps.append(Step(waited_s, "IN_PROGRESS", state))
        waited_s = behaviour.times_s[state] * rng.uniform(*_SPREAD)
        if fault and state == behaviour.fail_in:
            return steps + _failure(behaviour, fault, waited_s)
    return [*steps, Step(waited_s, "SUCCEEDED", "COMMITTED")]


def _failure(behaviour: Behaviour, release: str, waited_s: float) -> list[Step]:
    said = (behaviour.fail_code, f"{release} is a bad release in this simulation")
    if behaviour.fail_in not in _UNDONE:
        return [Step(waited_s, "FAILED", "FAILED", *said)]
    return [Step(waited_s, "IN_PROGRESS", "ROLLING_BACK", *said), Step(0.0, "FAILED", "FAILED", *said)]
