"""``python -m scripts.benchlib.files DIRECTORY``: a directory over HTTP on loopback, in ranges, with ETags.

A process of its own, so that it takes nothing from whoever is measured. Prints its port.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        path = self.server.directory / self.path.lstrip("/")
        try:
            with path.open("rb") as reader:
                self._send(reader.fileno())
        except OSError:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, end = (int(asked[1]), min(size, int(asked[2]) + 1)) if asked else (0, size)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("ETag", f'"{size}"')
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        self.wfile.flush()
        while start < end:
            start += os.sendfile(self.connection.fileno(), descriptor, start, end - start)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.directory = directory


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory during the block and yield its URL."""
    command = [sys.executable, "-m", "scripts.benchlib.files", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


if __name__ == "__main__":
    with _Server(Path(sys.argv[1])) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
