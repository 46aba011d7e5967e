"""Bytes handed from one process to another: memfd segments, passed by descriptor.

Each side writes only into segments of its own and maps the other's read-only. A segment
is sealed against shrinking before it leaves its owner, and a receiver refuses one that is
not: a mapped file that its owner truncates would kill the reader by SIGBUS. Segments have
no names, so nothing is left behind and nobody else can open one. A segment passes once,
when it is new or had to grow; after that a request costs one small message each way.
"""

import fcntl
import json
import mmap
import os
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Blob: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]

_LEAST_BYTES = 1 << 16
_LIMIT_BYTES = 1 << 31
_MESSAGE_BYTES = 1 << 16
_ALIGNMENT = 64
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Segment:
    """Shared memory that this process owns and writes."""

    def __init__(self, size_bytes: int) -> None:
        """Create it; its pages are taken when they are first written."""
        self.size_bytes = size_bytes
        self.descriptor = os.memfd_create("edge-agent", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, size_bytes)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._map = mmap.mmap(self.descriptor, size_bytes)
        self._bytes = np.frombuffer(self._map, np.uint8)

    def write(self, offset: int, blob: Blob) -> int:
        """Copy ``blob`` to ``offset`` and return its bytes."""
        source = _flat(blob)
        self._bytes[offset : offset + source.nbytes] = source
        return source.nbytes

    def close(self) -> None:
        """Give the memory back; the other side's mapping lives until it is dropped there."""
        os.close(self.descriptor)
        del self._bytes
        self._map.close()


class ForeignSegment:
    """Shared memory that another process owns; read-only here."""

    def __init__(self, descriptor: int) -> None:
        """Map it; the descriptor is closed in any case.

        Raises:
            ConnectionError: it may shrink under the reader, or is no segment at all.
        """
        try:
            if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK == 0:
                raise ConnectionError("expected a segment sealed against shrinking, came one that is not")
            self._map = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as exc:
            raise ConnectionError(f"expected a shared segment, {exc}") from exc
        finally:
            os.close(descriptor)
        self._bytes = memoryview(self._map)

    def read(self, offset: int, size_bytes: int) -> memoryview:
        """Return a view; valid until the owner writes again.

        Raises:
            ConnectionError: it does not lie within the segment.
        """
        if min(offset, size_bytes) < 0 or offset + size_bytes > len(self._bytes):
            raise ConnectionError(f"expected bytes within {len(self._bytes)}, came {offset} + {size_bytes}")
        return self._bytes[offset : offset + size_bytes]


class Parcel(NamedTuple):
    """One message and what it carries."""

    message: dict[str, Any]
    blobs: list[memoryview]


class Endpoint:
    """One end of a lane: messages over a SEQPACKET socket, bytes beside them in segments."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over the socket."""
        self._socket = connection
        self._own: Segment | None = None
        self._foreign: ForeignSegment | None = None

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any], blobs: Sequence[Blob] = ()) -> None:
        """Send a message; ``blobs`` are copied into this side's segment.

        Raises:
            ConnectionError: the other side is gone.
            OverflowError: the blobs are larger than a segment may be.
        """
        sizes = [_flat(blob).nbytes for blob in blobs]
        offsets, total = _places(sizes)
        fresh = self._room_for(total)
        if self._own is not None:
            for offset, blob in zip(offsets, blobs, strict=True):
                self._own.write(offset, blob)
        content = json.dumps([message, list(zip(offsets, sizes, strict=True))], separators=(",", ":")).encode()
        self._socket.settimeout(None)
        if fresh is None:
            self._socket.send(content)
        else:
            socket.send_fds(self._socket, [content], [fresh.descriptor])

    def receive(self, timeout_s: float | None = None) -> Parcel:
        """Return the next message; its blobs are views, valid until the next message.

        Raises:
            TimeoutError: nothing came in time.
            ConnectionError: the other side is gone, or sent what is no message.
        """
        self._socket.settimeout(timeout_s)
        content, descriptors, _flags, _ = socket.recv_fds(self._socket, _MESSAGE_BYTES, 1)
        for descriptor in descriptors:
            self._foreign = ForeignSegment(descriptor)
        if not content:
            raise ConnectionError("the other side is gone")
        try:
            message, places = json.loads(content)
            return Parcel(message, [self._read(offset, size) for offset, size in places])
        except (ValueError, TypeError) as exc:
            raise ConnectionError(f"expected a message, {exc}") from exc

    def close(self) -> None:
        """Close the socket and drop both segments."""
        self._socket.close()
        self._foreign = None
        if self._own is not None:
            self._own.close()
            self._own = None

    def _room_for(self, size_bytes: int) -> Segment | None:
        """Return a new segment where the present one is too small."""
        if size_bytes > _LIMIT_BYTES:
            raise OverflowError(f"expected at most {_LIMIT_BYTES} bytes, came {size_bytes}")
        if size_bytes == 0 or (self._own is not None and self._own.size_bytes >= size_bytes):
            return None
        if self._own is not None:
            self._own.close()
        self._own = Segment(max(_LEAST_BYTES, 1 << (size_bytes - 1).bit_length()))
        return self._own

    def _read(self, offset: int, size_bytes: int) -> memoryview:
        if self._foreign is None:
            raise ConnectionError("expected a segment before the first bytes, came none")
        return self._foreign.read(offset, size_bytes)


def _flat(blob: Blob) -> NDArray[np.uint8]:
    if isinstance(blob, np.ndarray):
        return np.ascontiguousarray(blob).reshape(-1).view(np.uint8)
    return np.frombuffer(blob, np.uint8)


def _places(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Return the offset of each blob, aligned as the runtimes like it, and the whole size."""
    offsets: list[int] = []
    at = 0
    for size in sizes:
        offsets.append(at)
        at += -(-size // _ALIGNMENT) * _ALIGNMENT
    return offsets, at
