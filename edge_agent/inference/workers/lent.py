"""Memory that a client lends for as long as its connection lives: read once, written only where a request said.

A lent segment is a memfd of the client's, sealed against shrinking. It is never mapped here, neither in
the agent nor in a worker: bytes are copied by ``preadv`` and ``pwritev``, which end in an error where a
mapping would end in SIGBUS (pages punched out of the file, no memory for new ones). Each byte is read
once and lies in private memory before anything looks at it, so what a client writes meanwhile changes
nothing that was checked. The file is opened anew, so that the client keeps no hand on how it is open.
"""

import errno
import fcntl
import itertools
import json
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.inference.session import Priority, Times
from edge_agent.wire.fast.frames import SEGMENT_LIMIT_BYTES, aligned

_WRITE_SEALS = fcntl.F_SEAL_WRITE | 0x10  # 0x10: F_SEAL_FUTURE_WRITE, which Python has no name for
_SUPPORTED = frozenset({"uint8", "int16", "int32", "int64", "float16", "float32", "float64"})

_encode = json.JSONEncoder(separators=(",", ":")).encode
_numbers = itertools.count(1)
_NOTHING = bytes(8)


class Holder(Protocol):
    """Who was handed a lent segment, and is told when it goes back."""

    def give_back(self, number: int) -> None:
        """Let the other side forget it; never waits, never fails."""


class Told(Protocol):
    """What a worker answers; the same answer is the same object, and never changes."""

    message: dict[str, Any]


class Place(NamedTuple):
    """A tensor in a lent segment."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class Placed(NamedTuple):
    """The outputs of a request, where they were put, and where the time went."""

    outputs: tuple[Place, ...]
    times: Times = Times()


class Lent:
    """A lent segment as one process holds it."""

    def __init__(self, descriptor: int) -> None:
        """Take over an open file."""
        self.descriptor = descriptor

    def read_array(self, place: Place) -> NDArray[Any]:
        """Return a private copy.

        Raises:
            InferenceError: INVALID_ARGUMENT: the segment ends before the bytes do.
        """
        values = np.empty(place.shape, place.dtype)
        self._read(values, place.offset, values.nbytes)
        return values

    def read_bytes(self, offset: int, size_bytes: int) -> bytes:
        """Return a private copy.

        Raises:
            InferenceError: INVALID_ARGUMENT: the segment ends before the bytes do.
        """
        try:
            content = os.pread(self.descriptor, size_bytes, offset)
        except OSError as exc:
            raise _unreadable(exc) from exc
        if len(content) != size_bytes:
            raise _ended(offset, size_bytes, len(content))
        return content

    def write(self, offset: int, content: bytes | NDArray[Any]) -> None:
        """Write; the caller keeps within what the client named.

        Raises:
            InferenceError: RESOURCE_EXHAUSTED: there is no memory for the segment's pages.
        """
        view = content.data if isinstance(content, np.ndarray) else memoryview(content)
        size_bytes = view.nbytes
        try:
            written = os.pwritev(self.descriptor, [view], offset) if size_bytes else 0
        except OSError as exc:
            message = f"the segment cannot be written, {os.strerror(exc.errno or 0).lower()}"
            raise InferenceError(Code.RESOURCE_EXHAUSTED, message) from exc
        if written != size_bytes:
            message = f"the segment took {written} of {size_bytes} bytes"
            raise InferenceError(Code.RESOURCE_EXHAUSTED, message)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)

    def _read(self, into: NDArray[Any], offset: int, size_bytes: int) -> None:
        try:
            came = os.preadv(self.descriptor, [into.data], offset) if size_bytes else 0
        except OSError as exc:
            raise _unreadable(exc) from exc
        if came != size_bytes:
            raise _ended(offset, size_bytes, came)


class LentSegment(Lent):
    """A client's segment in the agent, until the client takes it back or is gone."""

    def __init__(self, descriptor: int) -> None:
        """Check and open it; ``descriptor`` is closed in any case.

        Raises:
            InferenceError: FAILED_PRECONDITION: it is no sealed segment that can be read and written.
        """
        try:
            super().__init__(_opened(descriptor))
        finally:
            os.close(descriptor)
        self.size_bytes = os.fstat(self.descriptor).st_size
        self.number = next(_numbers)
        # A late answer may still be written into it: nothing new may be asked of it then.
        self.spoiled = False
        self._lock = threading.Lock()
        self._holders: weakref.WeakSet[Any] = weakref.WeakSet()
        if self.size_bytes > SEGMENT_LIMIT_BYTES:
            self.close()
            raise _refused(f"a segment of at most {SEGMENT_LIMIT_BYTES} bytes", f"{self.size_bytes}")

    def check(self, what: str, offset: int, size_bytes: int) -> None:
        """Check that a range lies within the segment.

        Raises:
            InferenceError: INVALID_ARGUMENT.
        """
        if min(offset, size_bytes) < 0 or offset + size_bytes > self.size_bytes:
            message = f"{what}: expected bytes within the segment's {self.size_bytes}, came {offset} + {size_bytes}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)

    def held_by(self, holder: Holder) -> None:
        """Remember who has it too."""
        with self._lock:
            self._holders.add(holder)

    def close(self) -> None:
        """Give it back: here and wherever it was handed to."""
        super().close()
        with self._lock:
            holders = [*self._holders]
        for holder in holders:
            holder.give_back(self.number)


