"""Captures on disk: those that wait, and the history of those that no longer do.

What is on the shelf was promised: it leaves only when it is in the cloud or damaged.
Locking: decisions under the lock, disk outside it.
"""

import logging
import threading
from pathlib import Path
from typing import Literal, NamedTuple

from edge_agent.capture import files
from edge_agent.capture.history import History
from edge_agent.capture.policy import urgent
from edge_agent.capture.records import Capture
from edge_agent.errors import Code, StorageError
from edge_agent.formats import CaptureReport
from edge_agent.storage import durable

log = logging.getLogger(__name__)

Finish = Literal["UPLOADED", "FAILED"]


class Waiting(NamedTuple):
    """A capture on disk."""

    path: Path
    capture: Capture
    size_bytes: int
    blamed: int = 0

    @property
    def order(self) -> tuple[int, bool, float]:
        """Return what sorts: those that failed where others did not come last, NG first, then the oldest."""
        return self.blamed, not urgent(self.capture.verdict), self.capture.at


class Shelf:
    """Captures that wait, found again after a restart. Thread-safe.

    Args:
        directory: its own; made when absent.
        quota_bytes: disk space for what waits.

    Raises:
        StorageError: the directory cannot be used.
    """

    def __init__(self, directory: Path, quota_bytes: int) -> None:
        durable.make_directory(directory)
        durable.sweep(directory)
        self._directory = directory
        self._quota_bytes = quota_bytes
        self._lock = threading.Lock()
        self._waiting: dict[str, Waiting] = {}
        self._bytes = 0
        self.history = History(directory / "history.db")
        with durable.translated(directory):
            found = sorted(directory.glob(f"*{files.SUFFIX}"))
        for path in found:
            self._find(path)

    @property
    def size_bytes(self) -> int:
        """Return the disk space of what waits."""
        return self._bytes

    def __contains__(self, capture_id: str) -> bool:
        """Tell whether a capture waits."""
        return capture_id in self._waiting

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether so many bytes more stay within the quota."""
        return self._bytes + size_bytes <= self._quota_bytes

    def waiting(self) -> list[Waiting]:
        """Return everything that waits."""
        with self._lock:
            return list(self._waiting.values())

    def put(self, capture: Capture, contents: list[bytes]) -> None:
        """Keep a capture durably.

        Raises:
            StorageError: NO_SPACE (also the quota's) or STORAGE_FAILED; nothing is kept.
        """
        content = files.encode(capture, contents)
        if not self.has_room(len(content)):
            raise StorageError(Code.NO_SPACE, f"expected {len(content)} bytes within capture.quota_bytes")
        path = files.path_of(self._directory, capture)
        durable.write(path, content, mode=0o640)
        self._add(Waiting(path, capture, len(content)))

    def next(self, *, but: str = "") -> Waiting | None:
        """Return what is to be sent next, None when nothing waits; one id may be passed over."""
        candidates = (waiting for waiting in self.waiting() if waiting.capture.id != but)
        return min(candidates, key=lambda waiting: waiting.order, default=None)

    def blame(self, capture_id: str) -> None:
        """Let all others go before a capture that failed while another one did not."""
        with self._lock:
            waiting = self._waiting.get(capture_id)
            if waiting is not None:
                self._waiting[capture_id] = waiting._replace(blamed=waiting.blamed + 1)

    def finish(self, waiting: Waiting, state: Finish) -> None:
        """Move a capture into the history; doing it again does no harm.

        Raises:
            StorageError: it still waits.
        """
        self.history.add(report(waiting.capture, state, waiting.size_bytes))
        durable.remove(waiting.path)
        with self._lock:
            if self._waiting.pop(waiting.capture.id, None) is not None:
                self._bytes -= waiting.size_bytes

    def close(self) -> None:
        """Close the history."""
        self.history.close()

    def _add(self, waiting: Waiting) -> None:
        with self._lock:
            self._waiting[waiting.capture.id] = waiting
            self._bytes += waiting.size_bytes

    def _find(self, path: Path) -> None:
        try:
            capture = files.read_header(path)
        except StorageError as exc:
            extra = {"action": "capture_failed", "capture": path.name, "reason": exc.message}
            log.warning("capture damaged", extra=extra)
            durable.remove(path)
            return
        if self.history.find(capture.id) is not None:
            # The power went after it was sent and before its file was removed.
            durable.remove(path)
            return
        self._add(Waiting(path, capture, path.stat().st_size))


def report(capture: Capture, state: str, size_bytes: int) -> CaptureReport:
    """Return a capture as an operator sees it, under the first model that looked."""
    event = capture.events[0]
    return CaptureReport(
        id=capture.id,
        at=capture.at,
        model=event.model,
        version=event.version,
        verdict=capture.verdict.value,
        state=state,
        bytes=size_bytes,
    )
