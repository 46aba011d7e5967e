"""Which shift it is. Pure.

A shift is an interval of local wall time, from its own begin to the next one's, so that a day on which
clocks are changed has one shift that is longer or shorter. A begin that is skipped in spring comes when
clocks go on; one that would come twice in autumn comes the first time.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

WHOLE_DAY = {"day": "00:00"}

_DAYS = (-1, 0, 1, 2)


class ShiftSpan(NamedTuple):
    """One shift of one day; whole epoch seconds."""

    name: str
    began: int
    ends: int

    def covers(self, now: float) -> bool:
        """Tell whether it runs."""
        return self.began <= now < self.ends


def shift_at(now: float, begins: Mapping[str, str], zone: tzinfo | None = None) -> ShiftSpan:
    """Return the shift that runs.

    Args:
        now: epoch seconds.
        begins: by name, local wall time as HH:MM; none: one shift from midnight to midnight.
        zone: whose wall time; None: this machine's.
    """
    today = datetime.fromtimestamp(now, zone).date()
    # Of those that a change of clocks makes begin at once only the last has any length.
    instants: dict[int, str] = {}
    for days in _DAYS:
        day = today + timedelta(days=days)
        for name, begin in sorted((begins or WHOLE_DAY).items(), key=lambda item: item[1]):
            instants[_epoch(day, begin, zone)] = name
    ordered = sorted(instants)
    began = max(instant for instant in ordered if instant <= now)
    return ShiftSpan(instants[began], began, min(instant for instant in ordered if instant > now))


def _epoch(day: date, begin: str, zone: tzinfo | None) -> int:
    hours, _, minutes = begin.partition(":")
    return int(datetime.combine(day, time(int(hours), int(minutes)), tzinfo=zone).timestamp())
