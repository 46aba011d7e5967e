"""One object into one file: in ranges, resumed, within the cap, until a deadline.

What has arrived is kept whatever happens, in this process or the next. Nothing is
verified here: bytes count only once the store has hashed them.
"""

import logging
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_agent.errors import BundleError, CancelledError, Code, TransferError
from edge_agent.storage import durable
from edge_agent.transfer.bandwidth import TokenBucket
from edge_agent.transfer.objects import ObjectStore
from edge_agent.transfer.pauses import FullJitter, pause
from edge_agent.transfer.ranges import Head, ObjectChangedError

_log = logging.getLogger(__name__)


class Downloader:
    """Fetches objects of a known size.

    Args:
        objects: where they are.
        bandwidth: the cap, shared with other downloaders.
        clock: seconds that only grow; deadlines are its values.
        sleep: waits so many seconds.
        rng: chance for the pauses between tries.
    """

    def __init__(
        self,
        objects: ObjectStore,
        *,
        bandwidth: TokenBucket,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Keep the parts; nothing is asked of the network yet."""
        self._objects = objects
        self._bandwidth = bandwidth
        self._clock = clock
        self._sleep = sleep
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
        object that changes meanwhile is begun again. Temporary errors are retried after
        full-jitter pauses.

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
        troubles = _Troubles(deadline, self._clock, cancelled)
        delays = FullJitter(self._rng)
        have, etag = _present(target, size_bytes), None
        progress(have)
        while have < size_bytes:
            try:
                etag = self._fetch_range(key, target, have, size_bytes, etag, troubles.check)
                delays.reset()
            except ObjectChangedError as exc:
                durable.remove(target)
                etag = None
                self._pause_after(exc, delays, troubles)
            except TransferError as exc:
                if exc.permanent:
                    raise
                self._pause_after(exc, delays, troubles)
            have = _length(target)
            progress(have)

    def _fetch_range(
        self, key: str, target: Path, start: int, size_bytes: int, etag: str | None, check: Callable[[], None]
    ) -> str | None:
        end = min(size_bytes, start + self._bandwidth.range_bytes)
        received = bytearray()
        accept = partial(_expect_size, key, size_bytes)
        try:
            pause(self._bandwidth.reserve(end - start), sleep=self._sleep, check=check)
            head = self._objects.stream(key, start, end, etag=etag, accept=accept, sink=received.extend, check=check)
        finally:
            self._bandwidth.give_back(end - start - len(received))
            if received:
                durable.append(target, received)
        return head.etag

    def _pause_after(self, exc: TransferError, delays: FullJitter, troubles: "_Troubles") -> None:
        troubles.last = exc
        seconds = delays.next_s()
        _log.warning(
            "transfer is tried again",
            extra={"action": "transfer_retried", "reason": exc.message, "pause_s": round(seconds, 3)},
        )
        pause(seconds, sleep=self._sleep, check=troubles.check)


class _Troubles:
    """What may end a download at any moment, and the error to tell then."""

    def __init__(self, deadline: float, clock: Callable[[], float], cancelled: Callable[[], bool]) -> None:
        self._deadline = deadline
        self._clock = clock
        self._cancelled = cancelled
        self.last: TransferError | None = None

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


def _expect_size(key: str, size_bytes: int, head: Head) -> None:
    if head.size != size_bytes:
        message = f"{key}: expected an object of {size_bytes} bytes as signed, came one of {head.size}"
        raise TransferError(Code.TRANSFER_FAILED, message, permanent=True)


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
