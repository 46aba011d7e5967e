"""One object into one file: in ranges, resumed, within the cap, until a deadline.

What has arrived is kept whatever happens, in this process or the next. Nothing is
verified here: bytes count only once the store has hashed them.
"""

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import BundleError, CancelledError, Code, TransferError
from edge_agent.storage import durable
from edge_agent.transfer.bandwidth import TokenBucket
from edge_agent.transfer.objects import ObjectStore
from edge_agent.transfer.pace import Pace, SpeedFloor
from edge_agent.transfer.pauses import FullJitter, pause
from edge_agent.transfer.ranges import Head, ObjectChangedError

_log = logging.getLogger(__name__)

# A try that brought so much was worth it: the pause after it is a short one again.
_WORTH_BYTES = 64 << 10


class Downloader:
    """Fetches objects of a known size.

    Args:
        objects: where they are.
        bandwidth: the cap, shared with other downloaders.
        clock: seconds that only grow; deadlines are its values.
        sleep: waits so many seconds.
        rng: chance for the pauses between tries.
        floor: a request that is slower than this is dropped and tried again.
    """

    def __init__(
        self,
        objects: ObjectStore,
        *,
        bandwidth: TokenBucket,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
        floor: SpeedFloor = SpeedFloor(),  # noqa: B008  (immutable)
    ) -> None:
        """Keep the parts; nothing is asked of the network yet."""
        self._objects = objects
        self._bandwidth = bandwidth
        self._clock = clock
        self._sleep = sleep
        self._floor = floor
        self._rng = rng or random.Random()  # noqa: S311  (spreads tries, guards nothing)

    def fetch(
        self,
        key: str,
        target: Path,
        size_bytes: int,
        *,
        deadline: float,
        cancelled: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> None:
        """Append to ``target`` from its present length until it has ``size_bytes``.

        Ranges of 4 MiB or less, each synced before the next; later ones carry If-Match. An
        object that changes meanwhile is begun again. Temporary errors, and a mean speed below
        the floor, are retried after full-jitter pauses. Thread-safe, one target at a time.

        Args:
            key: the object.
            target: the file; its bytes stay after any error but a changed object.
            size_bytes: the size that was signed.
            deadline: on ``clock``; then the last error is told.
            cancelled: asked several times a second.
            progress: told the length of ``target`` at the start and after each range.

        Raises:
            TransferError: OBJECT_MISSING, ACCESS_DENIED, TRANSFER_FAILED (the object has another
                size), DEADLINE_EXCEEDED.
            CancelledError: ``cancelled`` said so; noticed within a second.
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        durable.make_directory(target.parent)
        order = _Order(key, target, size_bytes)
        course = _Course(deadline, self._clock, cancelled, self._floor.watch())
        delays = FullJitter(self._rng)
        have, etag = _present(target, size_bytes), None
        progress(have)
        while have < size_bytes:
            before = have
            try:
                etag = self._fetch_range(order, have, etag, course)
                delays.reset()
            except ObjectChangedError as exc:
                durable.remove(target)
                etag = None
                self._pause_after(exc, delays, course)
            except TransferError as exc:
                if exc.permanent:
                    raise
                if _length(target) - before >= _WORTH_BYTES:
                    delays.reset()
                self._pause_after(exc, delays, course)
            have = _length(target)
            progress(have)

    def _fetch_range(self, order: "_Order", start: int, etag: str | None, course: "_Course") -> str | None:
        end = min(order.size_bytes, start + self._bandwidth.range_bytes)
        received = bytearray()

        def take(chunk: bytes) -> None:
            received.extend(chunk)
            course.pace.came(len(chunk))

        try:
            pause(self._bandwidth.reserve(end - start), sleep=self._sleep, check=course.check)
            with course.pace.request():
                head = self._objects.stream(
                    order.key, start, end, etag=etag, accept=order.vet, sink=take, check=course.check_request
                )
        finally:
            self._bandwidth.give_back(end - start - len(received))
            if received:
                durable.append(order.target, received)
        return head.etag

    def _pause_after(self, exc: TransferError, delays: FullJitter, course: "_Course") -> None:
        course.last = exc
        seconds = delays.next_s()
        _log.warning(
            "transfer is tried again",
            extra={"action": "transfer_retried", "reason": exc.message, "pause_s": round(seconds, 3)},
        )
        pause(seconds, sleep=self._sleep, check=course.check)


class _Order(NamedTuple):
    """What is wanted, and where it goes."""

    key: str
    target: Path
    size_bytes: int

    def vet(self, head: Head) -> None:
        if head.size != self.size_bytes:
            message = f"{self.key}: expected an object of {self.size_bytes} bytes as signed, came one of {head.size}"
            raise TransferError(Code.TRANSFER_FAILED, message, permanent=True)


class _Course:
    """What may end a download at any moment, and the error to tell then."""

    def __init__(self, deadline: float, clock: Callable[[], float], cancelled: Callable[[], bool], pace: Pace) -> None:
        self._deadline = deadline
        self._clock = clock
        self._cancelled = cancelled
        self.pace = pace
        self.last: TransferError | None = None

    def check_request(self) -> None:
        """Check also the speed of the request under way."""
        self.check()
        self.pace.check()

    def check(self) -> None:
        if self._cancelled():
            raise CancelledError(Code.CANCELLED, "the download was cancelled; its bytes are kept")
        if self._clock() >= self._deadline:
            why = f", last {self.last.message}" if self.last else ""
            message = f"expected the download to end before its deadline{why}"
            raise TransferError(Code.DEADLINE_EXCEEDED, message, permanent=True) from self.last


def fetch_verified(fetch: Callable[[], None], partial_path: Path, admit: Callable[[Path], None]) -> None:
    """Fetch into ``partial_path`` and have it admitted; bytes of an earlier process get a second chance.

    A power cut can leave a partial file with wrong bytes at its end. A mismatch of a file
    that was resumed therefore begins once more from nothing; a second one is the repository's.

    Args:
        fetch: a ``Downloader.fetch`` with its arguments.
        partial_path: where that puts the bytes.
        admit: verifies and takes the file, or deletes it and raises BundleError.

    Raises:
        BundleError: DIGEST_MISMATCH.
        TransferError: as ``fetch``.
        CancelledError: as ``fetch``.
        StorageError: as both.
    """
    resumed = _length(partial_path) > 0
    fetch()
    try:
        admit(partial_path)
    except BundleError as exc:
        if not resumed or exc.code is not Code.DIGEST_MISMATCH:
            raise
        _log.warning("download begun again", extra={"action": "transfer_restarted", "reason": exc.message})
        fetch()
        admit(partial_path)


def _present(target: Path, size_bytes: int) -> int:
    """Return how much of the object is there; more than there can be is thrown away."""
    if _length(target) > size_bytes:
        durable.remove(target)
    if size_bytes == 0:
        durable.append(target, b"")
    return _length(target)


def _length(target: Path) -> int:
    with durable.translated(target):
        try:
            return target.stat().st_size
        except FileNotFoundError:
            return 0
