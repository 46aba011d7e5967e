"""The spool: takes captures without ever blocking, keeps them durably until they are sent.

``offer`` only puts into a bounded queue; one thread encodes and writes. When the queue
or the disk's quota is full the newest is dropped and counted: what already waits was
promised.

This is one of the three places where any exception is caught: a capture that cannot be encoded is lost alone, and the
line that it was to be a record of goes on.
"""

import functools
import itertools
import logging
import math
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from edge_agent.capture import browsing, records
from edge_agent.capture.ageing import Uptime, uptime
from edge_agent.capture.labels import Labels
from edge_agent.capture.pauses import Pauses
from edge_agent.capture.policy import Policy, Reason, Sampling, far_reason, reason
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
from edge_agent.storage import durable
from edge_agent.telemetry import metrics
from edge_agent.telemetry.threads import Watched

log = logging.getLogger(__name__)

State = Literal["IN_PROGRESS", "SUCCESS", "FAILURE"]
QUEUE_BYTES = 64 << 20
_IDLE_S = 0.2
_EXPIRED_EVERY_S = 60.0
_NO_MAPS: Mapping[str, AnomalyMap] = MappingProxyType({})


class _Offered(NamedTuple):
    id: str
    size_bytes: int
    encode: Callable[[], tuple[Capture, list[bytes]]]
    is_asked_for: bool = False
    """Its client was told that it is in progress, and asks."""


