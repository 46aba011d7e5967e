"""A mirror of a signed repository over HTTP that serves what an attacker wants, and keeps a log of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PIECE = bytes(1 << 16)
ENDLESS_BYTES = 256 << 20


class Mirror(ThreadingHTTPServer):
    """Objects of a directory, as they are or as the attack wants them.

    ``attacks`` counts what was really served of an attack, by path: the proof that it took place.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.genuine = directory
        self.directory = directory
        self.let_go = threading.Event()
        self.be_honest()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def be_honest(self) -> None:
        """Serve the genuine repository again, and forget the log."""
        self.directory = self.genuine
        self.forged: dict[str, bytes | None] = {}
        self.endless: set[str] = set()
        self.slow: dict[str, float] = {}
        self.attacks: dict[str, int] = {}
        self.asked: list[str] = []
        self.poured = 0

    def show(self, directory: Path) -> None:
        """Serve another directory: an old state, another's repository. What differs counts as an attack."""
        self.directory = directory

    def attacked(self, path: str) -> None:
        self.attacks[path] = self.attacks.get(path, 0) + 1

    def content(self, path: str) -> bytes | None:
        """Return what is served, None for a file that is not there."""
        if path in self.forged:
            self.attacked(path)
            return self.forged[path]
        content = _read(self.directory / path)
        if self.directory != self.genuine and _digest(content) != _digest(_read(self.genuine / path)):
            self.attacked(path)
        return content

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that gives up is what is tested."""


@contextmanager
def mirrored(directory: Path) -> Iterator[Mirror]:
    """Serve ``directory`` on loopback."""
    with Mirror(directory) as mirror:
        thread = threading.Thread(target=mirror.serve_forever, args=(0.02,), name="mirror")
        thread.start()
        try:
            yield mirror
        finally:
            mirror.let_go.set()
            mirror.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    server: Mirror

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.server.asked.append(path)
        if path in self.server.endless:
            self._pour(path)
            return
        content = self.server.content(path)
        if content is None:
            self._head(404, 0)
        elif path in self.server.slow:
            self._trickle(path, content)
        else:
            self._answer(content)

    def _answer(self, content: bytes) -> None:
        span = self.headers.get("Range")
        if not span:
            self._head(200, len(content), content)
            self._write(content)
            return
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1 if last else len(content), len(content))
        self._head(206, end - start, content, f"bytes {start}-{end - 1}/{len(content)}")
        self._write(content[start:end])

    def _pour(self, path: str) -> None:
        self.server.attacked(path)
        self.send_response(200)
        self.send_header("ETag", '"endless"')
        # Without a length the agent's client would not read a byte.
        self.send_header("Content-Length", str(ENDLESS_BYTES))
        self.end_headers()
        for _ in range(ENDLESS_BYTES // len(PIECE)):
            self.wfile.write(PIECE)
            self.wfile.flush()
            self.server.poured += len(PIECE)
        self.close_connection = True

    def _trickle(self, path: str, content: bytes) -> None:
        self.server.attacked(path)
        self._head(200, len(content), content)
        for byte in content:
            self._write(bytes([byte]))
            self.wfile.flush()
            if self.server.let_go.wait(self.server.slow[path]):
                break
        self.close_connection = True

    def _head(self, status: int, length: int, content: bytes = b"", content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{_digest(content)}"')
        self.send_header("Content-Length", str(length))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def _write(self, content: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _digest(content: bytes | None) -> str:
    return "" if content is None else sha256(content).hexdigest()
