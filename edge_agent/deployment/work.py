"""How a step waits, hears that it is no longer wanted, and tells how far it is."""

import logging
import time
from collections.abc import Callable, Mapping
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
    keep: Callable[[Deployment], object]
    """Write the record down in the middle of a state, and tell people."""
    jitter: Callable[[float], float]
    """A random time between 0 and its argument."""


class Meter:
    """Adds up how much of each blob is there and tells of it, but not too often.

    Args:
        record: as it entered DOWNLOADING.
        present: bytes of each blob that an earlier try left.
        work: who is told.
    """

    def __init__(self, record: Deployment, present: Mapping[str, int], work: Work) -> None:
        self._present = dict(present)
        self._at_start = sum(present.values())
        self._work = work
        self._told = 0.0
        self.record = record.model_copy(update={"bytes_done": self._at_start})

    @property
    def fetched(self) -> int:
        """Return the bytes that were fetched here."""
        return max(0, self.record.bytes_done - self._at_start)

    def at(self, sha256: str, size_bytes: int) -> None:
        """Note that so much of a blob is there now."""
        self._present[sha256] = size_bytes
        self.record = self.record.model_copy(update={"bytes_done": sum(self._present.values())})
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
