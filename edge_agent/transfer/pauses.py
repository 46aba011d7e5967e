"""Waiting between tries: full jitter, and never deaf to a cancellation."""

import random
from collections.abc import Callable

# Short enough that a cancellation is noticed at once, long enough to cost nothing.
_STEP_S = 0.1


class FullJitter:
    """Delays that grow exponentially and are drawn between 0 and that.

    AWS Architecture Blog, "Exponential Backoff and Jitter": full jitter spreads a
    thousand devices that came back at once.

    Args:
        rng: where chance comes from.
        base_s: largest first delay.
        cap_s: largest delay of all.
    """

    def __init__(self, rng: random.Random, *, base_s: float = 0.5, cap_s: float = 60.0) -> None:
        """Start at the shortest delay."""
        self._rng = rng
        self._base_s = base_s
        self._cap_s = cap_s
        self._tries = 0

    def next_s(self) -> float:
        """Return the seconds to wait before the next try."""
        # The exponent is bounded because 2.0**1024 overflows after a long outage.
        limit = min(self._cap_s, self._base_s * 2.0 ** min(self._tries, 32))
        self._tries += 1
        return self._rng.uniform(0.0, limit)

    def reset(self) -> None:
        """Begin again at the shortest delay, after a success."""
        self._tries = 0


def pause(seconds: float, *, sleep: Callable[[float], None], check: Callable[[], None]) -> None:
    """Wait ``seconds``, asking ``check`` before, between and after; what it raises ends the wait."""
    check()
    left = seconds
    while left > 0:
        step = min(left, _STEP_S)
        sleep(step)
        left -= step
        check()
