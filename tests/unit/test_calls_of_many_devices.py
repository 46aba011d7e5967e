"""How often AWS is asked, and with what, where an account has many devices."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloud_tools.errors import CloudError
from cloud_tools.fleet.reading import enable_index, read_executions
from cloud_tools.provision.beside import INDEXING
from cloud_tools.rollout.iot import IotJobs
from cloud_tools.rollout.state import RolloutState
from cloud_tools.rollout.targets import find_members
from edge_agent.errors import Code
from tests.fakes.rollout_cloud import plan

Answer = Callable[..., dict[str, Any]]
THINGS = tuple(f"press-{number:03}" for number in range(100))


class Account:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, _service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        self.asked.append((operation, arguments))
        return self.answers[operation](**arguments)

    def pages(self, service: str, operation: str, field: str, **arguments: Any) -> Iterator[Any]:
        yield from self.call(service, operation, **arguments)[field]

    def often(self, operation: str) -> int:
        return [name for name, _ in self.asked].count(operation)


def refused(code: Code) -> Answer:
    def answer(**_: Any) -> dict[str, Any]:
        raise CloudError(code, "refused")

    return answer


def rollout() -> RolloutState:
    state = RolloutState(token="t", plan=plan({"percent": 100}), thing_arn="arn:thing/", shares=(THINGS,))
    return state.begun(0, 1.0)


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.ACCESS_DENIED])
def test_a_job_that_cannot_be_made_now_asks_nothing_of_each_of_its_devices(code: Code) -> None:
    account, state = Account(create_job=refused(code), describe_thing=lambda **_: {}), rollout()
    (part,) = state.all_parts()
    with pytest.raises(CloudError) as caught:
        IotJobs(account).create(state, part)  # type: ignore[arg-type]
    assert caught.value.code is code
    assert account.often("describe_thing") == 0


def test_a_job_for_devices_of_which_one_is_gone_names_that_one() -> None:
    def describe(thingName: str) -> dict[str, Any]:  # noqa: N803 - AWS's name
        return refused(Code.NOT_FOUND)() if thingName == THINGS[7] else {}

    account, state = Account(create_job=refused(Code.NOT_FOUND), describe_thing=describe), rollout()
    (part,) = state.all_parts()
    assert IotJobs(account).create(state, part) == (THINGS[7],)  # type: ignore[arg-type]
    account.answers["describe_thing"] = lambda **_: {}
    with pytest.raises(CloudError, match="refused"):
        IotJobs(account).create(state, part)  # type: ignore[arg-type]


def test_the_members_of_a_group_are_asked_for_in_the_largest_pages() -> None:
    account = Account(
        describe_thing_group=lambda **_: {"thingGroupArn": "arn:aws:iot:eu-central-1:1:thinggroup/hall"},
        list_things_in_thing_group=lambda **_: {"things": list(THINGS)},
    )
    found = find_members(account, ["group/hall"])  # type: ignore[arg-type]
    assert (sorted(found.things), found.arn) == (list(THINGS), "arn:aws:iot:eu-central-1:1:thing/")
    ((_, asked),) = account.asked[1:]
    assert asked["PaginationConfig"] == {"PageSize": 250}
    assert asked["recursive"] is True


def test_the_newest_job_of_a_device_is_found_behind_the_first_page() -> None:
    jobs = [{"jobId": f"job-{number}", "jobExecutionSummary": {"queuedAt": number}} for number in range(300)]

    class Paged(Account):
        def pages(self, service: str, operation: str, field: str, **arguments: Any) -> Iterator[Any]:
            yield from jobs

    account = Paged(
        list_job_executions_for_thing=lambda **_: {"executionSummaries": jobs[:100], "nextToken": "more"},
        describe_job_execution=lambda **_: {"execution": {"status": "FAILED"}},
    )
    found = read_executions(account, ["press-4"])  # type: ignore[arg-type]
    assert (found["press-4"].job_id, found["press-4"].status) == ("job-299", "FAILED")


def test_turning_the_index_on_leaves_on_what_others_of_the_account_index() -> None:
    others = {
        "thingIndexingMode": "REGISTRY",
        "namedShadowIndexingMode": "ON",
        "filter": {"namedShadowNames": ["robot"]},
        "customFields": [{"name": "attributes.hall", "type": "String"}],
    }
    account = Account(
        get_indexing_configuration=lambda **_: {
            "thingIndexingConfiguration": {**others, "managedFields": [{}], "geoLocations": []}
        },
        update_indexing_configuration=lambda **_: {},
    )
    enable_index(account)  # type: ignore[arg-type]
    assert account.asked[-1][1] == {"thingIndexingConfiguration": {**others, **INDEXING}}
