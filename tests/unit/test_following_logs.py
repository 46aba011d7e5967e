"""Whoever follows a device's log through a night keeps following it."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from cloud_tools.errors import CloudError
from cloud_tools.fleet.log_reading import Line, follow
from edge_agent.errors import Code


class Logs:
    """CloudWatch Logs that answer in turn: with lines, or with why not."""

    def __init__(self, *turns: "list[str] | Code") -> None:
        self._turns = list(turns)

    def pages(self, *_: str, **__: Any) -> Iterator[dict[str, str]]:
        turn = self._turns.pop(0)
        if isinstance(turn, Code):
            raise CloudError(turn, "no answer")
        for word in turn:
            yield {"eventId": word, "message": json.dumps({"thing": "press-4", "at": 1.0, "message": word})}


def told(logs: Logs, amount: int) -> list[str]:
    lines = follow(logs, "press-4", 0.0, wait=lambda: None, now=lambda: 0.0)  # type: ignore[arg-type]
    return [line.message for line in islice(lines, amount)]


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED])
def test_a_cloud_that_is_away_for_a_while_ends_nothing_and_no_line_comes_twice(code: Code) -> None:
    assert told(Logs(["a", "b"], code, code, ["a", "b", "c"]), 3) == ["a", "b", "c"]


def test_a_line_says_to_the_second_when_it_was() -> None:
    assert Line(61.9, "WARNING", "hot").sentence() == "1970-01-01 00:01:01 WARNING hot"


def test_what_is_wrong_from_the_start_or_does_not_pass_is_said() -> None:
    for logs in (Logs(Code.UNAVAILABLE), Logs(["a"], Code.ACCESS_DENIED)):
        with pytest.raises(CloudError, match="no answer"):
            told(logs, 9)
