"""All devices of a simulated fleet on one thread, their connections on a few of the MQTT library's."""

import heapq
import math
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, NamedTuple

from cloud_tools.simulate import limits
from cloud_tools.simulate.course import Behaviour
from cloud_tools.simulate.device import SimulatedDevice
from cloud_tools.simulate.tally import Tally
from edge_agent.config import Mqtt
from edge_agent.jobs.happenings import Happening
from edge_agent.jobs.mqtt import Loops, MqttConnection

_LOOPS: Final = 2
_STOP_TIMEOUT_S: Final = 30.0


class _Stop(NamedTuple):
    pass


class Fleet:
    """Simulated devices that connect, work on their jobs and stay until they are stopped.

    Args:
        settings: where the broker is, and the certificate that all devices show.
        things: their names.
        behaviour: what becomes of their jobs.
        connects_per_s: how many begin to connect in a second.

    Raises:
        CloudError: this process may not have so many connections, or the machine lacks memory for them.
        ConfigError: the certificate, key or authority cannot be used.
    """

    def __init__(
        self, settings: Mqtt, things: Sequence[str], behaviour: Behaviour, *, connects_per_s: float = 100.0
    ) -> None:
        limits.check(len(things))
        self.tally = Tally()
        self._inputs: queue.SimpleQueue[tuple[int, Happening] | _Stop] = queue.SimpleQueue()
        loops = Loops(_LOOPS)
        self._links = [
            MqttConnection(settings, thing, hand_over=self._teller(number), loops=loops)
            for number, thing in enumerate(things)
        ]
        now = time.monotonic()
        self._devices = [
            SimulatedDevice(thing, link, behaviour, self.tally, start_at=now + number / connects_per_s)
            for number, (thing, link) in enumerate(zip(things, self._links, strict=True))
        ]
        self._alarms = [math.inf] * len(things)
        self._heap: list[tuple[float, int]] = []

    def run(self, *, seconds: float = math.inf, tell: Callable[[], None] = lambda: None, every_s: float = 1.0) -> None:
        """Work until stopped, at most so long; ``tell`` is called now and then on this thread."""
        for number in range(len(self._devices)):
            self._set_alarm(number)
        ends_at = time.monotonic() + seconds
        tell_at = time.monotonic() + every_s
        try:
            while (now := time.monotonic()) < ends_at and self._work(now, min(ends_at, tell_at)):
                if now >= tell_at:
                    tell()
                    tell_at = now + every_s
        finally:
            self._disconnect()

    def stop(self) -> None:
        """Let ``run`` end; for any thread and for signals."""
        self._inputs.put(_Stop())

    def _teller(self, number: int) -> Callable[[Happening], None]:
        return lambda happened: self._inputs.put((number, happened))

    def _work(self, now: float, until: float) -> bool:
        self._ring(now)
        wake_at = min(until, self._heap[0][0] if self._heap else math.inf)
        try:
            happened = self._inputs.get(timeout=None if wake_at == math.inf else max(0.0, wake_at - time.monotonic()))
        except queue.Empty:
            return True
        if isinstance(happened, _Stop):
            return False
        number, what = happened
        self._devices[number].take(what, time.monotonic())
        self._set_alarm(number)
        return True

    def _ring(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            at, number = heapq.heappop(self._heap)
            # An alarm that was set anew since leaves its old entry behind.
            if at == self._alarms[number]:
                self._alarms[number] = math.inf
                self._devices[number].due(now)
                self._set_alarm(number)

    def _set_alarm(self, number: int) -> None:
        due = self._devices[number].next_due()
        if due is None:
            self._alarms[number] = math.inf
        elif due != self._alarms[number]:
            self._alarms[number] = due
            heapq.heappush(self._heap, (due, number))

    def _disconnect(self) -> None:
        for link in self._links:
            link.stop(0)
        limit = time.monotonic() + _STOP_TIMEOUT_S
        for link in self._links:
            link.stop(max(0.0, limit - time.monotonic()))


@contextmanager
def running(fleet: Fleet) -> Iterator[Tally]:
    """Let a fleet work beside the block, on a thread of its own; what goes wrong there is raised here."""
    with ThreadPoolExecutor(1, thread_name_prefix="fleet") as pool:
        work = pool.submit(fleet.run)
        try:
            yield fleet.tally
        finally:
            fleet.stop()
            work.result()
