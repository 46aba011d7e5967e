"""One client's connection: hello, a segment, then requests one after the other, each answered before the next."""

import os
import socket
import struct
import threading
from array import array
from contextlib import suppress
from typing import NamedTuple

from edge_agent.errors import AgentError, Code, InferenceError
from edge_agent.formats import ModelVersion
from edge_agent.inference.workers.lent import LentRequest, LentSegment, Place
from edge_agent.rpc.fast.service import FastService, lent_request, without_segment
from edge_agent.rpc.interceptor import attempt
from edge_agent.rpc.status import status_of
from edge_agent.wire.fast import frames, inspection, tensors
from edge_agent.wire.fast.frames import HEAD, REPLY, SEGMENT_RETIRED, Head, Kind
from edge_agent.wire.fast.tensors import InferAnswer, InferOrder, TensorAt
from edge_agent.wire.memo import remember

_HELLO_S = 5
_SEND_S = 5
_DESCRIPTORS = 4
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DESCRIPTORS * array("i").itemsize)
_KNOWN_LIMIT = 16
_TIME = struct.Struct("@ll")


class _Known(NamedTuple):
    """A request that came before: one that comes again, to the byte, is not read again."""

    order: InferOrder
    request: LentRequest


class Connection:
    """Answers one client until it goes, or is told to.

    Args:
        channel: its socket, taken over.
        service: answers.
        calls: a permit for each request that is being answered; without one a request is refused.
    """

    def __init__(self, channel: socket.socket, service: FastService, calls: threading.BoundedSemaphore) -> None:
        self._channel = channel
        self._service = service
        self._calls = calls
        self._segment: LentSegment | None = None
        self._known: dict[bytes, _Known] = {}
        self._replies: dict[tuple[ModelVersion, tuple[Place, ...]], bytes] = {}
        # Of the request at hand.
        self._replied = False
        self._failure: OSError | None = None

    def run(self) -> None:
        """Answer until the client goes or breaks the protocol; nothing of it is left then."""
        try:
            # A client that does not read its replies, or says nothing at first, holds a thread only so long.
            self._limit(socket.SO_SNDTIMEO, _SEND_S)
            self._limit(socket.SO_RCVTIMEO, _HELLO_S)
            if self._greeted():
                self._limit(socket.SO_RCVTIMEO, 0)
                while self._answer():
                    pass
        except OSError:
            pass  # it is gone, or does not read
        finally:
            self._channel.close()
            self._take_back()

    def end(self, how: int) -> None:
        """Have no more requests come (SHUT_RD), or replies go either (SHUT_RDWR); from any thread."""
        with suppress(OSError):
            self._channel.shutdown(how)

    def _limit(self, option: int, seconds: int) -> None:
        self._channel.setsockopt(socket.SOL_SOCKET, option, _TIME.pack(seconds, 0))

    def _greeted(self) -> bool:
        message, descriptors, _ = self._receive()
        _close(descriptors)
        if not message:
            return False
        number = HEAD.unpack_from(message)[2] if len(message) >= HEAD.size else 0
        try:
            frames.read_hello(message)
        except InferenceError as exc:
            self._channel.send(frames.error(number, exc, _status(exc)))
            return False
        self._channel.send(frames.welcome(number))
        return True

    def _answer(self) -> bool:
        """Answer the next request; False: there is none any more."""
        message, descriptors, cut = self._receive()
        if not message:
            _close(descriptors)
            return False
        number = 0
        self._replied = False
        try:
            head = frames.read_head(message)
            number = head.number
            if cut:
                raise frames.invalid(
                    f"expected a message of at most {frames.REQUEST_LIMIT_BYTES} bytes, one descriptor"
                )
            reply = self._reply(head, message, descriptors)
        except AgentError as exc:
            reply = frames.error(number, exc, _status(exc), flags=self._retired())
        finally:
            _close(descriptors)
        if not self._replied:
            self._channel.send(reply)
        if self._failure is not None:
            raise self._failure
        return True

    def _reply(self, head: Head, message: bytes, descriptors: list[int]) -> bytes:
        """Return the reply, unless it was sent already."""
        frames.unused(head.flags)
        if head.kind == Kind.INFER:
            return self._called("fast/Infer", head, message, descriptors)
        if head.kind == Kind.INSPECT:
            return self._called("fast/Inspect", head, message, descriptors)
        if head.kind == Kind.SEGMENT:
            return self._take(head, message, descriptors)
        raise frames.invalid(f"expected a message of kind {[*map(int, Kind)][1:-1]}, came {head.kind}")

    def _called(self, method: str, head: Head, message: bytes, descriptors: list[int]) -> bytes:
        if descriptors:
            raise frames.invalid(f"expected no descriptor beside a request, came {len(descriptors)}")
        if not self._calls.acquire(blocking=False):
            raise InferenceError(Code.RESOURCE_EXHAUSTED, "as many calls are answered as may be at a time")
        try:
            do = self._infer if head.kind == Kind.INFER else self._inspect
            answer = attempt(method, lambda: do(head, message))
        finally:
            self._calls.release()
        if isinstance(answer, AgentError):
            raise answer
        return answer

    def _infer(self, head: Head, message: bytes) -> bytes:
        segment = self._lent()
        body = message[HEAD.size :]
        known = self._known.get(body)
        if known is None:
            order = tensors.read_infer(message)
            known = _Known(order, lent_request(order, segment))
            remember(self._known, body, known, limit=_KNOWN_LIMIT)

        def answered(model: ModelVersion, outputs: tuple[Place, ...]) -> None:
            told = self._replies.get((model, outputs)) or self._told(model, outputs)
            self._replied = True
            try:
                self._channel.send(HEAD.pack(Kind.INFER | REPLY, 0, head.number) + told)
            except OSError as exc:  # the client went, which is no fault of the call
                self._failure = exc

        self._service.infer(known.order, known.request, answered)
        return b""

    def _told(self, model: ModelVersion, outputs: tuple[Place, ...]) -> bytes:
        answer = InferAnswer(model, tuple(TensorAt(*place) for place in outputs))
        told = tensors.inferred(0, answer)[HEAD.size :]
        remember(self._replies, (model, outputs), told, limit=_KNOWN_LIMIT)
        return told

    def _inspect(self, head: Head, message: bytes) -> bytes:
        segment = self._lent()
        frame, drawn = self._service.inspect(inspection.read_inspect(message), segment)
        return inspection.inspected(head.number, frame, drawn)

    def _take(self, head: Head, message: bytes, descriptors: list[int]) -> bytes:
        if len(message) != HEAD.size or len(descriptors) != 1:
            came = f"{len(message)} bytes with {len(descriptors)}"
            raise frames.invalid(f"segment: expected {HEAD.size} bytes with one descriptor, came {came}")
        taken = LentSegment(descriptors.pop())
        self._take_back()
        self._segment = taken
        return frames.segment_taken(head.number, taken.size_bytes)

    def _lent(self) -> LentSegment:
        if self._segment is None:
            raise without_segment()
        return self._segment

    def _retired(self) -> int:
        """Return the flag of a reply after which the client is to bring another segment, as this may not be used."""
        if self._segment is None or not self._segment.spoiled:
            return 0
        self._take_back()
        return SEGMENT_RETIRED

    def _take_back(self) -> None:
        segment, self._segment = self._segment, None
        self._known.clear()
        if segment is not None:
            segment.close()

    def _receive(self) -> tuple[bytes, list[int], bool]:
        """Return the next message, the descriptors beside it, and whether something of it was cut off."""
        content, ancillary, flags, _ = self._channel.recvmsg(
            frames.REQUEST_LIMIT_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
        )
        if not ancillary and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            return content, [], False
        descriptors = array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        return content, [*descriptors], bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))


def _status(error: AgentError) -> int:
    return int(status_of(error.code).value[0])


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
