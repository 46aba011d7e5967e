"""When a transfer is too slow to be one: slow retrieval is an attack, and a dying link looks the same.

TUF names it (Slow Retrieval): a server that answers for ever, byte by byte, keeps a device from
updating without an error that anybody would see.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from edge_agent.errors import Code, TransferError


class SpeedFloor(NamedTuple):
    """The mean speed below which a request is dropped.

    Only the time inside requests counts: waiting for the bandwidth cap, or between tries, is our own.
    """

    bytes_per_s: float = 0.0  # 0: none
    window_s: float = 30.0
    clock: Callable[[], float] = time.monotonic

    def watch(self) -> "Pace":
        """Return what measures one download."""
        return Pace(self)


class Pace:
    """The mean speed of one download over windows of request time."""

    def __init__(self, floor: SpeedFloor) -> None:
        self._floor = floor
        self._asked_at = 0.0
        self._spent_s = 0.0  # in earlier requests of this window
        self._came = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count the time of the block."""
        self._asked_at = self._floor.clock()
        try:
            yield
        finally:
            self._spent_s += self._floor.clock() - self._asked_at

    def came(self, size_bytes: int) -> None:
        """Note that bytes came."""
        self._came += size_bytes

    def check(self) -> None:
        """Judge the window if it is over; asked during a request.

        Raises:
            TransferError: TRANSFER_FAILED: its mean lies below the floor.
        """
        spent_s = self._spent_s + self._floor.clock() - self._asked_at
        if spent_s < self._floor.window_s:
            return
        came, self._came = self._came, 0
        self._spent_s -= spent_s
        if came < self._floor.bytes_per_s * spent_s:
            message = f"expected at least {self._floor.bytes_per_s:g} bytes/s, came {came} bytes in {spent_s:.1f} s"
            raise TransferError(Code.TRANSFER_FAILED, message)
