"""Whom a job is for: ``thing/NAME`` or ``group/NAME``."""

import re
from collections.abc import Sequence

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from edge_agent.errors import Code

# AWS IoT: what a thing, and a thing group, may be called.
_FORM = re.compile(r"(thing|group)/[a-zA-Z0-9:_-]{1,128}")


def check_targets(words: Sequence[str]) -> list[str]:
    """Return the targets, each once, without asking whether they are there.

    Raises:
        CloudError: INVALID_ARGUMENT for another form.
    """
    if not words:
        raise CloudError(Code.INVALID_ARGUMENT, "expected at least one --to thing/NAME or group/NAME")
    for word in words:
        if not _FORM.fullmatch(word):
            raise CloudError(Code.INVALID_ARGUMENT, f"--to: expected thing/NAME or group/NAME, came {word!r}")
    return list(dict.fromkeys(words))


def find_targets(aws: Aws, words: Sequence[str]) -> list[str]:
    """Return the ARNs of all targets.

    Raises:
        CloudError: INVALID_ARGUMENT for another form; NOT_FOUND for what is not there, or a group without things.
    """
    return [_find(aws, word) for word in check_targets(words)]


def _find(aws: Aws, word: str) -> str:
    kind, _, name = word.partition("/")
    if kind == "thing":
        return str(aws.call("iot", "describe_thing", thingName=name)["thingArn"])
    arn = str(aws.call("iot", "describe_thing_group", thingGroupName=name)["thingGroupArn"])
    # A job for nobody would be complete at once and look like a success.
    if not aws.call("iot", "list_things_in_thing_group", thingGroupName=name, recursive=True)["things"]:
        raise CloudError(Code.NOT_FOUND, f"group/{name}: expected things in it, there are none")
    return arn
