"""Captures on disk: those that wait, those that are kept for browsing, and the history of those that no longer wait.

What waits was promised: it leaves only when it is in the cloud or damaged. What is in the
cloud stays as long as there is room, and gives way to whatever comes. On a device that sends
nothing no one waits for a capture, and all of them give way.
Locking: decisions under the lock, disk outside it.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from edge_agent.capture import files, room
from edge_agent.capture.ageing import Ageing, Uptime, uptime
from edge_agent.capture.history import History
from edge_agent.capture.policy import urgent
from edge_agent.capture.records import Capture
from edge_agent.capture.room import Kept
from edge_agent.errors import Code, StorageError
from edge_agent.formats import CaptureReport, Verdict
from edge_agent.storage import durable

log = logging.getLogger(__name__)

Finish = Literal["UPLOADED", "FAILED"]
# As many as the history tells of.
_KEPT_AT_MOST = 10_000


class Waiting(NamedTuple):
    """A capture on disk."""

    path: Path
    capture: Capture
    size_bytes: int
    blamed: int = 0

    @property
    def order(self) -> tuple[int, bool, float]:
        """Return what sorts: those that failed where others did not last, the newest NG first, else the oldest."""
        defective = urgent(self.capture.verdict)
        return self.blamed, not defective, -self.capture.at if defective else self.capture.at

    def kept(self) -> Kept:
        """Return what decides when it leaves."""
        return Kept(self.capture.id, self.capture.at, urgent(self.capture.verdict), self.size_bytes)


class Shelf:
    """Captures on disk, found again after a restart. Thread-safe.

    Args:
        directory: its own; made when absent.
        quota_bytes: disk space for all of them.
        uploads: something takes captures from here; else none is waited for.
        max_age_s: what is not waited for leaves when it has been here longer; 0: age is no reason.
        up: the machine's uptime, by which age is counted.

    Raises:
        StorageError: the directory cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        quota_bytes: int,
        *,
        uploads: bool = True,
        max_age_s: float = 0.0,
        up: Callable[[], Uptime] = uptime,
    ) -> None:
        durable.make_directory(directory)
        durable.sweep(directory)
        self._directory = directory
        self.quota_bytes = quota_bytes
        self._uploads = uploads
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        self._waiting: dict[str, Waiting] = {}
        self._kept: dict[str, Kept] = {}
        self._bytes = 0
        self._kept_bytes = 0
        self.history = History(directory / "history.db")
        self._ageing = Ageing(directory / "ages.db", up) if max_age_s else None
        self._find_kept()
        for path in self._files(files.SUFFIX):
            self._find(path)

    @property
    def size_bytes(self) -> int:
        """Return the disk space of what waits."""
        return self._bytes

    @property
    def kept_bytes(self) -> int:
        """Return the disk space of what the cloud has."""
        return self._kept_bytes

    def __contains__(self, capture_id: str) -> bool:
        """Tell whether a capture waits."""
        return capture_id in self._waiting

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether so many bytes more stay within the quota once all has left that may."""
        return (self._bytes if self._uploads else 0) + size_bytes <= self.quota_bytes

    def waiting(self) -> list[Waiting]:
        """Return everything that waits."""
        with self._lock:
            return list(self._waiting.values())

    def find(self, capture_id: str) -> Waiting | None:
        """Return a capture that waits, None when it does not."""
        with self._lock:
            return self._waiting.get(capture_id)

    def path_of(self, capture_id: str) -> Path | None:
        """Return the file of a capture that waits or is kept, None where there is none any more."""
        with self._lock:
            waiting, kept = self._waiting.get(capture_id), self._kept.get(capture_id)
        if waiting is not None:
            return waiting.path
        return self._kept_path(kept) if kept is not None else None

    def put(self, capture: Capture, contents: list[bytes]) -> None:
        """Keep a capture durably; what the cloud has gives way to it.

        Raises:
            StorageError: NO_SPACE (also the quota's) or STORAGE_FAILED; nothing of it is kept.
        """
        content = files.encode(capture, contents)
        if not self.has_room(len(content)):
            raise StorageError(Code.NO_SPACE, f"expected {len(content)} bytes within capture.quota_bytes")
        self._free(self._bytes + self._kept_bytes + len(content) - self.quota_bytes)
        path = files.path_of(self._directory, capture.id, capture.at)
        try:
            durable.write(path, content, mode=0o640)
        except StorageError as exc:
            # The disk is fuller than the quota knows of: what is only kept makes room there, too.
            if exc.code is not Code.NO_SPACE or not self._free(len(content)):
                raise
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
        """Move a capture into the history; doing it again does no harm. Frames that were sent stay for browsing.

        Raises:
            StorageError: it still waits.
        """
        capture = waiting.capture
        models = [event.model for event in capture.events]
        told = report(capture, state, waiting.size_bytes)
        self.history.add(told, models, kept=list(self._kept))
        kept = waiting.kept() if state == "UPLOADED" and capture.kind == "frame" else None
        if kept is None:
            durable.remove(waiting.path)
        else:
            durable.publish(waiting.path, self._kept_path(kept))
        with self._lock:
            if self._waiting.pop(capture.id, None) is not None:
                self._bytes -= waiting.size_bytes
            if kept is not None:
                self._kept[kept.id] = kept
                self._kept_bytes += kept.size_bytes
        if len(self._kept) > _KEPT_AT_MOST:
            self._free(1)

    def expire(self) -> None:
        """Let what is too old leave.

        Raises:
            StorageError: it is still there.
        """
        if self._ageing is None:
            return
        with self._lock:
            here = [*self._waiting, *self._kept]
        old = self._ageing.older(here, self._max_age_s)
        self._leave([kept.id for kept in self._leavable() if kept.id in old])

    def close(self) -> None:
        """Close the databases."""
        self.history.close()
        if self._ageing is not None:
            self._ageing.close()

    def _add(self, waiting: Waiting) -> None:
        with self._lock:
            self._waiting[waiting.capture.id] = waiting
            self._bytes += waiting.size_bytes

    def _leavable(self) -> list[Kept]:
        with self._lock:
            waiting = [] if self._uploads else [waiting.kept() for waiting in self._waiting.values()]
            return [*self._kept.values(), *waiting]

    def _free(self, excess_bytes: int) -> bool:
        """Free so many bytes; tell whether anything left."""
        leaving = room.to_leave(self._leavable(), excess_bytes) if excess_bytes > 0 else []
        self._leave(leaving)
        return bool(leaving)

    def _leave(self, leaving: list[str]) -> None:
        for capture_id in leaving:
            path = self.path_of(capture_id)
            if path is not None:
                durable.remove(path)
            with self._lock:
                kept = self._kept.pop(capture_id, None)
                waiting = None if kept else self._waiting.pop(capture_id, None)
                self._kept_bytes -= kept.size_bytes if kept else 0
                self._bytes -= waiting.size_bytes if waiting else 0

    def _kept_path(self, kept: Kept) -> Path:
        return files.path_of(self._directory, kept.id, kept.at, files.KEPT_SUFFIX)

    def _files(self, suffix: str) -> list[Path]:
        with durable.translated(self._directory):
            return sorted(self._directory.glob(f"*{suffix}"))

    def _find_kept(self) -> None:
        """Find what is kept: by the history, which is one question, and only else by reading files."""
        told = {self._kept_path(kept): kept for kept in map(_kept, self.history.newest(-1, state="UPLOADED"))}
        for path in self._files(files.KEPT_SUFFIX):
            kept = told.get(path) or self._read_kept(path)
            if kept is not None:
                self._kept[kept.id] = kept
                self._kept_bytes += kept.size_bytes

    def _read_kept(self, path: Path) -> Kept | None:
        capture = _header(path)
        if capture is None:
            return None
        size_bytes = path.stat().st_size
        self.history.add(report(capture, "UPLOADED", size_bytes), [event.model for event in capture.events])
        return Waiting(path, capture, size_bytes).kept()

    def _find(self, path: Path) -> None:
        capture = _header(path)
        if capture is None:
            return
        waiting = Waiting(path, capture, path.stat().st_size)
        finished = self.history.find(capture.id)
        self._add(waiting)
        if finished is not None:
            # The power went after it was sent and before its file was put aside.
            self.finish(waiting, "UPLOADED" if finished.state == "UPLOADED" else "FAILED")


def report(capture: Capture, state: str, size_bytes: int) -> CaptureReport:
    """Return a capture as an operator sees it, under the model that decided."""
    event = capture.events[0]
    return CaptureReport(
        id=capture.id,
        at=capture.at,
        model=capture.model or event.model,
        version=capture.version or event.version,
        verdict=capture.verdict.value,
        state=state,
        bytes=size_bytes,
        score=capture.score,
        threshold=capture.threshold,
        source=capture.source,
        name=capture.name,
        reason=capture.reason,
        has_picture=capture.picture is not None,
        has_mask=capture.mask is not None,
    )


def _kept(told: CaptureReport) -> Kept:
    return Kept(told.id, told.at, told.verdict == Verdict.NG.value, told.bytes)


def _header(path: Path) -> Capture | None:
    """Return what a file holds; one that is damaged is removed, one that cannot be read waits for the next start."""
    try:
        return files.read_header(path)
    except StorageError as exc:
        extra = {"action": "capture_failed", "capture": path.name, "reason": exc.message}
        if exc.code is not Code.CONTENT_MISSING:
            log.warning("capture cannot be read", extra=extra)
            return None
        log.warning("capture damaged", extra=extra)
        durable.remove(path)
        return None