class LentRequest:
    """Tensors that lie in a lent segment, and the room in it for the answer.

    Args:
        segment: where everything lies.
        inputs: each within the segment, its size that of its type and shape.
        room: offset and size of the part that the outputs are written into.

    Raises:
        InferenceError: INVALID_ARGUMENT: something lies outside the segment, or contradicts itself.
    """

    def __init__(self, segment: LentSegment, inputs: Sequence[Place], room: tuple[int, int]) -> None:
        for place in inputs:
            _check(segment, place)
        segment.check("outputs", *room)
        self.segment = segment
        self.inputs = tuple(inputs)
        self.room = room
        self.forms = {place.name: _form(place) for place in inputs}
        if len(self.forms) != len(self.inputs):
            raise InferenceError(Code.INVALID_ARGUMENT, "expected inputs with different names, came one twice")
        message = {"do": "lent", "segment": segment.number, "tensors": self.inputs, "room": room}
        self._message = _encode([message, []]).encode()
        # An answer that a lane knows again was checked before.
        self._told: tuple[Told | None, tuple[Place, ...]] = (None, ())

    def send(self, lane: Any) -> None:
        """Ask the worker behind a lane, which is handed the segment if it does not have it yet.

        Raises:
            ConnectionError: the other side is gone.
        """
        lane.lend(self.segment)
        lane.send_encoded(self._message)

    def read(self) -> dict[str, NDArray[Any]]:
        """Return private copies of the inputs.

        Raises:
            InferenceError: INVALID_ARGUMENT.
        """
        return {place.name: self.segment.read_array(place) for place in self.inputs}

    def write(self, outputs: Mapping[str, NDArray[Any]]) -> tuple[Place, ...]:
        """Put the outputs into the room.

        Raises:
            InferenceError: OUT_OF_RANGE: they are larger than it is; nothing was written.
        """
        return write_outputs(self.segment, outputs, self.room)

    def checked(self, parcel: Told) -> tuple[Place, ...]:
        """Return what a worker tells of the outputs that it wrote.

        Raises:
            KeyError, TypeError, ValueError: it cannot be so.
        """
        if parcel is not self._told[0]:
            self._told = (parcel, self._read_places(parcel.message["placed"]))
        return self._told[1]

    def _read_places(self, places: Sequence[Sequence[Any]]) -> tuple[Place, ...]:
        told = tuple(Place(str(n), str(d), tuple(map(int, s)), int(o), int(b)) for n, d, s, o, b in places)
        begin, size_bytes = self.room
        for place in told:
            inside = begin <= place.offset and place.offset + place.size_bytes <= begin + size_bytes
            if not inside or place.size_bytes != _size(place) or min(place.shape, default=0) < 0:
                raise ValueError(f"expected outputs within their room, came {place}")
        return told


