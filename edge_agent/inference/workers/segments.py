"""Bytes handed from one process to another: memfd segments, passed by descriptor.

Each side writes only into segments of its own and maps the other's read-only. A segment
is sealed against shrinking before it leaves its owner, and a receiver refuses one that is
not: a mapped file that its owner truncates would kill the reader by SIGBUS. Segments have
no names, so nothing is left behind and nobody else can open one. A segment passes once,
when it is new or had to grow; after that a request costs one small message each way.
"""

import contextlib
import fcntl
import json
import math
import mmap
import os
import select
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.inference.tensors import Form
from edge_agent.inference.workers.lent import Lent, LentSegment
from edge_agent.wire.fast.frames import aligned
from edge_agent.wire.memo import remember

# Beside a graph's outputs, under a name that none can have: when computing them began and ended, float64 [2].
COMPUTED = ""

Blob: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]

_LEAST_BYTES = 1 << 16
_LIMIT_BYTES = 1 << 31
_MESSAGE_BYTES = 1 << 16
_SEGMENT_FOLLOWS = b"segment"
# Clients' segments, by number: lent to the worker, and given back.
_LENT, _GIVEN_BACK = b"lent ", b"back "
# Before an answer that is the same each time, to the byte: two times, which are not.
_TIMED = b"t"
_TIMES = struct.Struct("=dd")
_KNOWN_LIMIT = 64
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


_encode = json.JSONEncoder(separators=(",", ":")).encode


