"""A real browser on the page, driven over a pipe, to see what the page asks of whom.

Chromium's DevTools protocol on two inherited pipes needs no port and no package.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from scripts.demo_line.trouble import DemoError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-features=MediaRouter,DialMediaRouteProvider,OptimizationHints",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-pipe",
    "about:blank",
)
# Chromium speaks on descriptors 3 and 4; Popen can hand descriptors over, but not renumber them.
_RENUMBER = (
    "import os,sys; os.dup2(int(sys.argv[1]),3); os.dup2(int(sys.argv[2]),4); os.execv(sys.argv[3],sys.argv[3:])"
)
_PATIENCE_S = 30.0
_VISIBLE_S = 3.0
_INNER_SCHEMES = {"data", "blob", "about"}


class Seen(NamedTuple):
    """What the page did: everything it asked for, and what it showed as verdict."""

    requests: tuple[str, ...]
    verdict: str

    def off_host(self, page: str) -> list[str]:
        """Return the requests that went elsewhere than to the page's own address."""
        home = urlsplit(page).netloc
        asked = [urlsplit(url) for url in self.requests]
        return [url.geturl() for url in asked if url.scheme not in _INNER_SCHEMES and url.netloc != home]


def find() -> str | None:
    """Return a Chromium's path."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def look(chromium: str, page: str, paths: tuple[str, ...], profile: Path, watch: Callable[[int], None]) -> Seen:
    """Open each path of the page for some seconds.

    Args:
        chromium: the browser.
        page: the page's address.
        paths: under it; the verdict is read on the first.
        profile: an empty directory for the browser's files.
        watch: told the browser's process id while the page is open.

    Raises:
        DemoError: the browser did not start, or the page was not there.
    """
    with _running(chromium, profile) as (pipe, pid):
        target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
        pipe.session = pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        pipe.call("Network.enable")
        verdict = ""
        for path in paths:
            failed = pipe.call("Page.navigate", url=page + path).get("errorText")
            if failed:
                raise DemoError(f"{page}{path}: expected a page, came {failed}")
            pipe.listen(_VISIBLE_S)
            verdict = verdict or pipe.text_of('[data-testid="verdict"]')
        watch(pid)
        return Seen(tuple(pipe.requests), verdict)


@contextmanager
def _running(chromium: str, profile: Path) -> Iterator[tuple["_Pipe", int]]:
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()
    # Out of the way of 3 and 4.
    theirs = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (to_read, from_write)]
    command = [sys.executable, "-c", _RENUMBER, *map(str, theirs), chromium, *_FLAGS, f"--user-data-dir={profile}"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        process = subprocess.Popen(command, pass_fds=theirs, start_new_session=True, **quiet)  # type: ignore[call-overload]
    finally:
        for descriptor in (to_read, from_write, *theirs):
            os.close(descriptor)
    try:
        yield _Pipe(from_read, to_write), process.pid
    finally:
        # It ends by itself when nobody holds the other end.
        os.close(to_write)
        os.close(from_read)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Pipe:
    """The DevTools protocol: JSON messages, each ended by a NUL."""

    def __init__(self, source: int, sink: int) -> None:
        self.session = ""
        self.requests: list[str] = []
        self._source = source
        self._sink = sink
        self._buffer = b""
        self._count = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._sink, json.dumps(message).encode() + b"\0")
        limit = time.monotonic() + _PATIENCE_S
        while (answer := self._next(limit)) is not None:
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise DemoError(f"browser: {method}: {answer['error'].get('message')}")
                result: dict[str, Any] = answer.get("result", {})
                return result
        raise DemoError(f"browser: expected an answer to {method} within {_PATIENCE_S:.0f} s")

    def listen(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while self._next(limit) is not None:
            pass

    def text_of(self, selector: str) -> str:
        expression = f"(document.querySelector({json.dumps(selector)}) || {{}}).textContent || ''"
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return " ".join(str(result.get("result", {}).get("value", "")).split())

    def _next(self, limit: float) -> dict[str, Any] | None:
        while b"\0" not in self._buffer:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self._source], [], [], left)[0]:
                return None
            content = os.read(self._source, 1 << 16)
            if not content:
                raise DemoError("browser: expected it to run, it ended")
            self._buffer += content
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message
