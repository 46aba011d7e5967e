"""Reads what devices told of their logs, from the log group into which a rule puts it."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import PASSING, CloudError
from cloud_tools.fleet.device import mapping, number, text, when
from edge_agent.errors import Code
from edge_agent.formats.text import printable

GROUP = "/edge-agent/logs"
_SPAN = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# Events of one moment come in no order, and late ones come late.
_OVERLAP_MS = 30_000


class Line(NamedTuple):
    """One line of a device's log."""

    at: float
    level: str
    message: str
    action: str = ""
    fields: dict[str, str] = {}  # noqa: RUF012 - a tuple's default, never changed
    dropped: int = 0

    def sentence(self) -> str:
        """Return it as a person reads it."""
        fields = " ".join(f"{key}={value}" for key, value in self.fields.items())
        lost = f"({self.dropped} lines before it were not told)" if self.dropped else ""
        at = when(self.at, seconds=True)
        return printable(" ".join(filter(None, (at, self.level, self.action, self.message, fields, lost))))


def seconds(span: str) -> int:
    """Return ``10m`` and its like in seconds.

    Raises:
        CloudError: INVALID_ARGUMENT.
    """
    found = _SPAN.fullmatch(span)
    if found is None:
        raise CloudError(Code.INVALID_ARGUMENT, f"--since: expected a number with s, m, h or d, as 15m, came {span!r}")
    return int(found[1]) * _SECONDS[found[2]]


def read_lines(aws: Aws, thing: str, since: float) -> Iterator[tuple[str, Line]]:
    """Yield event ids and lines from a time on, epoch seconds.

    Raises:
        CloudError: NOT_FOUND: there is no such log group; or AWS refused.
    """
    asked = {"logGroupName": GROUP, "startTime": int(since * 1000), "filterPattern": f'{{ $.thing = "{thing}" }}'}
    try:
        for event in aws.pages("logs", "filter_log_events", "events", **asked):
            line = _line(str(event.get("message", "")), thing)
            if line is not None:
                yield str(event["eventId"]), line
    except CloudError as exc:
        if exc.code is not Code.NOT_FOUND:
            raise
        message = f"expected a log group {GROUP} with a rule that fills it from edge-agent/+/log, there is none"
        raise CloudError(Code.NOT_FOUND, message) from exc


def follow(aws: Aws, thing: str, since: float, *, wait: Callable[[], None], now: Callable[[], float]) -> Iterator[Line]:
    """Yield lines as they come, each once, without end; a cloud that is away for a while is asked again.

    Raises:
        CloudError: as ``read_lines``; what passes, only at the first time.
    """
    seen: dict[str, None] = {}
    answered = False
    while True:
        asked_at = now()
        try:
            for event, line in read_lines(aws, thing, since):
                if event not in seen:
                    seen[event] = None
                    yield line
        except CloudError as exc:
            if not answered or exc.code not in PASSING:
                raise
        else:
            answered, since = True, max(since, asked_at - _OVERLAP_MS / 1000)
        for old in list(seen)[:-10_000]:
            del seen[old]
        wait()


def _line(message: str, thing: str) -> Line | None:
    try:
        found: Any = json.loads(message)
    except ValueError:
        return None
    told = mapping(found)
    # The pattern is the service's; what it lets through is still looked at.
    if told.get("thing") != thing:
        return None
    fields = {key: text(value) for key, value in mapping(told.get("fields")).items()}
    return Line(
        at=number(told.get("at")) or 0.0,
        level=text(told.get("level")),
        message=text(told.get("message")),
        action=text(told.get("action")),
        fields=fields,
        dropped=int(number(told.get("dropped")) or 0),
    )
