"""How a step waits, hears that it is no longer wanted, and tells how far it is."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from edge_agent.deployment.record import Deployment
from edge_agent.errors import TransferError

_log = logging.getLogger(__name__)

T = TypeVar("T")

PROGRESS_INTERVAL_S = 0.5
LOOK_INTERVAL_S = 5.0
LIMIT_BACK_OFF_S = 120.0


class Work(NamedTuple):
    """What a step gets beside its record."""

    wait: Callable[[float], None]
    """Sleep so many seconds, but raise at once when the deployment must end."""
    cancelled: Callable[[], bool]
    progress: Callable[[Deployment], None]
    """Tell people how far it is."""
    keep: Callable[[Deployment], object]
    """Write the record down in the middle of a state, and tell people."""
    jitter: Callable[[float], float]
    """A random time between 0 and its argument."""


class Meter:
    """Adds up how much of each blob is there, told by whoever fetches it, and passes it on, but not too often.

    Args:
        record: as it entered DOWNLOADING.
        present: bytes of each blob that an earlier try left.
        work: who is told.
    """

    def __init__(self, record: Deployment, present: Mapping[str, int], work: Work) -> None:
        self._lock = threading.Lock()
        self._present = dict(present)
        self._at_start = sum(present.values())
        self._record = record
        self._work = work
        self._told_at = 0.0
        self._told_bytes = -1

    @property
    def record(self) -> Deployment:
        """Return the record with the bytes that are there."""
        with self._lock:
            return self._record.model_copy(update={"bytes_done": sum(self._present.values())})

    @property
    def fetched(self) -> int:
        """Return the bytes that were fetched here."""
        return max(0, self.record.bytes_done - self._at_start)

    def at(self, sha256: str, size_bytes: int) -> None:
        """Note, on any thread, that so much of a blob is there now."""
        with self._lock:
            self._present[sha256] = size_bytes

    def tell(self) -> None:
        """Tell of the bytes, if more came and it is time; on the deployer's thread."""
        record = self.record
        if record.bytes_done != self._told_bytes and time.monotonic() - self._told_at >= PROGRESS_INTERVAL_S:
            self._told_at, self._told_bytes = time.monotonic(), record.bytes_done
            self._work.progress(record)


def interrupter(work: Work) -> Callable[[], None]:
    """Return what raises, asked during a long call, when the deployment must end: at once, or at its deadline."""
    looked_at = [time.monotonic()]

    def check() -> None:
        if work.cancelled() or time.monotonic() - looked_at[0] >= LOOK_INTERVAL_S:
            looked_at[0] = time.monotonic()
            work.wait(0.0)

    return check


def patiently(call: Callable[[], T], work: Work) -> T:
    """Return what ``call`` returns, trying again with full jitter while the network is at fault.

    Raises:
        TransferError: permanent; or what ``work.wait`` raises when the deployment must end.
    """
    limit_s = 1.0
    while True:
        try:
            return call()
        except TransferError as exc:
            if exc.permanent:
                raise
            _log.warning("repository not reached", extra={"action": "refresh_retry", "reason": exc.message})
        work.wait(work.jitter(limit_s))
        limit_s = min(limit_s * 2, LIMIT_BACK_OFF_S)
