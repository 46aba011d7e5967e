"""Whether a live stream's picture is of now: what was buffered on the way comes faster than it was taken. Pure."""

import math
from typing import NamedTuple

# A picture may come so much later than the quickest one did.
BEHIND_S = 0.5
# Clocks differ; what is this slow to change is no delay.
_DRIFT = 0.01
# Pictures without stamps: what waited for nobody was waiting itself.
_LEAST_GAP_S = 0.005


class _Seen(NamedTuple):
    at: float
    stamp: float


class Pace:
    """Compares when pictures come with when they were taken.

    While a stream is opened, and while the network pauses, pictures wait somewhere; then
    they come all at once, and the first of them show what was seconds ago.

    Attributes:
        behind_s: how much later than the quickest picture the last one came; without its stamp nobody knows.
    """

    def __init__(self) -> None:
        self.behind_s = math.inf
        self._last: _Seen | None = None
        self._least = 0.0
        self._settled = False

    def is_live(self, at: float, stamp: float) -> bool:
        """Tell whether a picture was taken about when it came; of the first one nobody knows.

        Args:
            at: when it came, in seconds of a clock of this machine.
            stamp: when it was taken, in seconds of the stream's own clock.
        """
        last, self._last = self._last, _Seen(at, stamp)
        self.behind_s = math.inf
        if last is None:
            return False
        came_s, taken_s = at - last.at, stamp - last.stamp
        if taken_s <= 0:
            # No stamps, or a clock that was set: nothing to compare with.
            self._settled = came_s > _LEAST_GAP_S
            self._least = at - stamp
            return self._settled
        self._settled = self._settled or came_s > taken_s / 2
        self._least = min(self._least + came_s * _DRIFT, at - stamp) if self._settled else at - stamp
        self.behind_s = at - stamp - self._least
        return self._settled and self.behind_s <= BEHIND_S
