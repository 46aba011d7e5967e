"""One connection to ``fast.sock`` and the memory that it lends to the agent."""

import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.client import faults
from edge_agent.errors import AgentError, Code, InferenceError
from edge_agent.wire.fast import frames, tensors
from edge_agent.wire.fast.frames import HEAD, REPLY_LIMIT_BYTES, SEGMENT_RETIRED, Kind, aligned
from edge_agent.wire.fast.tensors import InferAnswer, InferOrder, TensorAt
from edge_agent.wire.memo import remember

_LEAST_BYTES = 1 << 20
_KNOWN_LIMIT = 16
_LONGEST_S = 86_400.0
_TIME = struct.Struct("@ll")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
# Only pages that are written take memory, so there is room for any answer.
_ROOM_BYTES = 64 << 20

Form = tuple[tuple[str, "np.dtype[Any]", tuple[int, ...]], ...]


class NotAskedError(Exception):
    """The agent did not take the request, so that it may be asked in another way."""


class _Prepared(NamedTuple):
    """A request that differs from the last one of its form in its numbers only."""

    body: bytes
    places: list[NDArray[Any]]


class _Answer(NamedTuple):
    told: InferAnswer
    places: dict[str, NDArray[Any]]


class FastConnection:
    """Asks one request at a time; for one thread at a time.

    Args:
        path: of ``fast.sock``.
        timeout_s: to be taken in.

    Raises:
        NotAskedError: nobody answers there, or takes no more connections.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._memory: mmap.mmap | None = None
        self._bytes: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._timeout_s = 0.0
        self._number = 0
        self._prepared: dict[tuple[object, ...], _Prepared] = {}
        self._answers: dict[bytes, _Answer] = {}
        self.usable = True
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(path))
            self._socket.settimeout(None)
            self._wait(timeout_s)
            self._socket.send(frames.hello())
            frames.read_welcome(self._socket.recv(REPLY_LIMIT_BYTES))
        except (OSError, InferenceError) as exc:
            self._socket.close()
            raise NotAskedError(f"{path}: {exc}") from exc

    def infer(
        self, model: str, inputs: Mapping[str, NDArray[Any]], *, version: str, timeout_s: float, priority: int
    ) -> tuple[InferAnswer, dict[str, NDArray[Any]]]:
        """Return what answered, and its outputs.

        Raises:
            NotAskedError: the agent did not take the request.
            AgentError: what the agent says.
        """
        form: Form = tuple([(name, tensor.dtype, tensor.shape) for name, tensor in inputs.items()])
        key = (model, version, timeout_s, priority, form)
        prepared = self._prepared.get(key)
        if prepared is None:
            order = InferOrder(model, version, (), (0, 0), microseconds(timeout_s), priority)
            prepared = self._prepare(order, form, timeout_s)
            remember(self._prepared, key, prepared, limit=_KNOWN_LIMIT)
        for place, tensor in zip(prepared.places, inputs.values(), strict=True):
            place[...] = tensor
        reply = self._ask(Kind.INFER, prepared.body, timeout_s)
        answer = self._answers.get(reply[HEAD.size :]) or self._read(reply)
        # Copied: the next answer comes to the same place.
        return answer.told, {name: place.copy() for name, place in answer.places.items()}

    def inspect(
        self, content: bytes | memoryview, *, room_bytes: int, write: Callable[[int], bytes], timeout_s: float
    ) -> bytes:
        """Return the reply to an inspection.

        Args:
            content: the picture.
            room_bytes: for what is drawn.
            write: makes the request, given where the room begins.
            timeout_s: to wait.

        Raises:
            NotAskedError: the agent did not take the request.
            AgentError: what the agent says.
        """
        size_bytes = len(content)
        room_at = aligned(size_bytes)
        self._hold(room_at + room_bytes, timeout_s)
        self._bytes[:size_bytes] = np.frombuffer(content, np.uint8)
        return self._ask(Kind.INSPECT, write(room_at)[HEAD.size :], timeout_s)

    def png(self, offset: int, size_bytes: int) -> bytes:
        """Return what the agent drew."""
        return self._bytes[offset : offset + size_bytes].tobytes()

    def close(self) -> None:
        """End the connection; its memory goes with it."""
        self.usable = False
        self._socket.close()
        self._let_go()

    def _prepare(self, order: InferOrder, form: Form, timeout_s: float) -> _Prepared:
        at, placed = 0, []
        for name, dtype, shape in form:
            if dtype.name not in tensors.DTYPES:
                expected = ", ".join(tensors.DTYPES)
                raise InferenceError(Code.INVALID_ARGUMENT, f"input {name}: expected one of {expected}, came {dtype}")
            size_bytes = dtype.itemsize * prod(shape)
            placed.append(TensorAt(name, dtype.name, shape, at, size_bytes))
            at = aligned(at + size_bytes)
        self._hold(at + _ROOM_BYTES, timeout_s)
        body = tensors.infer(0, order._replace(tensors=tuple(placed), room=(at, _ROOM_BYTES)))[HEAD.size :]
        return _Prepared(body, [self._view(tensor) for tensor in placed])

    def _read(self, reply: bytes) -> _Answer:
        told = tensors.read_inferred(reply)
        answer = _Answer(told, {tensor.name: self._view(tensor) for tensor in told.tensors})
        remember(self._answers, reply[HEAD.size :], answer, limit=_KNOWN_LIMIT)
        return answer

    def _view(self, tensor: TensorAt) -> NDArray[Any]:
        inside = self._bytes[tensor.offset : tensor.offset + tensor.size_bytes]
        return inside.view(tensor.dtype).reshape(tensor.shape)

    def _hold(self, size_bytes: int, timeout_s: float) -> None:
        """Lend memory of at least this size, for a request that has so long."""
        if size_bytes <= self._bytes.size:
            return
        if size_bytes > frames.SEGMENT_LIMIT_BYTES:
            raise NotAskedError(f"expected at most {frames.SEGMENT_LIMIT_BYTES} bytes, came {size_bytes}")
        self._let_go()
        # Not as long as the request before had; and what is left is for the other way.
        self._wait(timeout_s / 2)
        size_bytes = max(_LEAST_BYTES, -(-size_bytes // _LEAST_BYTES) * _LEAST_BYTES)
        try:
            descriptor = os.memfd_create("edge-agent-client", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                self._lend(descriptor, size_bytes)
            finally:
                os.close(descriptor)
        except (OSError, AgentError) as exc:
            # The agent may still hold the one before, and would answer what lies there.
            self.close()
            raise NotAskedError(f"the agent takes no segment, {exc}") from exc

    def _lend(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._memory = mmap.mmap(descriptor, size_bytes)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self._number = self._number + 1 & 0xFFFFFFFF
        self.usable = False
        socket.send_fds(self._socket, [frames.segment(self._number)], [descriptor])
        reply = self._socket.recv(REPLY_LIMIT_BYTES)
        self.usable = True
        self._check(reply)

    def _ask(self, kind: Kind, body: bytes, timeout_s: float) -> bytes:
        self._number = self._number + 1 & 0xFFFFFFFF
        if timeout_s != self._timeout_s:
            self._wait(timeout_s)
        # Who is interrupted here (Ctrl-C, a signal's handler) leaves a reply behind, which is nobody else's.
        self.usable = False
        try:
            self._socket.send(HEAD.pack(kind, 0, self._number) + body)
            reply = self._socket.recv(REPLY_LIMIT_BYTES)
        except BlockingIOError as exc:
            # An answer that comes later must not be taken for that of the next request.
            self.close()
            message = f"the answer did not come within {timeout_s:g} s"
            raise InferenceError(Code.DEADLINE_EXCEEDED, message) from exc
        except OSError as exc:
            # It was not read: unix(7), a socket closed with unread data resets its peer.
            self.close()
            raise NotAskedError(f"the agent went away, {exc}") from exc
        self.usable = True
        self._check(reply)
        return reply

    def _check(self, reply: bytes) -> None:
        if not reply:
            self.close()
            raise InferenceError(Code.UNAVAILABLE, "the agent ended during the request")
        kind, flags, number = HEAD.unpack_from(reply)
        if number != self._number:
            self.close()
            raise InferenceError(Code.INTERNAL, "the reply is to another request")
        if flags & SEGMENT_RETIRED:
            # Its memory may still be written by an answer that came too late.
            self.close()
        if kind == Kind.ERROR:
            fault = frames.read_error(reply)
            raise faults.from_words(fault.kind, fault.word, fault.message)

    def _wait(self, seconds: float) -> None:
        """Wait so long for a reply; the kernel does it, which spares a poll for each."""
        whole, parts = divmod(microseconds(seconds), 1_000_000)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIME.pack(whole, parts))
        self._timeout_s = seconds

    def _let_go(self) -> None:
        self._prepared.clear()
        self._answers.clear()
        self._bytes = np.empty(0, np.uint8)
        # Unmapped with its last view, which an error on its way up may still hold.
        self._memory = None


def microseconds(timeout_s: float) -> int:
    """Return a time-out as messages and sockets tell it; neither knows of less than 1, which 0 would not mean."""
    return max(1, int(min(timeout_s, _LONGEST_S) * 1_000_000))
