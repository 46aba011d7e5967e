"""Requests asked once more beside the line, one after the other, on a thread of their own.

What is asked here may hang or crash its worker: the deployment's own thread only looks
in, and the line's threads only hand over, or drop when there is no room.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from typing_extensions import Self

from edge_agent.telemetry.threads import Watched

R = TypeVar("R")

_ROOM = 4
_MOST_PAUSE_S = 1.0


class Aside(Generic[R]):
    """Makes calls whose results are taken later; leave the block, and what is left is not made.

    Args:
        name: of the thread.
        room: how many calls may wait.
    """

    def __init__(self, name: str, room: int = _ROOM) -> None:
        self._changed = threading.Condition()
        self._room = room
        self._calls: deque[Callable[[], R]] = deque()
        self._results: list[R] = []
        self._busy = False
        self._thread = Watched(name, self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Not waited for: a candidate that hangs must not hold up a cancellation.
        self._thread.stopping.set()
        with self._changed:
            self._calls.clear()
            self._changed.notify_all()

    @property
    def has_room(self) -> bool:
        """Tell whether a call would be taken now."""
        return len(self._calls) < self._room

    @property
    def idle(self) -> bool:
        """Tell whether every call was made and every result taken."""
        with self._changed:
            return not (self._calls or self._busy or self._results)

    def offer(self, call: Callable[[], R]) -> bool:
        """Have a call made soon; False: there is no room, it is not made. Never waits."""
        with self._changed:
            taken = self.has_room and not self._thread.stopping.is_set()
            if taken:
                self._calls.append(call)
                self._changed.notify_all()
        return taken

    def take(self) -> list[R]:
        """Return what came since the last time."""
        with self._changed:
            taken, self._results = self._results, []
        return taken

    def _work(self, thread: Watched) -> None:
        while (call := self._next(thread)) is not None:
            started = time.monotonic()
            result = call()
            with self._changed:
                self._results.append(result)
                self._busy = False
            # Half of the time at most, so that a line on a single core keeps the other half.
            thread.wait(min(time.monotonic() - started, _MOST_PAUSE_S))

    def _next(self, thread: Watched) -> Callable[[], R] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._calls or thread.stopping.is_set())
            if thread.stopping.is_set():
                return None
            self._busy = True
            return self._calls.popleft()
