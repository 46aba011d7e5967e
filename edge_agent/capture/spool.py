"""The spool: takes captures without ever blocking, keeps them durably until they are sent.

``offer`` only puts into a bounded queue; one thread encodes and writes. When the queue
or the disk's quota is full the newest is dropped and counted: what already waits was
promised. Locking: decisions under the lock, disk outside it.
"""

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from edge_agent.capture import files, records
from edge_agent.capture.history import History
from edge_agent.capture.policy import Policy, urgent, wanted
from edge_agent.capture.records import Capture
from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import CaptureReport, CaptureStatus, InspectedFrame, Picture, RawPicture, TensorCapture
from edge_agent.storage import durable
from edge_agent.telemetry import metrics
from edge_agent.telemetry.threads import Watched

log = logging.getLogger(__name__)

State = Literal["IN_PROGRESS", "SUCCESS", "FAILURE"]
QUEUE_BYTES = 64 << 20
_IDLE_S = 0.2


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
        self._directory = directory
        self._quota_bytes = quota_bytes
        self._policy = policy
        self._uploads = uploads
        self._now = now
        self._queue_bytes = queue_bytes
        durable.make_directory(directory)
        durable.sweep(directory)
        self._history = History(directory / "history.db")
        self._changed = threading.Condition()
        self._queue: deque[_Offered] = deque()
        self._queued_bytes = 0
        self._known: set[str] = set()
        self._failed: set[str] = set()
        self._waiting: dict[str, Waiting] = {}
        self._bytes = 0
        self._dropped = 0
        self._trouble = ""
        self._writer = Watched("capture-spool", self._work)
        self._find()

    def start(self) -> None:
        """Start the thread that writes."""
        self._writer.start()

    def stop(self) -> None:
        """Write what is queued, end the thread, close."""
        self.drain(timeout_s=5.0)
        self._writer.stop()
        self._history.close()

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is queued; return whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, timeout_s)

    def offer(self, frame: InspectedFrame, picture: Picture) -> bool:
        """Capture an inspected frame if the policy wants it and there is room.

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
            size = len(picture.rgb)
        else:
            size = len(picture.content)
        size += sum(len(result.mask_png) for result in frame.results)
        return self._enqueue(_Offered(frame.id, size, functools.partial(records.from_frame, frame, picture))) is None

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
            if capture_id in self._waiting and not self._uploads:
                return "SUCCESS"
            if capture_id in self._known:
                return "IN_PROGRESS"
        finished = self._history.find(capture_id)
        if finished is None:
            return None
        return "SUCCESS" if finished.state == "UPLOADED" else "FAILURE"

    def status(self) -> CaptureStatus:
        """Return the spool at one glance."""
        with self._changed:
            oldest = min((waiting.capture.at for waiting in self._waiting.values()), default=None)
            pending, size, trouble, dropped = len(self._waiting), self._bytes, self._trouble, self._dropped
        failed = self._history.count("FAILED")
        metrics.show_captures(pending, failed, size)
        told = f"{dropped} captures dropped: the spool is full" if dropped else ""
        return CaptureStatus(
            pending=pending,
            failed=failed,
            bytes=size,
            oldest_s=0.0 if oldest is None else max(0.0, self._now() - oldest),
            uploaded=self._history.count("UPLOADED"),
            message="; ".join(filter(None, (told, trouble))),
        )

    def list(self, limit: int) -> list[CaptureReport]:
        """Return the newest captures, waiting and finished."""
        with self._changed:
            waiting = [report(entry.capture, "PENDING", entry.size_bytes) for entry in self._waiting.values()]
        # One that is just being finished may be seen in both.
        reports = {item.id: item for item in (*waiting, *self._history.newest(max(0, limit)))}
        return sorted(reports.values(), key=lambda item: item.at, reverse=True)[: max(0, limit)]

    def next(self, *, but: str = "") -> Waiting | None:
        """Return what is to be sent next, None when nothing waits; one id may be passed over."""
        with self._changed:
            candidates = (waiting for waiting in self._waiting.values() if waiting.capture.id != but)
            return min(candidates, key=lambda waiting: waiting.order, default=None)

    def sent(self, waiting: Waiting) -> None:
        """Forget a capture that is in the cloud.

        Raises:
            StorageError: it may be sent again, which does no harm.
        """
        self._finish(waiting, "UPLOADED")

    def unreadable(self, waiting: Waiting, reason: str) -> None:
        """Give up a capture whose file is damaged.

        Raises:
            StorageError: the file could not be removed.
        """
        log.warning(
            "capture damaged", extra={"action": "capture_failed", "capture": waiting.path.name, "reason": reason}
        )
        self._finish(waiting, "FAILED")

    def blame(self, capture_id: str) -> None:
        """Let all others go before a capture that failed while another one did not."""
        with self._changed:
            waiting = self._waiting.get(capture_id)
            if waiting is not None:
                self._waiting[capture_id] = waiting._replace(blamed=waiting.blamed + 1)

    def tell(self, trouble: str) -> None:
        """Show in the status why nothing is sent; empty: all is well."""
        with self._changed:
            self._trouble = trouble

    def _finish(self, waiting: Waiting, state: Literal["UPLOADED", "FAILED"]) -> None:
        self._history.add(report(waiting.capture, state, waiting.size_bytes))
        durable.remove(waiting.path)
        with self._changed:
            self._waiting.pop(waiting.capture.id, None)
            self._known.discard(waiting.capture.id)
            self._bytes -= waiting.size_bytes

    def _enqueue(self, offered: _Offered) -> Code | None:
        """Queue it, or count it as dropped and return why."""
        with self._changed:
            refused = self._refusal(offered)
            if refused is None:
                self._queue.append(offered)
                self._queued_bytes += offered.size_bytes
                self._known.add(offered.id)
                self._changed.notify_all()
        if refused is Code.RESOURCE_EXHAUSTED:
            self._count_dropped()
        return refused

    def _refusal(self, offered: _Offered) -> Code | None:
        if offered.id in self._known:
            return Code.ALREADY_EXISTS
        # The first is taken whatever its size, else a large one could never be.
        crowded = bool(self._queue) and self._queued_bytes + offered.size_bytes > self._queue_bytes
        if crowded or self._bytes + self._queued_bytes + offered.size_bytes > self._quota_bytes:
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
        content = files.encode(capture, contents)
        path = files.path_of(self._directory, capture)
        try:
            self._check_room(len(content))
            durable.write(path, content, mode=0o640)
        except StorageError as exc:
            log.warning(
                "capture dropped", extra={"action": "capture_dropped", "capture": capture.id, "reason": str(exc)}
            )
            self._lose(capture)
            return
        with self._changed:
            self._waiting[capture.id] = Waiting(path, capture, len(content))
            self._bytes += len(content)

    def _check_room(self, size_bytes: int) -> None:
        if self._bytes + size_bytes > self._quota_bytes:
            raise StorageError(Code.NO_SPACE, f"expected {size_bytes} bytes within capture.quota_bytes")

    def _lose(self, capture: Capture) -> None:
        self._count_dropped()
        if capture.kind == "tensors":
            # Its client was told that it is in progress, and asks.
            with self._changed:
                self._failed.add(capture.id)
            with suppress(StorageError):
                self._history.add(report(capture, "FAILED", capture.size_bytes))
        with self._changed:
            self._known.discard(capture.id)

    def _find(self) -> None:
        for path in sorted(self._directory.glob(f"*{files.SUFFIX}")):
            try:
                capture = files.read_header(path)
            except StorageError as exc:
                log.warning(
                    "capture damaged", extra={"action": "capture_failed", "capture": path.name, "reason": str(exc)}
                )
                durable.remove(path)
                continue
            if self._history.find(capture.id) is not None:
                # The power went after it was sent and before its file was removed.
                durable.remove(path)
                continue
            waiting = Waiting(path, capture, path.stat().st_size)
            self._waiting[capture.id] = waiting
            self._known.add(capture.id)
            self._bytes += waiting.size_bytes

    def _count_dropped(self) -> None:
        metrics.count_dropped_capture()
        with self._changed:
            self._dropped += 1


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
