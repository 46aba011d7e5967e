"""How a step waits, hears that it is no longer wanted, and tells how far it is."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from edge_agent.deployment.record import Deployment
from edge_agent.errors import TransferError

_log = logging.getLogger(__name__)

T = TypeVar("T")

PROGRESS_INTERVAL_S = 0.5
LIMIT_BACK_OFF_S = 120.0


class Work(NamedTuple):
    """What a step gets beside its record."""

    wait: Callable[[float], None]
    """Sleep so many seconds, but raise at once when the deployment must end."""
    cancelled: Callable[[], bool]
    progress: Callable[[Deployment], None]
    """Tell people how far it is."""
    keep: Callable[[Deployment], None]
    """Write the record down in the middle of a state."""
    jitter: Callable[[float], float]
    """A random time between 0 and its argument."""


class Meter:
    """Counts bytes and tells of them, but not too often."""

    def __init__(self, record: Deployment, kept: int, work: Work) -> None:
        self.record = record.model_copy(update={"bytes_done": kept})
        self.fetched = 0
        self._work = work
        self._told = 0.0

    def add(self, size_bytes: int) -> None:
        """Count bytes that have arrived."""
        self.fetched += size_bytes
        self.record = self.record.model_copy(update={"bytes_done": self.record.bytes_done + size_bytes})
        if time.monotonic() - self._told >= PROGRESS_INTERVAL_S:
            self._told = time.monotonic()
            self._work.progress(self.record)


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
