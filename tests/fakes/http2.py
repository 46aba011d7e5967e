"""An HTTP/2 client that behaves as badly as a test wants: frames as bytes, nothing done by itself."""

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.fakes.closable import Closable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW, MAX_STREAMS = 4, 3
CANCEL, REFUSED_STREAM, ENHANCE_YOUR_CALM = 8, 7, 11


class Frame(NamedTuple):
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    content: bytes


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def call_headers(method: str, more: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the header block of a gRPC call, without compression."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def message(content: bytes) -> bytes:
    """Return a gRPC message with its prefix."""
    return b"\x00" + struct.pack(">I", len(content)) + content


class Http2(Closable):
    """One connection.

    Args:
        port: on loopback.
        settings: pairs of identifier and value to begin with.
        patience_s: how long to wait for a frame.
    """

    def __init__(self, port: int, settings: Sequence[tuple[int, int]] = (), *, patience_s: float = 60.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), patience_s)
        self._next = 1
        self._received = b""
        self.send(PREFACE, frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in settings)))

    def send(self, *frames: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(b"".join(frames))

    def open(self, method: str, *, more: Sequence[tuple[str, str]] = ()) -> int:
        """Begin a call and return its stream."""
        stream, self._next = self._next, self._next + 2
        self.send(frame(HEADERS, END_HEADERS, stream, call_headers(method, more)))
        return stream

    def call(self, method: str, content: bytes) -> int:
        """Send a whole call and return its stream; the answer is the caller's business."""
        stream = self.open(method)
        self.send(frame(DATA, END_STREAM, stream, message(content)))
        return stream

    def frames(self) -> Iterator[Frame]:
        """Yield what comes until the server closes the connection."""
        while True:
            head = self._take(9)
            if len(head) < 9:
                return
            size = int.from_bytes(head[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            yield Frame(kind, flags, stream, self._take(size))

    def close(self) -> None:
        """Close it without a word."""
        self.socket.close()

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            try:
                part = self.socket.recv(1 << 16)
            except ConnectionResetError:
                part = b""
            if not part:
                return b""
            self._received += part
        taken, self._received = self._received[:size], self._received[size:]
        return taken


def _text(text: str) -> bytes:
    """Return a string as HPACK writes it: its length in 7 bits and more, then its characters."""
    content = text.encode()
    if len(content) < 127:
        return bytes([len(content)]) + content
    rest, more = len(content) - 127, bytearray([127])
    while rest >= 128:
        more.append(rest % 128 + 128)
        rest //= 128
    more.append(rest)
    return bytes(more) + content
