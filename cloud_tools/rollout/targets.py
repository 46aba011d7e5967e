"""Whom a job is for: ``thing/NAME`` or ``group/NAME``."""

from collections.abc import Sequence

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from edge_agent.errors import Code


def find_targets(aws: Aws, words: Sequence[str]) -> list[str]:
    """Return the ARNs of all targets.

    Raises:
        CloudError: INVALID_ARGUMENT for another form; NOT_FOUND for what is not there, or a group without things.
    """
    if not words:
        raise CloudError(Code.INVALID_ARGUMENT, "expected at least one --to thing/NAME or group/NAME")
    return [_find(aws, word) for word in dict.fromkeys(words)]


def _find(aws: Aws, word: str) -> str:
    kind, _, name = word.partition("/")
    if kind == "thing" and name:
        return str(aws.call("iot", "describe_thing", thingName=name)["thingArn"])
    if kind == "group" and name:
        arn = str(aws.call("iot", "describe_thing_group", thingGroupName=name)["thingGroupArn"])
        # A job for nobody would be complete at once and look like a success.
        if not aws.call("iot", "list_things_in_thing_group", thingGroupName=name, recursive=True)["things"]:
            raise CloudError(Code.NOT_FOUND, f"group/{name}: expected things in it, there are none")
        return arn
    raise CloudError(Code.INVALID_ARGUMENT, f"--to: expected thing/NAME or group/NAME, came {word!r}")
