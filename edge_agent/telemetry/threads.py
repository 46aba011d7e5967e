"""Threads with a name and a watch: one that ends unasked takes the process with it.

A process that lost one of its threads looks alive and does half its work. It is better
started again, which the service manager does.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

# sysexits(3): an internal software error.
EXIT_SOFTWARE = 70

_WATCHED: "weakref.WeakSet[Watched]" = weakref.WeakSet()


def end_process(_name: str) -> None:
    """End the process at once, whichever thread ended."""
    logging.shutdown()
    os._exit(EXIT_SOFTWARE)


class Watched(threading.Thread):
    """A thread that does ``work`` until it is stopped.

    Args:
        name: what it is called in logs.
        work: gets this thread; returns soon after ``stopping`` is set, and not before.
        silent_s: it is reported silent when it neither waits nor beats for so long; 0: it may be silent.
        ended: called with the name when ``work`` ends unasked.
    """

    def __init__(
        self,
        name: str,
        work: Callable[["Watched"], None],
        *,
        silent_s: float = 0.0,
        ended: Callable[[str], None] = end_process,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()
        self._work = work
        self._silent_s = silent_s
        self._ended = ended
        self._heard_at = time.monotonic()

    def run(self) -> None:
        """Work; tell when that ends unasked."""
        self.beat()
        _WATCHED.add(self)
        try:
            self._work(self)
        finally:
            _WATCHED.discard(self)
            if not self.stopping.is_set():
                extra = {"action": "thread_ended", "name_of_thread": self.name}
                _LOG.critical("a thread ended unasked", extra=extra, exc_info=True)
                self._ended(self.name)

    def beat(self) -> None:
        """Show that work goes on."""
        self._heard_at = time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait, or less if the thread is to stop; return whether it is. To wait is not to be silent."""
        self._heard_at = time.monotonic() + seconds
        stop = self.stopping.wait(seconds)
        self.beat()
        return stop

    def is_silent(self) -> bool:
        """Tell whether nothing was heard for too long."""
        return bool(self._silent_s) and time.monotonic() - self._heard_at > self._silent_s

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ask the thread to end and wait for it; return whether it did. One that never ran has ended."""
        self.stopping.set()
        if self.ident is not None and self is not threading.current_thread():
            self.join(timeout_s)
        return not self.is_alive()


def silent_threads() -> list[str]:
    """Return the names of watched threads that are silent for too long."""
    return sorted(thread.name for thread in list(_WATCHED) if thread.is_silent())
