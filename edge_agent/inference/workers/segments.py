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
import select
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
_SEGMENT_FOLLOWS = b"segment"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


_encode = json.JSONEncoder(separators=(",", ":")).encode


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

    def write(self, offset: int, source: NDArray[np.uint8]) -> None:
        """Copy flat bytes to ``offset``."""
        self._bytes[offset : offset + source.nbytes] = source

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
    """One end of a lane: messages over a SEQPACKET socket, bytes beside them in segments.

    A request costs what Python costs here, so this stays spare: the socket is never switched
    between blocking and not, the encoder is made once, and descriptors, which need a slower
    call, come only behind a message that announces one.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Take over the socket."""
        connection.settimeout(None)
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
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
        flat = [_flat(blob) for blob in blobs]
        places, total = _places(flat)
        own = self._own
        if total and (own is None or own.size_bytes < total):
            own = self._grow(total)
        if own is not None:
            for (offset, _), source in zip(places, flat, strict=True):
                own.write(offset, source)
        self._socket.send(_encode([message, places]).encode())

    def receive(self, timeout_s: float | None = None) -> Parcel:
        """Return the next message; its blobs are views, valid until the next message.

        Raises:
            TimeoutError: nothing came in time.
            ConnectionError: the other side is gone, or sent what is no message.
        """
        content = self._next(timeout_s)
        if content == _SEGMENT_FOLLOWS:
            self._take_segment()
            content = self._next(timeout_s)
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

    def _next(self, timeout_s: float | None) -> bytes:
        if timeout_s is not None and not self._poll.poll(timeout_s * 1000):
            raise TimeoutError
        content = self._socket.recv(_MESSAGE_BYTES)
        if not content:
            raise ConnectionError("the other side is gone")
        return content

    def _grow(self, size_bytes: int) -> Segment:
        """Replace this side's segment by a larger one, and hand it over."""
        if size_bytes > _LIMIT_BYTES:
            raise OverflowError(f"expected at most {_LIMIT_BYTES} bytes, came {size_bytes}")
        if self._own is not None:
            self._own.close()
        self._own = Segment(max(_LEAST_BYTES, 1 << (size_bytes - 1).bit_length()))
        self._socket.send(_SEGMENT_FOLLOWS)
        socket.send_fds(self._socket, [_SEGMENT_FOLLOWS], [self._own.descriptor])
        return self._own

    def _take_segment(self) -> None:
        _, descriptors, _, _ = socket.recv_fds(self._socket, len(_SEGMENT_FOLLOWS), 1)
        if not descriptors:
            raise ConnectionError("expected a segment's descriptor, came none")
        self._foreign = ForeignSegment(descriptors[0])

    def _read(self, offset: int, size_bytes: int) -> memoryview:
        if size_bytes == 0:
            return memoryview(b"")  # nothing to carry, so there may be no segment yet
        if self._foreign is None:
            raise ConnectionError("expected a segment before the first bytes, came none")
        return self._foreign.read(offset, size_bytes)


def _flat(blob: Blob) -> NDArray[np.uint8]:
    if isinstance(blob, np.ndarray):
        return np.ascontiguousarray(blob).reshape(-1).view(np.uint8)
    return np.frombuffer(blob, np.uint8)


def _places(flat: Sequence[NDArray[np.uint8]]) -> tuple[list[tuple[int, int]], int]:
    """Return offset and size of each blob, aligned as the runtimes like it, and the whole size."""
    places: list[tuple[int, int]] = []
    at = 0
    for source in flat:
        places.append((at, source.nbytes))
        at += -(-source.nbytes // _ALIGNMENT) * _ALIGNMENT
    return places, at
