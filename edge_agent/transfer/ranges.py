"""What may arrive for a request: never more than was asked for, never of another object."""

from collections.abc import Callable
from typing import NamedTuple

from edge_agent.errors import Code, TransferError


class Head(NamedTuple):
    """What is known of an object before its bytes."""

    size: int  # bytes, of the whole object
    etag: str | None


class ObjectChangedError(TransferError):
    """The object is no longer the one whose first bytes were read."""

    def __init__(self, message: str) -> None:
        """Another try can help, from the beginning."""
        super().__init__(Code.TRANSFER_FAILED, message)


class Whole:
    """A whole object of at most ``limit_bytes``; not a byte more is kept."""

    def __init__(self, key: str, limit_bytes: int) -> None:
        self._key = key
        self._limit_bytes = limit_bytes
        self.received = bytearray()

    def vet(self, _head: Head) -> None:
        """Take any object; its size is the bytes' own business."""

    def take(self, chunk: bytes) -> None:
        """Keep a chunk.

        Raises:
            TransferError: TRANSFER_FAILED, permanent: it is too much.
        """
        if len(self.received) + len(chunk) > self._limit_bytes:
            message = f"{self._key}: expected at most {self._limit_bytes} bytes, came more"
            raise TransferError(Code.TRANSFER_FAILED, message, permanent=True)
        self.received.extend(chunk)


class Range:
    """The bytes ``start`` to ``end`` (exclusive) of one object, exactly so many, handed to ``sink``."""

    def __init__(
        self,
        key: str,
        start: int,
        end: int,
        *,
        etag: str | None,
        accept: Callable[[Head], None],
        sink: Callable[[bytes], None],
    ) -> None:
        if not 0 <= start < end:
            raise ValueError(f"expected a range of at least one byte, came {start}..{end}")
        self._key = key
        self._size = self._left = end - start
        self._etag = etag
        self._accept = accept
        self._sink = sink

    def vet(self, head: Head) -> None:
        """Check that this still is the same object.

        Raises:
            ObjectChangedError: it has another ETag.
        """
        if self._etag is not None and head.etag != self._etag:
            raise ObjectChangedError(f"{self._key}: expected ETag {self._etag}, came {head.etag}")
        self._accept(head)

    def take(self, chunk: bytes) -> None:
        """Hand a chunk on.

        Raises:
            TransferError: TRANSFER_FAILED: more came than was asked for.
        """
        if len(chunk) > self._left:
            raise TransferError(Code.TRANSFER_FAILED, f"{self._key}: expected {self._size} bytes, came more")
        self._left -= len(chunk)
        self._sink(chunk)

    def finish(self) -> None:
        """Check that everything came.

        Raises:
            TransferError: TRANSFER_FAILED: the answer ended early.
        """
        if self._left:
            message = f"{self._key}: expected {self._size} bytes, came {self._size - self._left}"
            raise TransferError(Code.TRANSFER_FAILED, message)