class CaptureSpool:
    """Captures between the line and the cloud. Thread-safe.

    Args:
        directory: its own, in the state directory.
        quota_bytes: disk space for captures.
        policy: which inspections are captured.
        sampling: which are captured beside them.
        max_age_s: what the cloud has leaves when it was here longer, without uploads whatever there is; 0: never.
        uploads: something takes captures from here; else a capture is done when it is on disk.
        now: epoch seconds, for what people are told: no decision depends on a clock that may be set.
        uptime: the machine's, by which captures age.
        queue_bytes: memory for what is not on disk yet.
        rng: what decides by chance.

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
        uptime: Callable[[], Uptime] = uptime,
        queue_bytes: int = QUEUE_BYTES,
        sampling: Sampling = Sampling(),  # noqa: B008 - immutable
        max_age_s: float = 0.0,
        rng: random.Random | None = None,
    ) -> None:
        self.shelf = Shelf(directory, quota_bytes, uploads=uploads, max_age_s=max_age_s, up=uptime)
        self._directory = directory
        self.labels = Labels(directory / "labels.db", sends=uploads)
        self.pauses = Pauses(directory / "pauses.json")
        self._policy: Policy = policy
        self._sampling = sampling
        self._rng = rng or random.Random()  # noqa: S311 - a sample is no secret
        self._numbers = itertools.count(1)
        self._looked_at: float = -math.inf
        self._uploads = uploads
        self._now = now
        self._queue_bytes = queue_bytes
        self._changed = threading.Condition()
        self._queue: deque[_Offered] = deque()
        self._queued_bytes = 0
        self._failed: set[str] = set()
        self._dropped = self._broken = 0
        self._trouble = ""
        self._writer = Watched("capture-spool", self._work)

    def start(self) -> None:
        """Start the thread that writes."""
        self._writer.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what is queued, end the thread, close; what is not written in time is lost, said and counted."""
        self.drain(timeout_s)
        self._writer.stop()
        with self._changed:
            lost = len(self._queue)
        if lost:
            log.error("captures lost at the stop", extra={"action": "captures_lost", "captures": lost})
        for _ in range(lost):
            metrics.count_dropped_capture()
        self.shelf.close()
        self.labels.close()

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
        why = reason(self._policy, self._sampling, frame, number=next(self._numbers), chance=self._rng.random())
        return self._take(frame, picture, maps, why)

    def offer_far(self, frame: InspectedFrame, picture: Picture, maps: Mapping[str, AnomalyMap] = _NO_MAPS) -> bool:
        """Capture a frame that was offered before and found to lie far from what a model learnt, if that is wanted.

        Returns:
            True when it was taken.
        """
        return self._take(frame, picture, maps, far_reason(self._policy, self._sampling))

    def _take(self, frame: InspectedFrame, picture: Picture, maps: Mapping[str, AnomalyMap], why: Reason) -> bool:
        if not why or self.pauses.now.capture:
            return False
        if isinstance(picture, RawPicture):
            if len(picture.rgb) != picture.width * picture.height * 3:
                raise InferenceError(Code.INVALID_ARGUMENT, f"expected {picture.width}x{picture.height} RGB pixels")
            # The pixels may lie in memory that is used again for the next frame.
            picture = picture._replace(rgb=bytes(picture.rgb))
        size = len(picture.rgb if isinstance(picture, RawPicture) else picture.content)
        size += sum(len(result.mask_png) for result in frame.results)
        size += sum(len(anomalies.logits) for anomalies in maps.values())
        encode = functools.partial(records.from_frame, frame, picture, maps, why)
        return self._enqueue(_Offered(frame.id, size, encode)) is None

    def capture_tensors(self, capture: TensorCapture) -> None:
        """Take a client's own capture; it is stored later.

        Raises:
            InferenceError: ALREADY_EXISTS, OUT_OF_RANGE (a time that is none), FAILED_PRECONDITION
                (capture is paused), or RESOURCE_EXHAUSTED when memory or disk are full.
        """
        if self.pauses.now.capture:
            raise InferenceError(Code.FAILED_PRECONDITION, "capture is paused on this device")
        if not 0 <= capture.at <= records.LAST_TIME:
            raise InferenceError(Code.OUT_OF_RANGE, f"expected epoch seconds, came {capture.at}")
        refused: Code | None = Code.ALREADY_EXISTS
        if self.capture_state(capture.capture_id) is None:
            encode = functools.partial(records.from_tensors, capture)
            refused = self._enqueue(_Offered(capture.capture_id, capture.size_bytes, encode, is_asked_for=True))
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
        metrics.show_captures(len(waiting), failed, self.shelf.size_bytes + self.shelf.kept_bytes)
        metrics.show_unsent_labels(self.labels.count_unsent())
        paused = self.pauses.now
        full = f"{self._dropped} captures dropped: the spool is full" if self._dropped else ""
        broken = f"{self._broken} captures lost: they could not be encoded, see the log" if self._broken else ""
        now = self._now()
        oldest = min((entry.capture.at for entry in waiting), default=now)
        return CaptureStatus(
            pending=len(waiting),
            failed=failed,
            bytes=self.shelf.size_bytes,
            oldest_s=max(0.0, now - oldest),
            uploaded=self.shelf.history.count("UPLOADED"),
            message="; ".join(filter(None, (full, broken, self._trouble))),
            capture_paused=paused.capture,
            upload_paused=paused.upload,
            dropped=self._dropped + self._broken,
            quota_bytes=self.shelf.quota_bytes,
            kept_here=not self._uploads,
        )

    def list(self, limit: int, *, before: float = 0.0, verdict: str = "", state: str = "") -> list[CaptureReport]:
        """Return the newest captures, waiting and finished, with what people said of them.

        Args:
            limit: how many at most.
            before: only older ones, epoch seconds; 0: all.
            verdict: only these; empty: all.
            state: PENDING, UPLOADED or FAILED; empty: all.
        """
        return browsing.listed(self.shelf, self.labels, max(0, limit), before=before, verdict=verdict, state=state)

    def find(self, capture_id: str) -> CaptureReport:
        """Return one capture.

        Raises:
            InferenceError: NOT_FOUND.
        """
        return browsing.found(self.shelf, self.labels, capture_id)

    def content(self, capture_id: str, part: browsing.CapturePart) -> tuple[bytes, str]:
        """Return a capture's picture, thumbnail or mask, and its content type.

        Raises:
            InferenceError: NOT_FOUND: no such capture, it has no such part, or this device no longer has it.
        """
        return browsing.content(self.shelf, capture_id, part)

    def label(
        self, capture_id: str, label: str, actor: str, *, role: str = "", user: str = "", instead_of: str | None = None
    ) -> CaptureReport:
        """Keep what a person says that a captured part is; empty takes it back. Durable when this returns.

        Args:
            capture_id: the capture's.
            label: OK, NG or a class.
            actor: who says so, in full; it stays on this device.
            role: of who says so; empty: not known.
            user: who logged in; empty: nobody had to.
            instead_of: the label that has to stand, empty: none; None: whatever stands.

        Raises:
            InferenceError: NOT_FOUND; FAILED_PRECONDITION: another stands.
            StorageError: what was said before stands.
        """
        by = browsing.Author(actor, role, user)
        return browsing.label(self.shelf, self.labels, capture_id, label, by, self._now(), instead_of=instead_of)

    def pseudonym_key(self) -> bytes:
        """Return this device's secret for pseudonyms, made when it is first needed.

        Raises:
            StorageError: it can neither be read nor kept.
        """
        path = self._directory / "pseudonyms.key"
        with durable.translated(path):
            if not path.exists():
                durable.write(path, secrets.token_bytes(32), mode=0o600)
            return path.read_bytes()

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
            self._expire()
            with self._changed:
                if not self._changed.wait_for(lambda: bool(self._queue), _IDLE_S):
                    continue
                offered = self._queue[0]
            self._store(offered)
            with self._changed:
                self._queue.popleft()
                self._queued_bytes -= offered.size_bytes
                self._changed.notify_all()

    def _expire(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= _EXPIRED_EVERY_S:
            self._looked_at = now
            try:
                self.shelf.expire()
            except StorageError as exc:
                log.warning("old captures not removed", extra={"action": "expiry_failed", "reason": exc.message})

    def _store(self, offered: _Offered) -> None:
        try:
            capture, contents = offered.encode()
        except Exception:
            log.exception("capture not encoded", extra={"action": "capture_lost", "capture": offered.id})
            self._lose(offered)
            return
        try:
            self.shelf.put(capture, contents)
        except StorageError as exc:
            extra = {"action": "capture_dropped", "capture": capture.id, "reason": exc.message}
            log.warning("capture dropped", extra=extra)
            self._count_dropped()
            if capture.kind == "tensors":
                self._remember_failed(capture)

    def _lose(self, offered: _Offered) -> None:
        metrics.count_dropped_capture()
        with self._changed:
            self._broken += 1
            if offered.is_asked_for:
                self._failed.add(offered.id)

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
