"""What every message of the fast path has: a head, fixed parts, then strings; nothing before or behind that."""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from edge_agent.errors import AgentError, Code, InferenceError

MAGIC = b"EDGEFAST"
VERSION = 1
REQUEST_LIMIT_BYTES = 16 << 10
REPLY_LIMIT_BYTES = 64 << 10
TENSORS_LIMIT = 64
RANK_LIMIT = 8
SEGMENT_LIMIT_BYTES = 256 << 20
READ_LIMIT_BYTES = 64 << 20
ALIGNMENT = 64
_ERROR_CHARACTERS = 2000

HEAD = struct.Struct("<HHI")
_HELLO = struct.Struct("<HHI8sHHI")
_WELCOME = struct.Struct("<HHI8sHHIQ")
_SEGMENT_TAKEN = struct.Struct("<HHIQ")
_ERROR = struct.Struct("<HHIIHHII")


class Kind(IntEnum):
    """What a message is; a reply's number is that of its request with ``REPLY`` added."""

    HELLO = 1
    SEGMENT = 2
    INFER = 3
    INSPECT = 4
    ERROR = 0xFF


REPLY = 0x80
SEGMENT_RETIRED = 1
"""Flag of a reply: the segment may still be written by a late answer, so another is wanted before the next request."""


class Head(NamedTuple):
    """The first eight bytes."""

    kind: int
    flags: int
    number: int


class Welcome(NamedTuple):
    """What the agent says to a hello."""

    version: int
    tensors_limit: int
    request_limit_bytes: int
    segment_limit_bytes: int


class Fault(NamedTuple):
    """What an error reply tells."""

    status: int
    """gRPC's number of the same error."""
    word: str
    kind: str
    """The error's class in the agent."""
    message: str


class Strings:
    """The strings at a message's end, taken one after the other.

    Args:
        message: all of it.
        at: where they begin.
    """

    def __init__(self, message: bytes, at: int) -> None:
        self._message = message
        self._at = at

    def take(self, size_bytes: int, what: str) -> str:
        """Return the next string.

        Raises:
            InferenceError: INVALID_ARGUMENT: the message ends before it, or it is not UTF-8.
        """
        end = self._at + size_bytes
        content = self._message[self._at : end]
        if end > len(self._message):
            raise invalid(f"{what}: expected {size_bytes} bytes, the message ends after {len(content)}")
        self._at = end
        try:
            return content.decode()
        except UnicodeDecodeError as exc:
            raise invalid(f"{what}: expected UTF-8, came {content[:40]!r}") from exc

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            InferenceError: INVALID_ARGUMENT.
        """
        if self._at != len(self._message):
            raise invalid(f"expected a message of {self._at} bytes, came {len(self._message)}")


def aligned(size_bytes: int) -> int:
    """Return where the next thing may lie, behind one of this size."""
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT


def invalid(message: str) -> InferenceError:
    """Return the error for a message that is not as it should be."""
    return InferenceError(Code.INVALID_ARGUMENT, message)


def unpack(form: struct.Struct, message: bytes, at: int, what: str) -> tuple[int, ...]:
    """Return the numbers of a fixed part.

    Raises:
        InferenceError: INVALID_ARGUMENT: the message ends before them.
    """
    if at + form.size > len(message):
        raise invalid(f"{what}: expected {form.size} bytes from {at} on, the message has {len(message)}")
    return form.unpack_from(message, at)


def unused(*numbers: int) -> None:
    """Check that what is kept for later is zero.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    if any(numbers):
        raise invalid(f"expected zero in what is not used, came {max(numbers)}")


def read_head(message: bytes) -> Head:
    """Return the head.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    return Head(*unpack(HEAD, message, 0, "head"))


def hello(number: int = 0) -> bytes:
    """Return a client's first message."""
    return _HELLO.pack(Kind.HELLO, 0, number, MAGIC, VERSION, VERSION, 0)


def read_hello(message: bytes) -> int:
    """Return the version that both ends speak.

    Raises:
        InferenceError: INVALID_ARGUMENT: it is no hello. FAILED_PRECONDITION: there is no such version.
    """
    if len(message) != _HELLO.size:
        raise invalid(f"hello: expected {_HELLO.size} bytes, came {len(message)}")
    kind, flags, _, magic, lowest, highest, reserved = _HELLO.unpack(message)
    if kind != Kind.HELLO or magic != MAGIC:
        raise invalid(f"expected a hello with {MAGIC!r}, came kind {kind} with {magic!r}")
    unused(flags, reserved)
    if not lowest <= VERSION <= highest:
        raise InferenceError(Code.FAILED_PRECONDITION, f"hello: expected version {VERSION}, came {lowest} to {highest}")
    return VERSION


def welcome(number: int) -> bytes:
    """Return the reply to a hello."""
    limits = (VERSION, TENSORS_LIMIT, REQUEST_LIMIT_BYTES, SEGMENT_LIMIT_BYTES)
    return _WELCOME.pack(Kind.HELLO | REPLY, 0, number, MAGIC, *limits)


def read_welcome(message: bytes) -> Welcome:
    """Return what the agent says of itself.

    Raises:
        InferenceError: INVALID_ARGUMENT: it is no welcome.
    """
    if len(message) != _WELCOME.size or message[8:16] != MAGIC:
        raise invalid(f"expected a welcome, came {message[:16]!r}")
    return Welcome(*_WELCOME.unpack(message)[4:])


def segment(number: int) -> bytes:
    """Return the message that carries a segment's descriptor."""
    return HEAD.pack(Kind.SEGMENT, 0, number)


def segment_taken(number: int, size_bytes: int) -> bytes:
    """Return the reply to a segment."""
    return _SEGMENT_TAKEN.pack(Kind.SEGMENT | REPLY, 0, number, size_bytes)


def error(number: int, fault: AgentError, status: int, *, flags: int = 0) -> bytes:
    """Return the reply to a request that failed."""
    strings = [fault.code.value, type(fault).__name__, fault.message[:_ERROR_CHARACTERS]]
    word, kind, message = encoded(strings)
    sizes = (len(word), len(kind), len(message), 0)
    return _ERROR.pack(Kind.ERROR, flags, number, status, *sizes) + word + kind + message


def read_error(message: bytes) -> Fault:
    """Return what an error reply tells.

    Raises:
        InferenceError: INVALID_ARGUMENT: it is none.
    """
    _, _, _, status, word, kind, text, _ = unpack(_ERROR, message, 0, "error")
    strings = Strings(message, _ERROR.size)
    return Fault(status, strings.take(word, "word"), strings.take(kind, "class"), strings.take(text, "message"))


def encoded(strings: Sequence[str]) -> list[bytes]:
    """Return strings as messages carry them, whatever they hold."""
    return [string.encode("utf-8", "replace") for string in strings]
