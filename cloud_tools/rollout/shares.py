"""Which devices belong to which stage. Pure: the same devices in, the same stages out."""

import math
from collections.abc import Collection, Sequence
from hashlib import sha256

from cloud_tools.errors import CloudError
from cloud_tools.rollout.plan import RolloutPlan
from cloud_tools.rollout.state import TARGETS_LIMIT
from edge_agent.errors import Code


def divide(
    plan: RolloutPlan, things: Collection[str], canaries: Sequence[Collection[str]]
) -> tuple[tuple[str, ...], ...]:
    """Return the things of each stage; a thing is in one stage at most, the first that takes it.

    Args:
        plan: the rollout.
        things: all that it is for.
        canaries: for each stage the things that it names; empty where it names a percentage.

    Raises:
        CloudError: INVALID_ARGUMENT: a stage names devices of which the rollout is for none, or has more jobs than
            devices may be told in a minute.
    """
    left = sorted(set(things), key=lambda thing: _lot(plan.name, thing))
    total, shares = len(left), []
    for stage, named in zip(plan.stages, canaries, strict=True):
        if stage.percent is None:
            taken = [thing for thing in left if thing in named]
            if not taken:
                raise _nobody(stage.to)
        else:
            asked = total - len(left)
            # Rounded up: the smallest share of a small fleet is one device, not none.
            taken = left[: max(0, math.ceil(total * stage.percent / 100) - asked)]
        shares.append(tuple(sorted(taken)))
        left = [thing for thing in left if thing not in set(taken)]
    _check_rate(plan, max(map(len, shares)))
    return tuple(shares)


def _lot(name: str, thing: str) -> bytes:
    """Return where a thing stands in the order: by lot, so that no hall is always first, but always the same."""
    return sha256(f"{name}/{thing}".encode()).digest()


def _check_rate(plan: RolloutPlan, largest: int) -> None:
    # A job tells one device in a minute at least, and the jobs of a stage run side by side.
    jobs = math.ceil(largest / TARGETS_LIMIT)
    if plan.per_minute is not None and plan.per_minute < jobs:
        raise CloudError(
            Code.INVALID_ARGUMENT,
            f"per_minute: expected {jobs} or more for a stage of {largest} devices, {TARGETS_LIMIT} to a job, or"
            f" smaller stages; came {plan.per_minute}",
        )


def _nobody(named: Sequence[str]) -> CloudError:
    return CloudError(
        Code.INVALID_ARGUMENT,
        f"stage {', '.join(named)}: expected devices of the rollout that no stage before it asks, came none",
    )
