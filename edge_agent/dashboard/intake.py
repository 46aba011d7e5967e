"""How much a request may send: decided by its head, before any of its body is taken.

waitress takes a whole body, in memory and beyond that in a file under /tmp, before the page
sees the request and can ask who sends it. So whoever reaches the port could make it hold
what ``max_request_body_size`` allows times the connections. Here only the one form that
is large, and only of somebody who may send it, gets more than a form's room, and few at a time.
"""

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error

# Twice a form of the page: its own answer to one that is too large comes first.
FORM_BYTES = 128 << 10
HEAD_BYTES = 32 << 10
# Pictures that are being sent at a time; a person tries one after the other.
UPLOADS = 3


class Uploads(NamedTuple):
    """What may be larger than a form.

    Attributes:
        path: where it is sent.
        limit_bytes: how large it may be.
        may: tells by the request's headers (``COOKIE``, ``HOST``) whether who sends it may.
    """

    path: str
    limit_bytes: int
    may: Callable[[Mapping[str, str]], bool]


class _ForbiddenError(Error):  # type: ignore[misc]  # waitress publishes no types
    code = 403
    reason = "Forbidden"


class _BusyError(Error):  # type: ignore[misc]
    code = 503
    reason = "Service Unavailable"


def channel_class(uploads: Uploads, at_once: int = UPLOADS) -> type:
    """Return the class of a server's connections.

    Args:
        uploads: what may be larger than a form.
        at_once: so many of them at a time; the next one hears 503.
    """
    seats = threading.BoundedSemaphore(at_once)

    class Request(_Request):
        def __init__(self, adj: Any) -> None:
            super().__init__(adj, uploads, seats)

    class Connection(HTTPChannel):  # type: ignore[misc]
        parser_class = Request

        def handle_close(self) -> None:
            # waitress itself closes those requests only that came whole.
            if self.request is not None:
                self.request.close()
            super().handle_close()

    return Connection


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """A request on its way in."""

    def __init__(self, adj: Any, uploads: Uploads, seats: threading.BoundedSemaphore) -> None:
        # Of its own: the bound that waitress looks at is that of this request.
        super().__init__(copy.copy(adj))
        self._uploads = uploads
        self._seats = seats
        self._seated = False
        self._refusal: Error | None = None
        self.adj.max_request_body_size = FORM_BYTES

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.path == self._uploads.path and (self.chunked or self.content_length >= FORM_BYTES):
            self._admit()

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self._refusal is not None:
            self.error, self.completed = self._refusal, True
        if self.error:
            # Else waitress would still ask for the body of a request that it has refused.
            self.expect_continue = False
        return consumed

    def close(self) -> None:
        super().close()
        if self._seated:
            self._seated = False
            self._seats.release()

    def _admit(self) -> None:
        if not self._uploads.may(self.headers):
            self._refusal = _ForbiddenError("expected a login that may send this")
            return
        self.adj.max_request_body_size = self._uploads.limit_bytes
        if self.content_length >= self._uploads.limit_bytes:
            return
        self._seated = self._seats.acquire(blocking=False)
        if not self._seated:
            self._refusal = _BusyError("too many pictures are being sent, try again")