class LendingSession(ABC):
    """A session whose worker reads and writes lent segments by itself."""

    @abstractmethod
    def infer_lent(self, request: LentRequest, *, timeout_s: float, priority: Priority = Priority.LINE) -> Placed:
        """Answer as ``Session.infer``; where no answer came in time the segment is spoiled.

        Raises:
            InferenceError: as ``Session.infer``; OUT_OF_RANGE: the outputs are larger than their room.
        """


def write_outputs(segment: Lent, outputs: Mapping[str, NDArray[Any]], room: tuple[int, int]) -> tuple[Place, ...]:
    """Write outputs one behind the other into ``room`` (offset, size), and return where they are.

    Raises:
        InferenceError: OUT_OF_RANGE: they are larger than it is; nothing was written.
    """
    begin, size_bytes = room
    at, places = begin, []
    for name, value in outputs.items():
        places.append(Place(name, value.dtype.name, value.shape, at, value.nbytes))
        at += aligned(value.nbytes)
    needed = places[-1].offset + places[-1].size_bytes - begin if places else 0
    if needed > size_bytes:
        raise InferenceError(Code.OUT_OF_RANGE, f"outputs: expected room for {needed} bytes, came {size_bytes}")
    for place, value in zip(places, outputs.values(), strict=True):
        segment.write(place.offset, np.ascontiguousarray(value))
    return tuple(places)


def _opened(descriptor: int) -> int:
    """Return a description of our own of a client's segment."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as exc:
        raise _refused("a memfd", "another kind of file") from exc
    if not seals & fcntl.F_SEAL_SHRINK:
        raise _refused("a segment sealed with F_SEAL_SHRINK", "one that its owner can shrink")
    if seals & _WRITE_SEALS:
        raise _refused("a segment that can be written", "one that is sealed against it")
    try:
        ours = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        raise _refused("a segment that can be opened", os.strerror(exc.errno or 0).lower()) from exc
    try:
        os.pwrite(ours, b"", 0)  # huge pages can only be mapped
    except OSError as exc:
        os.close(ours)
        raise _refused("a segment of ordinary pages", os.strerror(exc.errno or 0).lower()) from exc
    return ours


def _check(segment: LentSegment, place: Place) -> None:
    what = f"input {place.name}"
    if place.dtype not in _SUPPORTED:
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected one of {sorted(_SUPPORTED)}, came {place.dtype}")
    if any(size < 0 for size in place.shape) or _size(place) != place.size_bytes:
        came = f"{place.dtype}{list(place.shape)} in {place.size_bytes} bytes"
        raise InferenceError(
            Code.INVALID_ARGUMENT, f"{what}: expected as many bytes as its type and shape, came {came}"
        )
    segment.check(what, place.offset, place.size_bytes)


def _size(place: Place) -> int:
    return prod(place.shape) * np.dtype(place.dtype).itemsize


def _form(place: Place) -> NDArray[Any]:
    """Return an array of the tensor's type and shape that holds none of its bytes.

    Raises:
        InferenceError: INVALID_ARGUMENT: there can be no such array, even if one dimension of 0 makes it empty.
    """
    try:
        return np.ndarray(place.shape, place.dtype, _NOTHING, strides=(0,) * len(place.shape))
    except ValueError as exc:
        message = f"input {place.name}: expected sizes that an array may have, came {list(place.shape)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message) from exc


def _refused(expected: str, came: str) -> InferenceError:
    return InferenceError(Code.FAILED_PRECONDITION, f"segment: expected {expected}, came {came}")


def _unreadable(exc: OSError) -> InferenceError:
    code = Code.RESOURCE_EXHAUSTED if exc.errno == errno.ENOMEM else Code.INVALID_ARGUMENT
    return InferenceError(code, f"the segment cannot be read, {os.strerror(exc.errno or 0).lower()}")


def _ended(offset: int, expected: int, came: int) -> InferenceError:
    message = f"expected {expected} bytes from {offset} on in the segment, it ended after {came}"
    return InferenceError(Code.INVALID_ARGUMENT, message)
