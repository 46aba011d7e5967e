"""Lines of the log that the cloud is told: chosen by level and action, cleaned of secrets, limited in number.

A line is only put into a bounded queue; whoever logs waits for nothing. What comes too fast is counted, and
the next line that gets through says how many there were.
"""

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from edge_agent.formats import LogLine, LogNews
from edge_agent.telemetry.log_ring import line_of

LIMIT_WAITING: Final = 1000
# AWS IoT meters messages by 5 KB; a line with its fields is to be one of them.
_TEXT: Final = 1000
_FIELD: Final = 300
_FIELDS: Final = 8
_OFF: Final = logging.CRITICAL + 1
# Who sends the lines must not make new ones by that.
_OWN: Final = ("edge_agent.agent.fleet_news", "edge_agent.agent.device_shadow", "edge_agent.telemetry")
# Each begins with what must be there, not with any letters before it: whoever logs waits for the search.
_USER: Final = re.compile(r"((?<=[a-z0-9+.-])://)[^/\s@\"']+@", re.IGNORECASE)
_NAMED: Final = (
    r"(?:password|passwd|passphrase|secret(?:[-_]?access)?(?:[-_]?key)?|token|authorization|(?:api|private)[-_]?key)"
)
# A text in quotes ends at its own quote, not at one behind a backslash; one that was cut ends with the line.
_PAIR: Final = re.compile(
    rf"({_NAMED}[\"']?\s*[=:]\s*)"
    r"(?:(?:bearer|basic)\s+)?(\"(?:[^\"\\]|\\.)*(?:\"|\\?$)|'(?:[^'\\]|\\.)*(?:'|\\?$)|[^\s,;&\"'}]+)",
    re.IGNORECASE | re.DOTALL,
)
_BLOCK: Final = re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)", re.DOTALL)
_KEY: Final = re.compile(_NAMED, re.IGNORECASE)


class CloudLog(logging.Handler):
    """Chooses and queues lines.

    Args:
        thing: this device.
        level: the lowest that is told; OFF: none by its level.
        actions: lines with these are told at any level.
        per_minute: lines, at most; so many may come at once.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        thing: str,
        level: str,
        actions: Collection[str],
        per_minute: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._thing = thing
        self._least = _OFF if level == "OFF" else int(getattr(logging, level))
        self._actions = frozenset(actions)
        self._rate_s = per_minute / 60
        self._most = float(per_minute)
        self._clock = clock
        self._may, self._filled_at = self._most, clock()
        self._guard = threading.Lock()
        self._waiting: deque[LogNews] = deque()
        self._untold = 0
        self.suppressed = 0
        """Lines that were not told, since the agent started."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; one that cannot be told is the caller's mistake and handled as logging does."""
        if record.name.startswith(_OWN) or not self._is_wanted(record):
            return
        try:
            line = line_of(record)
        except (TypeError, ValueError):
            self.handleError(record)
            return
        with self._guard:
            if self._has_room():
                self._waiting.append(news_of(self._thing, line, self._untold))
                self._untold = 0
            else:
                self._untold += 1
                self.suppressed += 1

    def take(self) -> list[LogNews]:
        """Return what waits, the oldest first, and wait for more."""
        with self._guard:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def lost(self, taken: Collection[LogNews]) -> None:
        """Count lines that were taken and could not be kept, with those that they told of."""
        with self._guard:
            self._untold += len(taken) + sum(line.dropped for line in taken)
            self.suppressed += len(taken)

    def _is_wanted(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._least or getattr(record, "action", "") in self._actions

    def _has_room(self) -> bool:
        now = self._clock()
        self._may = min(self._most, self._may + (now - self._filled_at) * self._rate_s)
        self._filled_at = now
        if self._may < 1 or len(self._waiting) >= LIMIT_WAITING:
            return False
        self._may -= 1
        return True


def news_of(thing: str, line: LogLine, dropped: int = 0) -> LogNews:
    """Return a line as the cloud is told: without secrets, and cut."""
    action = line.fields.get("action", "")
    others = [(key, value) for key, value in line.fields.items() if key != "action"][:_FIELDS]
    fields = {key[:_FIELD]: "…" if _KEY.search(key) else without_secrets(value)[:_FIELD] for key, value in others}
    if "exception" in fields:
        # What went wrong stands in a traceback's last line.
        fields["exception"] = without_secrets(line.fields["exception"]).strip().rpartition("\n")[2][:_FIELD]
    return LogNews(
        thing=thing,
        at=line.at,
        level=line.level,
        logger=line.logger,
        action=action[:_FIELD],
        message=without_secrets(line.message)[:_TEXT],
        fields=fields,
        dropped=dropped,
    )


def without_secrets(text: str) -> str:
    """Return the text without logins in URLs, values named as secrets, and PEM blocks."""
    text = _BLOCK.sub("…", text)
    return _PAIR.sub(r"\1…", _USER.sub(r"\1…@", text))
