"""The queue in front of one model: who may run next.

A lane is the right to one inference. Callers wait here, by priority and then by the
oldest deadline, and run on their own thread: no thread stands between them and the
worker. When too many wait, the next is turned away at once, never queued past use.
"""

import heapq
import itertools
import threading
import time
from typing import Generic, TypeVar

from edge_agent.errors import Code, InferenceError
from edge_agent.inference.session import Priority

L = TypeVar("L")


class _Waiter(Generic[L]):
    def __init__(self, priority: Priority, deadline: float, order: int) -> None:
        self.rank = (priority, deadline, order)
        self.lane: L | None = None
        self.gate = threading.Lock()
        self.gate.acquire()

    def __lt__(self, other: "_Waiter[L]") -> bool:
        return self.rank < other.rank


class Lanes(Generic[L]):
    """Free lanes and the callers that wait for one; times are ``time.monotonic``."""

    def __init__(self, limit: int) -> None:
        """Let at most ``limit`` callers wait."""
        self._lock = threading.Lock()
        self._limit = limit
        self._free: list[L] = []
        self._lent: set[L] = set()
        self._waiting: list[_Waiter[L]] = []
        self._order = itertools.count()
        self._closed = False

    def take(self, *, deadline: float, priority: Priority = Priority.LINE) -> L:
        """Return a lane, waiting for one until the deadline.

        Raises:
            InferenceError: RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, or UNAVAILABLE where
                there is no lane at all (the worker is being replaced) or the model was closed.
        """
        with self._lock:
            self._check_open()
            if deadline <= time.monotonic():
                raise InferenceError(Code.DEADLINE_EXCEEDED, "expected time left for the request, came none")
            if self._free:
                return self._lend(self._free.pop())
            if len(self._waiting) >= self._limit:
                raise InferenceError(Code.RESOURCE_EXHAUSTED, f"{self._limit} requests wait already, the queue is full")
            waiter = _Waiter[L](priority, deadline, next(self._order))
            heapq.heappush(self._waiting, waiter)
        waiter.gate.acquire(timeout=max(0.0, deadline - time.monotonic()))
        return self._outcome(waiter)

    def give(self, lane: L) -> bool:
        """Take a lane back; the first in the queue gets it. False: it was withdrawn meanwhile, drop it."""
        with self._lock:
            known = lane in self._lent
            if known:
                self._lent.discard(lane)
                self._pass_on(lane)
        return known

    def drop(self, lane: L) -> None:
        """Forget a lent lane: its worker is gone, or going."""
        with self._lock:
            self._lent.discard(lane)

    def add(self, lanes: list[L]) -> None:
        """Add new lanes."""
        with self._lock:
            for lane in lanes:
                self._pass_on(lane)

    def withdraw(self) -> list[L]:
        """Forget all lanes, as their worker is gone, and return the free ones. Who waits goes on waiting."""
        with self._lock:
            free, self._free = self._free, []
            self._lent.clear()
        return free

    def close(self) -> list[L]:
        """End all waiting, refuse what comes, and return the free lanes."""
        with self._lock:
            self._closed = True
            for waiter in self._waiting:
                waiter.gate.release()
            self._waiting.clear()
        return self.withdraw()

    @property
    def waiting(self) -> int:
        """Return how many callers wait."""
        return len(self._waiting)

    def _pass_on(self, lane: L) -> None:
        now = time.monotonic()
        while self._waiting:
            waiter = heapq.heappop(self._waiting)
            expired = waiter.rank[1] <= now  # its own thread is about to find out
            if not expired:
                waiter.lane = self._lend(lane)
            waiter.gate.release()
            if not expired:
                return
        self._free.append(lane)

    def _lend(self, lane: L) -> L:
        self._lent.add(lane)
        return lane

    def _outcome(self, waiter: _Waiter[L]) -> L:
        with self._lock:
            if waiter.lane is not None:
                return waiter.lane
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                heapq.heapify(self._waiting)
            self._check_open()
            if not self._lent and not self._free:
                raise InferenceError(Code.UNAVAILABLE, "the model's worker is being replaced, and was not back in time")
            raise InferenceError(Code.DEADLINE_EXCEEDED, "the request waited in the queue until its deadline")

    def _check_open(self) -> None:
        if self._closed:
            raise InferenceError(Code.UNAVAILABLE, "the model version was closed")
