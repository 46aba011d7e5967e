"""A real S3 emulator for tests: its own process, on loopback, without the MQTT listener."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

START_TIMEOUT_S = 60.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def local_s3(directory: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the endpoint's URL and the process."""
    with socket.socket() as place:
        # Held until the end: else somebody else could be given the port before the emulator takes it.
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))
        with _emulator(directory, place.getsockname()[1]) as process:
            yield f"http://127.0.0.1:{place.getsockname()[1]}", process


@contextmanager
def _emulator(directory: Path, port: int) -> Iterator[psutil.Process]:
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "TMPDIR": str(directory),
        "HOME": str(directory),
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], cwd=directory, env=environment, stdout=log, stderr=log
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", process, directory / "log")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def request(method: str, url: str, content: bytes | None = None) -> bytes:
    """Ask the emulator without a signature, which it does not check."""
    with _OPENER.open(urllib.request.Request(url, content, method=method), timeout=30) as answer:
        return bytes(answer.read())


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if process.poll() is not None:
            raise AssertionError(f"the emulator ended: {log.read_text()[-2000:]}")
        try:
            request("GET", f"{url}/_ministack/health")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
