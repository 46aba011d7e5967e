"""Turns a rollout's file into what is written down first: who is asked in which stage."""

import secrets

from cloud_tools.aws import Aws
from cloud_tools.rollout.plan import RolloutPlan
from cloud_tools.rollout.shares import divide
from cloud_tools.rollout.state import Happening, RolloutState
from cloud_tools.rollout.targets import find_members


def begin(aws: Aws, plan: RolloutPlan, now: float) -> RolloutState:
    """Return a rollout that has asked nobody yet, of the devices that its targets stand for now.

    Raises:
        CloudError: a target is not there, or a stage names devices of which the rollout is for none.
    """
    members = find_members(aws, plan.to)
    canaries = [find_members(aws, stage.to).things if stage.to else () for stage in plan.stages]
    shares = divide(plan, members.things, canaries)
    asked = {thing for share in shares for thing in share}
    return RolloutState(
        token=secrets.token_hex(8),
        plan=plan,
        thing_arn=members.arn,
        shares=shares,
        left_out=tuple(sorted(members.things - asked)),
        history=(Happening(at=now, what=f"started for {len(members.things)} devices"),),
    )
