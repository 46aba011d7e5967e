"""Whom a job is for: ``thing/NAME`` or ``group/NAME``."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from edge_agent.errors import Code

# AWS IoT: what a thing, and a thing group, may be called.
FORM = "(thing|group)/[a-zA-Z0-9:_-]{1,128}"
_FORM = re.compile(FORM)
# AWS IoT: members of a group in one answer, at most; ten times as many as it gives unasked.
_PAGE = 250


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


class Members(NamedTuple):
    """The things behind targets, and how ARNs of things begin in this account and region."""

    things: frozenset[str]
    arn: str


def find_members(aws: Aws, words: Sequence[str]) -> Members:
    """Return the things that targets stand for now, those of groups in groups too.

    Raises:
        CloudError: as ``find_targets``.
    """
    found = [(word, *_look_up(aws, word)) for word in check_targets(words)]
    arn = found[0][1].rpartition(":")[0] + ":thing/"
    return Members(frozenset(thing for _, _, things in found for thing in things), arn)


def _find(aws: Aws, word: str) -> str:
    return _look_up(aws, word)[0]


def _look_up(aws: Aws, word: str) -> tuple[str, list[str]]:
    """Return a target's ARN and its things."""
    kind, _, name = word.partition("/")
    try:
        if kind == "thing":
            return str(aws.call("iot", "describe_thing", thingName=name)["thingArn"]), [name]
        arn = str(aws.call("iot", "describe_thing_group", thingGroupName=name)["thingGroupArn"])
    except CloudError as exc:
        if exc.code is Code.NOT_FOUND:
            message = f"{word}: expected a {kind} of this account in {aws.region}, there is none"
            raise CloudError(Code.NOT_FOUND, message) from exc
        raise
    pages = {"PageSize": _PAGE}
    found = aws.pages(
        "iot", "list_things_in_thing_group", "things", thingGroupName=name, recursive=True, PaginationConfig=pages
    )
    things = list(found)
    # A job for nobody would be complete at once and look like a success.
    if not things:
        raise CloudError(Code.NOT_FOUND, f"group/{name}: expected things in it, there are none")
    return arn, things
