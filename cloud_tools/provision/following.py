"""Follows CloudFormation's work on a stack to its end, and says why it failed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from edge_agent.errors import Code

_SERVICE = "cloudformation"


class Patience(NamedTuple):
    """How long an answer is waited for, and how."""

    wait: Callable[[float], None]
    clock: Callable[[], float]
    timeout_s: float = 900.0
    interval_s: float = 1.0


def begin(aws: Aws, stack: str) -> tuple[str, set[str]]:
    """Return a stack's id, which outlives its name, and which of its events are old."""
    stack_id = str(aws.call(_SERVICE, "describe_stacks", StackName=stack)["Stacks"][0]["StackId"])
    return stack_id, {event["EventId"] for event in _events(aws, stack_id)}


def follow(
    aws: Aws,
    begun: tuple[str, set[str]],
    tell: Callable[[str], None],
    patience: Patience,
    *,
    ended: tuple[str, ...],
) -> None:
    """Wait until a stack's work has ended.

    Args:
        aws: the account.
        begun: what ``begin`` returned before the work was asked for.
        tell: told of each event, in words.
        patience: for all of it.
        ended: the ends that are good.

    Raises:
        CloudError: it ended otherwise, or patience ended first and the work goes on.
    """
    (stack_id, seen), limit = begun, patience.clock() + patience.timeout_s
    reasons: list[str] = []
    while True:
        # The status first: whatever it is, the events that led to it are there.
        status = str(aws.call(_SERVICE, "describe_stacks", StackName=stack_id)["Stacks"][0]["StackStatus"])
        for event in _events(aws, stack_id):
            if event["EventId"] not in seen:
                seen.add(event["EventId"])
                tell(f"{event['LogicalResourceId']}: {event['ResourceStatus']}")
                reasons += _reason(event)
        if not status.endswith("_IN_PROGRESS"):
            break
        if patience.clock() >= limit:
            raise CloudError(Code.DEADLINE_EXCEEDED, f"stack {_name(stack_id)}: {status}, and it goes on")
        patience.wait(patience.interval_s)
    if status not in ended:
        why = "; ".join(dict.fromkeys(reasons)) or "CloudFormation gives no reason"
        raise CloudError(Code.FAILED_PRECONDITION, f"stack {_name(stack_id)}: {status}: {why}")


def _name(stack_id: str) -> str:
    return stack_id.split("/")[1]


def _events(aws: Aws, stack_id: str) -> list[dict[str, Any]]:
    return list(aws.pages(_SERVICE, "describe_stack_events", "StackEvents", StackName=stack_id))[::-1]


def _reason(event: Mapping[str, Any]) -> list[str]:
    if not str(event["ResourceStatus"]).endswith("_FAILED"):
        return []
    return [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason')}"]
