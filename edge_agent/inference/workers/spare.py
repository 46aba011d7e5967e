"""A worker's process started ahead, so that a new worker need not wait for its imports.

Expected while an engine is built, it lets a candidate load at once; kept while models are loaded,
where the settings say so, it does that for a dead worker's successor. It is the first that the
kernel ends when memory runs out: then a worker imports as ever.
"""

import logging
import threading
from collections.abc import Sequence

from edge_agent.errors import ActivationError
from edge_agent.inference.workers.process import WorkerProcess
from edge_agent.telemetry.threads import Watched

_LOG = logging.getLogger(__name__)

# Importing takes a core for half a second: not while the line waits for what has just been loaded or replaced.
_DELAY_S = 5.0


class Spare:
    """One process that waits for an order, and the thread that starts it.

    The kernel ends a worker together with the thread that started it, so the thread lives until ``close``,
    and whoever took a process from here closes first.

    Args:
        keep: have one ready again after each that was taken.
        imports: runtimes that it imports.
        delay_s: so long after a process was taken the next is started.
    """

    def __init__(self, *, keep: bool, imports: Sequence[str], delay_s: float = _DELAY_S) -> None:
        self._keep = keep
        self._imports = imports
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._hurry = threading.Event()
        self._thread: Watched | None = None
        self._process: WorkerProcess | None = None

    def expect(self) -> None:
        """Start one now, unless there is one; returns at once."""
        self._hurry.set()
        self._want()

    def expect_nothing(self) -> None:
        """End one that was started for nothing."""
        self._hurry.clear()
        if not self._keep:
            self._wanted.clear()
            self._drop()

    def take(self) -> WorkerProcess | None:
        """Return the one that waits; None: there is none."""
        with self._lock:
            process, self._process = self._process, None
        self._hurry.clear()
        if self._keep:
            self._want()
        if process is not None and not process.waits:
            process.end()
            return None
        return process

    def close(self) -> None:
        """End it, and the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stopping.set()
            self._hurry.set()
            self._wanted.set()
            thread.join()
        self._drop()

    @property
    def process_id(self) -> int | None:
        """Return the process id of the one that waits."""
        process = self._process
        return None if process is None else process.process_id

    def _want(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Watched("spare-worker", self._run)
                self._thread.start()
        self._wanted.set()

    def _run(self, thread: Watched) -> None:
        while True:
            self._wanted.wait()
            self._hurry.wait(self._delay_s)
            if thread.stopping.is_set():
                return
            if self._wanted.is_set():
                self._wanted.clear()
                self._start()

    def _start(self) -> None:
        if self._process is not None:
            return
        try:
            process = WorkerProcess(self._imports)
        except ActivationError as exc:
            _LOG.warning("no spare worker", extra={"action": "spare_worker_failed", "reason": exc.message})
            return
        with self._lock:
            self._process = process
        if not self._keep and not self._hurry.is_set():
            self._drop()  # while it was started, whoever expected it went without

    def _drop(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.end()
