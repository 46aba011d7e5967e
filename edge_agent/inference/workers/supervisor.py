"""One worker process and the thread that keeps it alive.

The thread starts the worker, waits for its death or for an answer that is overdue, and
starts the next. It also takes in answers whose callers have left, so that their lane is
free again. It must live as long as the worker: the kernel ends a worker together with
the thread that started it.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

from edge_agent.errors import ActivationError, AgentError, Code
from edge_agent.inference.workers.lanes import Lanes
from edge_agent.inference.workers.process import Order, WorkerProcess
from edge_agent.inference.workers.segments import Endpoint
from edge_agent.telemetry import metrics
from edge_agent.telemetry.threads import Watched

_LOG = logging.getLogger(__name__)

_LEAST_BACK_OFF_S = 0.1
_MOST_BACK_OFF_S = 10.0


class _Ended(Exception):  # noqa: N818 - not a fault: somebody closed the session
    """The supervisor is to end."""


class Supervisor:
    """Keeps one worker answering on ``lanes`` until it is closed."""

    def __init__(
        self,
        order: Order,
        lanes: Lanes[Endpoint],
        on_restart: Callable[[str], None] | None,
        spare: Callable[[], WorkerProcess | None] = lambda: None,
    ) -> None:
        self._order = order
        self._spare = spare
        self._lanes = lanes
        self._on_restart = on_restart
        self._wake = _event()
        self._lock = threading.Lock()
        self._late: dict[Endpoint, float] = {}
        self._current: frozenset[Endpoint] = frozenset()
        self._fault = ""
        self._closing = False
        self._started = threading.Event()
        self._failure: AgentError | None = None
        self._thread = Watched(f"worker-{order.manifest['model']}", self._run)
        self.provider = ""
        self.fallback = ""
        self.process_id: int | None = None
        self.restarts = 0
        self.ready = False

    def start(self) -> None:
        """Start the worker and wait until it has loaded.

        Raises:
            ActivationError: LOAD_FAILED.
        """
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            os.close(self._wake)
            raise self._failure

    def take_in(self, lane: Endpoint, sent: float, fault: str = "") -> None:
        """Wait in the caller's place for an answer that was asked for at ``sent``, and drop it.

        With a ``fault`` the worker is not waited for, but killed and replaced. A lane of a
        worker that is gone already is closed, and never counts against the next one.
        """
        with self._lock:
            known = lane in self._current and not self._closing
            if known:
                self._late[lane] = sent
                self._fault = fault or self._fault
                self._poke()
        if not known:
            lane.close()

    def close(self) -> None:
        """End worker and thread."""
        with self._lock:
            self._closing = True
            self._thread.stopping.set()
            self._poke()
        self._thread.join()
        os.close(self._wake)

    def _run(self, thread: Watched) -> None:
        try:
            worker = self._first()
            while worker is not None:
                how = self._watch(worker)
                worker = None if how is None else self._next(how)
        except _Ended:
            pass
        thread.stopping.set()

    def _first(self) -> WorkerProcess | None:
        try:
            return self._load()
        except ActivationError as exc:
            self._failure = exc
            return None
        finally:
            self._started.set()

    def _next(self, how: str) -> WorkerProcess:
        self.restarts += 1
        metrics.count_worker_restart(self._order.manifest["model"], self._order.manifest["version"])
        _LOG.warning("a worker is replaced", extra={"action": "worker_replaced", "model": self._name, "reason": how})
        if self._on_restart is not None:
            self._on_restart(how)
        back_off = _LEAST_BACK_OFF_S
        while True:
            try:
                return self._load()
            except ActivationError as exc:
                extra = {"action": "worker_load_failed", "model": self._name, "reason": exc.message}
                _LOG.error("a worker could not be replaced yet", extra=extra)
            self._sleep(back_off)
            back_off = min(2 * back_off, _MOST_BACK_OFF_S)

    def _load(self) -> WorkerProcess:
        worker = self._spare() or WorkerProcess()
        try:
            worker.order(self._order)
            self._await(worker)
            told = worker.answer()
            self.provider, self.fallback = str(told["provider"]), str(told["fallback"])
        except (ActivationError, OSError, _Ended) as exc:
            how = worker.end()
            for lane in worker.lanes:
                lane.close()
            if isinstance(exc, OSError):
                raise ActivationError(Code.LOAD_FAILED, f"the worker {how} while it was told what to load") from exc
            raise
        with self._lock:
            self._current = frozenset(worker.lanes)
        self.process_id = worker.process_id
        self.ready = True
        self._lanes.add(worker.lanes)
        return worker

    def _await(self, worker: WorkerProcess) -> None:
        limit = self._order.load_timeout_s
        deadline = time.monotonic() + limit
        ready: list[Any] = []
        while not ready:
            ready = _readable([worker.control], self._wake, deadline - time.monotonic())
            # Also when it has loaded: who closes wakes this thread once, and that was taken up here.
            self._check_open()
            if not ready and time.monotonic() >= deadline:
                raise ActivationError(Code.LOAD_FAILED, f"expected the model loaded within {limit:g} s, it was not")

    def _watch(self, worker: WorkerProcess) -> str | None:
        """Return how the worker ended, or None when the session is closed."""
        how: str | None = None
        try:
            while how is None:
                how = self._look(worker)
        except _Ended:
            pass
        self.ready = False
        ended = worker.end()
        with self._lock:
            abandoned = [*self._late]
            self._late.clear()
            self._current = frozenset()
            self._fault = ""
        for lane in [*self._lanes.withdraw(), *abandoned]:
            lane.close()
        self.process_id = None
        return None if how is None else (how or f"it {ended}")

    def _look(self, worker: WorkerProcess) -> str | None:
        """Wait for the next happening; return why the worker must go, "" if it went by itself."""
        with self._lock:
            late = dict(self._late)
        hang = self._order.hang_timeout_s
        until = min(late.values()) + hang - time.monotonic() if late else None
        ready = _readable([worker.control, *late], self._wake, until)
        self._check_open()
        if self._fault:
            return self._fault
        if worker.control in ready:
            return ""
        for lane in late.keys() & set(ready):
            self._drop_answer(lane)
        overdue = any(time.monotonic() > sent + hang for lane, sent in late.items() if lane not in ready)
        return f"it answered nothing for {hang:g} s" if overdue else None

    def _drop_answer(self, lane: Endpoint) -> None:
        try:
            lane.receive(0)
        except (ConnectionError, TimeoutError):
            return  # the worker ended: the control socket tells
        with self._lock:
            self._late.pop(lane, None)
        if not self._lanes.give(lane):
            lane.close()

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            _readable([], self._wake, deadline - time.monotonic())
            self._check_open()

    def _check_open(self) -> None:
        if self._closing:
            raise _Ended

    def _poke(self) -> None:
        os.eventfd_write(self._wake, 1)

    @property
    def _name(self) -> str:
        return f"{self._order.manifest['model']} {self._order.manifest['version']}"


def _event() -> int:
    try:
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    except OSError as exc:
        raise ActivationError(Code.LOAD_FAILED, f"expected a descriptor for a worker, {exc.strerror}") from exc


def _readable(sources: list[Any], wake: int, timeout_s: float | None) -> list[Any]:
    """Return which of ``sources`` can be read; comes back early, with none, when it is woken."""
    poll = select.poll()
    by_descriptor = {source.fileno(): source for source in sources}
    for descriptor in [*by_descriptor, wake]:
        poll.register(descriptor, select.POLLIN)
    happened = poll.poll(None if timeout_s is None else max(0.0, timeout_s * 1000))
    found = {descriptor for descriptor, _ in happened}
    if wake in found:
        os.eventfd_read(wake)
    return [source for descriptor, source in by_descriptor.items() if descriptor in found]
