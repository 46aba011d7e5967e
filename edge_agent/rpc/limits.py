"""What a server puts up with: sizes, connections, streams, pings, and callers that are slow to say what they want."""

import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc

from edge_agent.errors import Code, InferenceError
from edge_agent.telemetry.threads import Watched

MESSAGE_BYTES = 64 << 20


class Limits(NamedTuple):
    """The limits of one server; the number of calls at a time is that of its threads."""

    message_bytes: int = MESSAGE_BYTES
    streams: int = 256
    """Open calls of one connection; a client's further ones wait on its side."""
    connections: int = 256
    """Open connections of one listener; a further one is closed at once."""
    handshake_s: float = 10.0
    """A connection that has not said HTTP/2 (and TLS) by then is closed."""
    receive_s: float = 10.0
    """A call whose request has not arrived by then is cancelled: it holds a thread meanwhile."""
    keepalive_s: float = 60.0
    """A silent connection is asked for a sign of life that often; a machine that went away is noticed."""
    keepalive_timeout_s: float = 20.0
    ping_interval_s: float = 10.0
    """A client that asks for signs of life much more often is cut off."""

    def options(self) -> tuple[tuple[str, int], ...]:
        """Return what gRPC is told of it."""
        return (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self.message_bytes),
            ("grpc.max_send_message_length", self.message_bytes),
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.server_handshake_timeout_ms", _ms(self.handshake_s)),
            ("grpc.keepalive_time_ms", _ms(self.keepalive_s)),
            ("grpc.keepalive_timeout_ms", _ms(self.keepalive_timeout_s)),
            # Without these two it is a minute, whatever the one above says.
            ("grpc.http2.ping_timeout_ms", _ms(self.keepalive_timeout_s)),
            ("grpc.http2.settings_timeout", _ms(self.keepalive_timeout_s)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", _ms(self.ping_interval_s)),
        )


class Receiver:
    """Waits for the one request of a call, and cancels calls that keep it waiting.

    gRPC gives a call a thread before its request is there; a caller that sends it byte by byte, or never,
    would hold that thread for as long as it likes.

    Args:
        limit_s: how long a request may take to arrive.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waiting: dict[int, tuple[float, grpc.ServicerContext]] = {}
        self._thread = Watched("rpc-receiver", self._cut_off)

    def start(self) -> None:
        """Cancel slow calls from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._thread.stop()

    def receive(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Return the request.

        Raises:
            InferenceError: UNIMPLEMENTED: the caller sent none.
            grpc.RpcError: the call was cancelled, here or by its caller.
        """
        # A thread waits for one request at a time. To set and to delete a key needs no lock.
        key = threading.get_ident()
        self._waiting[key] = (time.monotonic() + self._limit_s, context)
        try:
            return next(requests)
        except StopIteration:
            raise InferenceError(Code.INVALID_ARGUMENT, "expected one request message, came none") from None
        finally:
            del self._waiting[key]

    def _cut_off(self, thread: Watched) -> None:
        while not thread.wait(min(1.0, self._limit_s / 4)):
            now = time.monotonic()
            for deadline, context in list(self._waiting.values()):
                if now >= deadline:
                    context.cancel()  # type: ignore[no-untyped-call]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