class Segment:
    """Shared memory that this process owns and writes."""

    def __init__(self, size_bytes: int) -> None:
        """Create it; its pages are taken when they are first written.

        Raises:
            InferenceError: RESOURCE_EXHAUSTED: this process has no descriptors or no addresses left.
        """
        self.size_bytes = size_bytes
        self.descriptor = -1
        try:
            self.descriptor = os.memfd_create("edge-agent", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self.descriptor, size_bytes)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self._bytes = np.frombuffer(mmap.mmap(self.descriptor, size_bytes), np.uint8)
        except OSError as exc:
            if self.descriptor >= 0:
                os.close(self.descriptor)
            message = f"no memory can be shared with the model's worker, {os.strerror(exc.errno or 0).lower()}"
            raise InferenceError(Code.RESOURCE_EXHAUSTED, message) from exc

    def write(self, offset: int, source: NDArray[np.uint8]) -> None:
        """Copy flat bytes to ``offset``."""
        self._bytes[offset : offset + source.nbytes] = source

    def view(self, offset: int, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the place of a tensor, to be written; it must be dropped before ``close``."""
        size_bytes = dtype.itemsize * math.prod(shape)
        return self._bytes[offset : offset + size_bytes].view(dtype).reshape(shape)

    def close(self) -> None:
        """Give the memory back as soon as nobody looks at it; the other side's mapping lives until it is dropped there.

        A view may still be held, by the frames of the very fault that this lane is given up for.
        """
        os.close(self.descriptor)
        del self._bytes


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


class Parcel:
    """One message and what it carries."""

    def __init__(self, message: dict[str, Any], blobs: list[memoryview]) -> None:
        self.message = message
        self.blobs = blobs
        # Of ``send_timed``: when computing the answer began and ended.
        self.times = (0.0, 0.0)

    @cached_property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the tensors of ``send_tensors``, read-only; valid until the next message.

        Raises:
            KeyError, TypeError, ValueError: the message is of another kind, or contradicts its bytes.
        """
        return {
            name: np.frombuffer(blob, dtype).reshape(shape)
            for (name, dtype, shape), blob in zip(self.message["tensors"], self.blobs, strict=True)
        }


class _Letter(NamedTuple):
    """A message that is the same for all tensors of one form, and the places to write them to."""

    content: bytes
    places: list[NDArray[Any]]


class Endpoint:
    """One end of a lane: messages over a SEQPACKET socket, bytes beside them in segments.

    A request costs what Python costs here, so this stays spare: the socket is never switched
    between blocking and not, and descriptors, which need a slower call, come only behind a
    message that announces one. Tensors of the same form make the same message, to the byte: the
    sender encodes it once, and the receiver, who knows it again, has its views at hand.
    """

    def __init__(self, connection: socket.socket, *, borrows: bool = False) -> None:
        """Take over the socket; a worker ``borrows`` the segments of clients."""
        connection.settimeout(None)
        self._borrowed: dict[int, Lent] | None = {} if borrows else None
        self._lent: set[int] = set()
        # What announces a descriptor and the descriptor behind it stay together.
        self._sending = threading.Lock()
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._own: Segment | None = None
        self._foreign: ForeignSegment | None = None
        self._letters: dict[tuple[Form, bool], _Letter] = {}
        self._known: dict[bytes, Parcel] = {}

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any], blobs: Sequence[Blob] = ()) -> None:
        """Send a message; ``blobs`` are copied into this side's segment.

        Raises:
            ConnectionError: the other side is gone.
            OverflowError: the blobs are larger than a segment may be.
            InferenceError: RESOURCE_EXHAUSTED: there is no segment for them; nothing was sent.
        """
        flat = [_flat(blob) for blob in blobs]
        places, total = _places([source.nbytes for source in flat])
        own = self._own
        if total and (own is None or own.size_bytes < total):
            own = self._grow(total)
        if own is not None:
            for (offset, _), source in zip(places, flat, strict=True):
                own.write(offset, source)
        self._socket.send(_encode([message, places]).encode())

    def send_tensors(self, form: Form, tensors: Mapping[str, NDArray[Any]], *, quiet: bool = False) -> None:
        """Send ``{"do": "infer"}`` with tensors, which are copied into this side's segment.

        Args:
            form: of ``tensors``.
            tensors: of any layout.
            quiet: the answer may give way to others.

        Raises:
            ConnectionError: the other side is gone.
            OverflowError: the tensors are larger than a segment may be.
            InferenceError: RESOURCE_EXHAUSTED: there is no segment for them; nothing was sent.
        """
        letter = self._letters.get((form, quiet)) or self._compose(form, quiet=quiet)
        for place, tensor in zip(letter.places, tensors.values(), strict=True):
            place[...] = tensor
        self._socket.send(letter.content)

    def receive(self, timeout_s: float | None = None) -> Parcel:
        """Return the next message; its blobs are views, valid until the next message.

        Raises:
            TimeoutError: nothing came in time.
            ConnectionError: the other side is gone, or sent what is no message.
        """
        content = self._next(timeout_s)
        while not content.startswith((b"[", _TIMED)):
            self._take(content)
            content = self._next(timeout_s)
        if content.startswith(_TIMED):
            return self._timed(content)
        return self._known.get(content) or self._open(content)

    def lend(self, segment: LentSegment) -> None:
        """Hand a client's segment over, unless the other side has it.

        Raises:
            ConnectionError: the other side is gone.
        """
        if segment.number in self._lent:
            return
        with self._sending:
            self._socket.send(_LENT + str(segment.number).encode())
            socket.send_fds(self._socket, [_LENT], [segment.descriptor])
        self._lent.add(segment.number)
        segment.held_by(self)

    def give_back(self, number: int) -> None:
        """Let the other side close a client's segment; from any thread, whether it still listens or not."""
        self._lent.discard(number)
        with self._sending, contextlib.suppress(OSError):
            self._socket.send(_GIVEN_BACK + str(number).encode(), socket.MSG_DONTWAIT)

    def borrowed(self, number: int) -> Lent:
        """Return a client's segment that was lent.

        Raises:
            ConnectionError: it was not, or was given back.
        """
        segment = self._borrowed.get(number) if self._borrowed is not None else None
        if segment is None:
            raise ConnectionError(f"expected a lent segment, came number {number}")
        return segment

    def send_encoded(self, content: bytes) -> None:
        """Send a message that was ``encoded`` before.

        Raises:
            ConnectionError: the other side is gone.
        """
        self._socket.send(content)

    def send_timed(self, content: bytes, began: float, ended: float) -> None:
        """Send a message that was ``encoded`` before, and when computing what it tells began and ended.

        Raises:
            ConnectionError: the other side is gone.
        """
        self._socket.send(_TIMED + _TIMES.pack(began, ended) + content)

    def close(self) -> None:
        """Close the socket and drop both segments."""
        self._socket.close()
        self._known.clear()
        self._foreign = None
        self._drop_own()

    def _compose(self, form: Form, *, quiet: bool) -> _Letter:
        sizes = [dtype.itemsize * math.prod(shape) for _, dtype, shape in form]
        places, total = _places(sizes)
        own = self._own
        if own is None or own.size_bytes < total:
            own = self._grow(total)
        message = {"do": "infer", "quiet": quiet, "tensors": [(name, dtype.name, shape) for name, dtype, shape in form]}
        views = [own.view(offset, dtype, shape) for (offset, _), (_, dtype, shape) in zip(places, form, strict=True)]
        letter = _Letter(_encode([message, places]).encode(), views)
        remember(self._letters, (form, quiet), letter, limit=_KNOWN_LIMIT)
        return letter

    def _open(self, content: bytes) -> Parcel:
        try:
            message, places = json.loads(content)
            parcel = Parcel(message, [self._read(offset, size) for offset, size in places])
            if "tensors" in message:
                remember(self._known, content, parcel, limit=_KNOWN_LIMIT)
        except (ValueError, TypeError) as exc:
            raise ConnectionError(f"expected a message, {exc}") from exc
        return parcel

    def _timed(self, content: bytes) -> Parcel:
        body = content[1 + _TIMES.size :]
        parcel = self._known.get(body)
        if parcel is None:
            parcel = self._open(body)
            remember(self._known, body, parcel, limit=_KNOWN_LIMIT)
        parcel.times = _TIMES.unpack_from(content, 1)
        return parcel

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
        self._drop_own()
        self._own = Segment(max(_LEAST_BYTES, 1 << (size_bytes - 1).bit_length()))
        with self._sending:
            self._socket.send(_SEGMENT_FOLLOWS)
            socket.send_fds(self._socket, [_SEGMENT_FOLLOWS], [self._own.descriptor])
        return self._own

    def _drop_own(self) -> None:
        self._letters.clear()
        if self._own is not None:
            self._own.close()
            self._own = None

    def _take(self, announced: bytes) -> None:
        word, number = announced[: len(_LENT)], announced[len(_LENT) :]
        if announced == _SEGMENT_FOLLOWS:
            self._take_segment()
        elif self._borrowed is None or not number.isdigit() or word not in (_LENT, _GIVEN_BACK):
            raise ConnectionError(f"expected a message, came {announced[:40]!r}")
        elif word == _LENT:
            self._borrowed[int(number)] = Lent(self._descriptor())
        elif (segment := self._borrowed.pop(int(number), None)) is not None:
            segment.close()

    def _descriptor(self) -> int:
        _, descriptors, _, _ = socket.recv_fds(self._socket, len(_SEGMENT_FOLLOWS), 1)
        if not descriptors:
            raise ConnectionError("expected a segment's descriptor, came none")
        return descriptors[0]

    def _take_segment(self) -> None:
        descriptor = self._descriptor()
        self._known.clear()
        self._foreign = ForeignSegment(descriptor)

    def _read(self, offset: int, size_bytes: int) -> memoryview:
        if size_bytes == 0:
            return memoryview(b"")  # nothing to carry, so there may be no segment yet
        if self._foreign is None:
            raise ConnectionError("expected a segment before the first bytes, came none")
        return self._foreign.read(offset, size_bytes)


def encoded(message: dict[str, Any]) -> bytes:
    """Return a message that carries no bytes, for ``send_encoded`` and ``send_timed``."""
    return _encode([message, []]).encode()


def _flat(blob: Blob) -> NDArray[np.uint8]:
    if isinstance(blob, np.ndarray):
        return np.ascontiguousarray(blob).reshape(-1).view(np.uint8)
    return np.frombuffer(blob, np.uint8)


def _places(sizes: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """Return offset and size of each blob, aligned as the runtimes like it, and the whole size."""
    places: list[tuple[int, int]] = []
    at = 0
    for size_bytes in sizes:
        places.append((at, size_bytes))
        at += aligned(size_bytes)
    return places, at
