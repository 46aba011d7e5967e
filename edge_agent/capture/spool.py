"""The spool: takes captures without ever blocking, keeps them durably until they are sent.

``offer`` only puts into a bounded queue; one thread encodes and writes. When the queue
or the disk's quota is full the newest is dropped and counted: what already waits was
promised.
"""

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from edge_agent.capture import records
from edge_agent.capture.policy import Policy, wanted
from edge_agent.capture.records import Capture
from edge_agent.capture.shelf import Shelf, report
from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import (
    AnomalyMap,
    CaptureReport,
    CaptureStatus,
    InspectedFrame,
    Picture,
    RawPicture,
    TensorCapture,
)
from edge_agent.telemetry import metrics
from edge_agent.telemetry.threads import Watched

log = logging.getLogger(__name__)

State = Literal["IN_PROGRESS", "SUCCESS", "FAILURE"]
QUEUE_BYTES = 64 << 20
_IDLE_S = 0.2
_NO_MAPS: Mapping[str, AnomalyMap] = MappingProxyType({})


class _Offered(NamedTuple):
    id: str
    size_bytes: int
    encode: Callable[[], tuple[Capture, list[bytes]]]


class CaptureSpool:
    """Captures between the line and the cloud. Thread-safe.

    Args:
        directory: its own, in the state directory.
        quota_bytes: disk space for what waits.
        policy: which inspections are captured.
        uploads: something takes captures from here; else a capture is done when it is on disk.
        now: epoch seconds.
        queue_bytes: memory for what is not on disk yet.

    Raises:
        StorageError: the directory cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        quota_bytes: int,
        *,
        policy: Policy,
        uploads: bool,
        now: Callable[[], float],
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.shelf = Shelf(directory, quota_bytes)
        self._policy = policy
        self._uploads = uploads
        self._now = now
        self._queue_bytes = queue_bytes
        self._changed = threading.Condition()
        self._queue: deque[_Offered] = deque()
        self._queued_bytes = 0
        self._failed: set[str] = set()
        self._dropped = 0
        self._trouble = ""
        self._writer = Watched("capture-spool", self._work)

    def start(self) -> None:
        """Start the thread that writes."""
        self._writer.start()

    def stop(self) -> None:
        """Write what is queued, end the thread, close."""
        self.drain(timeout_s=5.0)
        self._writer.stop()
        self.shelf.close()

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is queued; return whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, timeout_s)

    def offer(self, frame: InspectedFrame, picture: Picture, maps: Mapping[str, AnomalyMap] = _NO_MAPS) -> bool:
        """Capture an inspected frame if the policy wants it and there is room; its masks are drawn when it is written.

        Args:
            frame: with its masks, or without.
            picture: as it came.
            maps: what masks are drawn from, by application.

        Returns:
            True when it was taken.

        Raises:
            InferenceError: INVALID_ARGUMENT, raw pixels that do not fill their size.
        """
        if not wanted(self._policy, frame):
            return False
        if isinstance(picture, RawPicture):
            if len(picture.rgb) != picture.width * picture.height * 3:
                raise InferenceError(Code.INVALID_ARGUMENT, f"expected {picture.width}x{picture.height} RGB pixels")
            # The pixels may lie in memory that is used again for the next frame.
            picture = picture._replace(rgb=bytes(picture.rgb))
        size = len(picture.rgb if isinstance(picture, RawPicture) else picture.content)
        size += sum(len(result.mask_png) for result in frame.results)
        size += sum(len(anomalies.logits) for anomalies in maps.values())
        encode = functools.partial(records.from_frame, frame, picture, maps)
        return self._enqueue(_Offered(frame.id, size, encode)) is None

    def capture_tensors(self, capture: TensorCapture) -> None:
        """Take a client's own capture; it is stored later.

        Raises:
            InferenceError: ALREADY_EXISTS, OUT_OF_RANGE (a time that is none), or
                RESOURCE_EXHAUSTED when memory or disk are full.
        """
        if not 0 <= capture.at <= records.LAST_TIME:
            raise InferenceError(Code.OUT_OF_RANGE, f"expected epoch seconds, came {capture.at}")
        refused: Code | None = Code.ALREADY_EXISTS
        if self.capture_state(capture.capture_id) is None:
            encode = functools.partial(records.from_tensors, capture)
            refused = self._enqueue(_Offered(capture.capture_id, capture.size_bytes, encode))
        if refused is not None:
            raise InferenceError(refused, f"capture {capture.capture_id}: {refused.meaning}")

    def capture_state(self, capture_id: str) -> State | None:
        """Tell how a capture fares; None: unknown."""
        with self._changed:
            if capture_id in self._failed:
                return "FAILURE"
            if self._is_queued(capture_id):
                return "IN_PROGRESS"
            if capture_id in self.shelf:
                return "IN_PROGRESS" if self._uploads else "SUCCESS"
        finished = self.shelf.history.find(capture_id)
        if finished is None:
            return None
        return "SUCCESS" if finished.state == "UPLOADED" else "FAILURE"

    def status(self) -> CaptureStatus:
        """Return the spool at one glance."""
        waiting = self.shelf.waiting()
        failed = self.shelf.history.count("FAILED")
        metrics.show_captures(len(waiting), failed, self.shelf.size_bytes)
        told = f"{self._dropped} captures dropped: the spool is full" if self._dropped else ""
        now = self._now()
        oldest = min((entry.capture.at for entry in waiting), default=now)
        return CaptureStatus(
            pending=len(waiting),
            failed=failed,
            bytes=self.shelf.size_bytes,
            oldest_s=max(0.0, now - oldest),
            uploaded=self.shelf.history.count("UPLOADED"),
            message="; ".join(filter(None, (told, self._trouble))),
        )

    def list(self, limit: int) -> list[CaptureReport]:
        """Return the newest captures, waiting and finished."""
        waiting = [report(entry.capture, "PENDING", entry.size_bytes) for entry in self.shelf.waiting()]
        # One that is just being finished may be seen in both.
        reports = {item.id: item for item in (*waiting, *self.shelf.history.newest(max(0, limit)))}
        return sorted(reports.values(), key=lambda item: item.at, reverse=True)[: max(0, limit)]

    def tell(self, trouble: str) -> None:
        """Show in the status why nothing is sent; empty: all is well."""
        self._trouble = trouble

    def _is_queued(self, capture_id: str) -> bool:
        return any(offered.id == capture_id for offered in self._queue)

    def _enqueue(self, offered: _Offered) -> Code | None:
        """Queue it, or count it as dropped and return why."""
        with self._changed:
            refused = self._refusal(offered)
            if refused is None:
                self._queue.append(offered)
                self._queued_bytes += offered.size_bytes
                self._changed.notify_all()
        if refused is Code.RESOURCE_EXHAUSTED:
            self._count_dropped()
        return refused

    def _refusal(self, offered: _Offered) -> Code | None:
        if self._is_queued(offered.id) or offered.id in self.shelf:
            return Code.ALREADY_EXISTS
        # The first is taken whatever its size, else a large one could never be.
        crowded = bool(self._queue) and self._queued_bytes + offered.size_bytes > self._queue_bytes
        if crowded or not self.shelf.has_room(self._queued_bytes + offered.size_bytes):
            return Code.RESOURCE_EXHAUSTED
        return None

    def _work(self, thread: Watched) -> None:
        while not thread.stopping.is_set():
            thread.beat()
            with self._changed:
                if not self._changed.wait_for(lambda: bool(self._queue), _IDLE_S):
                    continue
                offered = self._queue[0]
            self._store(offered)
            with self._changed:
                self._queue.popleft()
                self._queued_bytes -= offered.size_bytes
                self._changed.notify_all()

    def _store(self, offered: _Offered) -> None:
        capture, contents = offered.encode()
        try:
            self.shelf.put(capture, contents)
        except StorageError as exc:
            extra = {"action": "capture_dropped", "capture": capture.id, "reason": exc.message}
            log.warning("capture dropped", extra=extra)
            self._count_dropped()
            if capture.kind == "tensors":
                self._remember_failed(capture)

    def _remember_failed(self, capture: Capture) -> None:
        # Its client was told that it is in progress, and asks.
        try:
            self.shelf.history.add(report(capture, "FAILED", capture.size_bytes))
        except StorageError:
            with self._changed:
                self._failed.add(capture.id)

    def _count_dropped(self) -> None:
        metrics.count_dropped_capture()
        with self._changed:
            self._dropped += 1
