"""The agent's news: a bounded ring that any number of readers follow at their own pace.

A publisher never waits. A reader that is too slow loses the oldest events and sees that
by a gap in the ids.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType

from typing_extensions import Self

from edge_agent.formats import Event, Payload
from edge_agent.telemetry import metrics

_SIZE = 1024


class Events:
    """Publish and follow events; safe for any number of threads.

    Args:
        size: how many events are kept.
        now: epoch seconds.
    """

    def __init__(self, *, size: int = _SIZE, now: Callable[[], float] = time.time) -> None:
        self._ring: deque[Event] = deque(maxlen=size)
        self._changed = threading.Condition()
        self._now = now
        self._last = 0
        self._closed = False

    def publish(self, payload: Payload) -> Event:
        """Tell everyone; return the event. After ``close`` nobody hears it."""
        with self._changed:
            self._last += 1
            event = Event(self._last, self._now(), payload)
            self._ring.append(event)
            self._changed.notify_all()
        return event

    def subscribe(self, after: int = 0) -> "Subscription":
        """Return a reader of the events after an id; 0: of those from now on.

        An id that was not given out yet comes from before a restart: the reader gets all there are.
        """
        with self._changed:
            first = after + 1 if after else self._last + 1
            if after > self._last:
                first = 1
        return Subscription(self, first)

    def close(self) -> None:
        """End all subscriptions, once their readers have what is still in the ring."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, wanted: int, given_up: Callable[[], bool]) -> Event | None:
        """Return the oldest event from ``wanted`` on, waiting for it; None when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._last >= wanted or self._closed or given_up())
            if given_up() or self._last < wanted:
                return None
            oldest = self._ring[0].id
            return self._ring[max(wanted - oldest, 0)]

    def wake(self) -> None:
        """Let waiting readers look again whether they were closed."""
        with self._changed:
            self._changed.notify_all()


class Subscription:
    """An iterator over events that ends on ``close``, from whatever thread that comes."""

    def __init__(self, events: Events, first: int) -> None:
        self._events = events
        self._wanted = first
        self._closed = False

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """Return the next event, waiting for it."""
        event = self._events.wait(self._wanted, lambda: self._closed)
        if event is None:
            raise StopIteration
        if event.id > self._wanted:
            metrics.count_dropped_events(event.id - self._wanted)
        self._wanted = event.id + 1
        return event

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._events.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
