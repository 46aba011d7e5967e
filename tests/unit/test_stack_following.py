"""Following CloudFormation: each event once, the reason of a failure, and an end to patience."""

from collections.abc import Iterator
from typing import Any

import pytest

from cloud_tools.errors import CloudError
from cloud_tools.provision import following
from edge_agent.errors import Code

STACK = "arn:aws:cloudformation:eu-central-1:123456789012:stack/edge-agent/1"


class Told:
    """A CloudFormation that goes through statuses, and tells one event more at each."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.events = [event(0, "edge-agent", "OLD")]

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        assert (service, operation, arguments) == ("cloudformation", "describe_stacks", {"StackName": STACK})
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        self.events.append(event(len(self.events), "Bucket", status, "the name is taken"))
        return {"Stacks": [{"StackId": STACK, "StackStatus": status}]}

    def pages(self, service: str, operation: str, field: str, **arguments: Any) -> Iterator[Any]:
        assert (service, operation, field, arguments) == (
            "cloudformation",
            "describe_stack_events",
            "StackEvents",
            {"StackName": STACK},
        )
        return reversed(self.events)


def event(number: int, resource: str, status: str, reason: str = "") -> dict[str, str]:
    return {
        "EventId": str(number),
        "LogicalResourceId": resource,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


def follow(told: Told, said: list[str], timeout_s: float = 10.0) -> list[float]:
    waited: list[float] = []
    patience = following.Patience(waited.append, lambda: sum(waited), timeout_s, 3.0)
    following.follow(told, (STACK, {"0"}), said.append, patience, ended=("CREATE_COMPLETE",))  # type: ignore[arg-type]
    return waited


def test_each_event_is_told_once_and_in_its_order() -> None:
    said: list[str] = []
    assert follow(Told("CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"), said) == [3.0, 3.0]
    assert said == ["Bucket: CREATE_IN_PROGRESS", "Bucket: CREATE_IN_PROGRESS", "Bucket: CREATE_COMPLETE"]


def test_a_failure_tells_its_reasons() -> None:
    with pytest.raises(CloudError, match=r"edge-agent: ROLLBACK_FAILED: Bucket: the name is taken$") as caught:
        follow(Told("CREATE_IN_PROGRESS", "ROLLBACK_FAILED"), [])
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_an_end_that_was_not_meant_is_a_failure_without_a_reason_too() -> None:
    with pytest.raises(CloudError, match="DELETE_COMPLETE: CloudFormation gives no reason"):
        follow(Told("DELETE_COMPLETE"), [])


def test_patience_ends_and_the_work_goes_on() -> None:
    told = Told("CREATE_IN_PROGRESS")
    with pytest.raises(CloudError, match="CREATE_IN_PROGRESS, and it goes on") as caught:
        follow(told, [], timeout_s=7.0)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert len(told.events) == 5
