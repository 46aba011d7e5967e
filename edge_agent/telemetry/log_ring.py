"""The newest lines of the log, kept in memory for whoever looks at the page in place of the journal.

What is kept is bounded: lines, and the length of each. Signatures of URLs are cut as in the log itself.
"""

import logging
from collections import deque
from typing import Any

from edge_agent.formats import LogLine
from edge_agent.telemetry.logs import extra_fields, without_signatures

LIMIT_LINES = 1000
LIMIT_TEXT = 2000
LIMIT_FIELDS = 16


class LogRing(logging.Handler):
    """Keeps the newest records.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int = LIMIT_LINES) -> None:
        super().__init__()
        self._lines: deque[tuple[int, LogLine]] = deque(maxlen=limit)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; one that cannot be told is the caller's mistake and handled as logging does."""
        try:
            line = line_of(record)
        except (TypeError, ValueError):
            self.handleError(record)
            return
        self._lines.append((record.levelno, line))

    def lines(self, limit: int, level: int = logging.NOTSET) -> list[LogLine]:
        """Return the newest ``limit`` lines of a level and above, newest last."""
        with self._locked():
            kept = list(self._lines)
        return [line for number, line in kept if number >= level][-limit:]

    def _locked(self) -> Any:
        # A handler's records come under its lock; there is none only where the interpreter goes down.
        assert self.lock is not None
        return self.lock


def line_of(record: logging.LogRecord) -> LogLine:
    """Return a record as it is kept: cut, and without the signatures of URLs."""
    fields = dict(list(extra_fields(record).items())[:LIMIT_FIELDS])
    if record.exc_info:
        # What went wrong stands at a traceback's end.
        told = without_signatures(logging.Formatter().formatException(record.exc_info))
        fields["exception"] = told[-LIMIT_TEXT:]
    return LogLine(
        at=record.created,
        level=record.levelname,
        logger=record.name,
        message=_cut(record.getMessage()),
        fields={_cut(str(key)): _cut(str(value)) for key, value in fields.items()},
    )


def _cut(text: str) -> str:
    return without_signatures(text)[:LIMIT_TEXT].encode("utf-8", "replace").decode()
