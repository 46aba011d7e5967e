"""How many bytes a second all downloads together may take."""

import threading
from collections.abc import Callable

_LARGEST_RANGE_BYTES = 4 << 20
_SMALLEST_RANGE_BYTES = 4 << 10
# A quarter of a second's bytes at a time: progress is smooth, and the burst after an
# idle time stays far inside the promised ±10 % of any ten seconds.
_PART_OF_SECOND = 4


class TokenBucket:
    """A cap shared by all who hold it.

    Who wants bytes reserves them first and waits as long as told; reserving may go
    into debt, so a large range waits its full time and no one is starved.

    Args:
        bytes_per_s: the cap; 0: none.
        clock: seconds that only grow.
    """

    def __init__(self, bytes_per_s: int, *, clock: Callable[[], float]) -> None:
        """Start full: a quarter of a second's bytes."""
        if bytes_per_s < 0:
            raise ValueError(f"expected a cap of 0 or more bytes per second, came {bytes_per_s}")
        self._rate = bytes_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._capacity = bytes_per_s / _PART_OF_SECOND
        self._tokens = self._capacity
        self._filled_at = clock()

    @property
    def range_bytes(self) -> int:
        """Return how many bytes to ask for at once: 4 MiB, less under a small cap."""
        if self._rate == 0:
            return _LARGEST_RANGE_BYTES
        return max(_SMALLEST_RANGE_BYTES, min(_LARGEST_RANGE_BYTES, self._rate // _PART_OF_SECOND))

    def reserve(self, size_bytes: int) -> float:
        """Take ``size_bytes`` and return the seconds to wait before moving them."""
        if self._rate == 0:
            return 0.0
        with self._lock:
            self._fill()
            self._tokens -= size_bytes
            return max(0.0, -self._tokens / self._rate)

    def give_back(self, size_bytes: int) -> None:
        """Return what was reserved but did not arrive."""
        if self._rate == 0:
            return
        with self._lock:
            self._fill()
            self._tokens = min(self._capacity, self._tokens + size_bytes)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
