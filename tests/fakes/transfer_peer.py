"""An HTTP repository on loopback that misbehaves as told, one request at a time.

``misbehave(…)`` queues faults; each GET takes the next one, and when none is left
the peer is honest. What was asked is kept in ``requests``.
"""

import re
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_ENDLESS_BYTES = 1 << 16


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    start: int | None
    end: int | None  # exclusive
    if_match: str | None
    authorization: str | None


class Fault(NamedTuple):
    """How one GET is answered wrongly; the default is honest."""

    status: int | None = None  # this status and a short text
    text: bytes = b"<Error>told to fail</Error>"  # … which is this
    redirect: str | None = None  # 302 to there
    endless: bool = False  # the body never ends
    whole: bool = False  # 200 and everything for a range
    shift: int = 0  # Content-Range tells another start
    total: int | None = None  # Content-Range tells another size
    no_range: bool = False  # 206 without Content-Range
    cut: int | None = None  # the connection ends after so many bytes of the body
    stall: int | None = None  # … or stays silent after them
    trickle_s: float = 0.0  # pause between the body's pieces
    piece: int = 1  # bytes of a piece that trickles
    surplus: bytes = b""  # more bytes than were asked for, and Content-Length says so
    flip: bool = False  # the body's first byte is another
    refuse: bool = False  # the connection ends without an answer


HONEST = Fault()


class TransferPeer(ThreadingHTTPServer):
    """Objects by path, with ETags."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tls = tls
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.requests: list[Asked] = []
        self.always: Fault | None = None
        self.stalled = threading.Event()
        self.let_go = threading.Event()
        self.accepted_key: str | None = None
        self.refused = threading.Event()
        self.endless_bytes = 0
        self._faults: deque[Fault] = deque()
        self._faults_at: defaultdict[str, deque[Fault]] = defaultdict(deque)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; a TLS one shakes hands on its own thread, at its first read."""
        connection, address = super().get_request()
        if self.tls is None:
            return connection, address
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def fetched(self, path: str) -> list[tuple[int, int]]:
        """Return the ranges of one object that were asked for."""
        return [(asked.start or 0, asked.end or 0) for asked in tuple(self.requests) if asked.path == path]

    def offer(self, path: str, content: bytes, etag: str = '"1"') -> None:
        self.objects[path] = content
        self.etags[path] = etag

    def offer_directory(self, directory: Path) -> None:
        """Offer every file below a directory by its relative path."""
        for file in sorted(path for path in directory.rglob("*") if path.is_file()):
            content = file.read_bytes()
            self.offer(f"/{file.relative_to(directory).as_posix()}", content, f'"{hash(content):x}"')

    def misbehave(self, *faults: Fault) -> None:
        self._faults.extend(faults)

    def misbehave_at(self, path: str, *faults: Fault) -> None:
        """Queue faults for one object only."""
        self._faults_at[path].extend(faults)

    def next_fault(self, path: str) -> Fault:
        if self.always is not None:
            return self.always
        if self._faults_at[path]:
            return self._faults_at[path].popleft()
        return self._faults.popleft() if self._faults else HONEST

    @property
    def faults_left(self) -> int:
        return len(self._faults) + sum(map(len, self._faults_at.values()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what many tests are about."""


@contextmanager
def transfer_peer(tls: ssl.SSLContext | None = None) -> Iterator[TransferPeer]:
    with TransferPeer(tls) as peer:
        thread = threading.Thread(target=peer.serve_forever, args=(0.05,), name="transfer-peer")
        thread.start()
        try:
            yield peer
        finally:
            peer.let_go.set()
            peer.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TransferPeer
    wbufsize = -1  # buffered: head and body leave together

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._note()
        content = self.server.objects.get(self.path)
        self._answer(404 if content is None else 200, content or b"", etag=self.server.etags.get(self.path))

    def do_GET(self) -> None:
        asked, fault = self._note(), self.server.next_fault(self.path)
        content = self.server.objects.get(self.path)
        if fault.refuse:
            self.close_connection = True
        elif fault.status is not None:
            self._answer(fault.status, fault.text)
        elif fault.redirect is not None:
            self._redirect(fault.redirect)
        elif fault.endless:
            self._endless(asked, content or b"")
        elif not self._may(asked):
            self._answer(403, b"<Error>another key</Error>")
            self.server.refused.set()
        elif content is None:
            self._answer(404, b"not here")
        elif asked.if_match not in (None, self.server.etags[self.path]):
            self._answer(412, b"changed")
        else:
            self._content(asked, fault, content)

    def _redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _endless(self, asked: Asked, content: bytes) -> None:
        whole = asked.start is None or asked.end is None
        self.send_response(200 if whole else 206)
        self.send_header("ETag", self.server.etags.get(self.path, '"1"'))
        if asked.start is not None and asked.end is not None:
            self.send_header("Content-Range", f"bytes {asked.start}-{asked.end - 1}/{len(content)}")
        self.send_header("Content-Length", str(1 << 40))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self.wfile.write(content if whole else content[asked.start : asked.end])
        while not self.server.let_go.is_set():
            self.server.endless_bytes += _ENDLESS_BYTES
            self.wfile.write(bytes(_ENDLESS_BYTES))

    def _note(self) -> Asked:
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, end = (int(match[1]), int(match[2]) + 1) if match else (None, None)
        asked = Asked(
            self.command, self.path, start, end, self.headers.get("If-Match"), self.headers.get("Authorization")
        )
        self.server.requests.append(asked)
        return asked

    def _may(self, asked: Asked) -> bool:
        key = self.server.accepted_key
        return key is None or f"Credential={key}/" in (asked.authorization or "")

    def _content(self, asked: Asked, fault: Fault, content: bytes) -> None:
        etag = self.server.etags[self.path]
        if asked.start is None or asked.end is None or fault.whole:
            self._answer(200, content, etag=etag, fault=fault)
        elif asked.start >= len(content):
            self._answer(416, b"beyond the end")
        else:
            body = content[asked.start : asked.end]
            first, total = asked.start + fault.shift, len(content) if fault.total is None else fault.total
            told = None if fault.no_range else f"bytes {first}-{first + len(body) - 1}/{total}"
            self._answer(206, body + fault.surplus, etag=etag, content_range=told, fault=fault)

    def _answer(
        self, status: int, body: bytes, *, etag: str | None = None, content_range: str | None = None,
        fault: Fault = HONEST,
    ) -> None:  # fmt: skip
        self.send_response(status)
        if etag is not None:
            self.send_header("ETag", etag)
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self._body(bytes([body[0] ^ 1]) + body[1:] if fault.flip else body, fault)

    def _body(self, body: bytes, fault: Fault) -> None:
        if fault.trickle_s:
            for start in range(0, len(body), fault.piece):
                self.wfile.write(body[start : start + fault.piece])
                self.wfile.flush()
                if self.server.let_go.wait(fault.trickle_s):
                    break
            self.close_connection = True
            return
        end = fault.cut if fault.cut is not None else fault.stall
        self.wfile.write(body if end is None else body[:end])
        self.wfile.flush()
        if fault.stall is not None:
            self.server.stalled.set()
            self.server.let_go.wait(60)
        if end is not None:
            self.close_connection = True
