"""``python -m scripts.benchlib.viewers ADDRESS COUNT``: whoever else looks at the page, without a browser.

Each holds ``/events`` open and fetches every picture that an event names, newest first, as the page's script does:
what comes while it fetches is skipped. A process of its own, so that it takes nothing from whoever measures. It
prints a line once all hear something, then for each line on stdin how many pictures each fetched.
"""

import http.client
import json
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

_ROOT = Path(__file__).resolve().parents[2]
# Pictures of the line, wherever in an event they are named.
_PICTURE = re.compile(r'"(/frames/[^"]+)"')
_TIMEOUT_S = 60.0
_RETRY_S = 0.5


class Viewer:
    """One viewer: a thread that listens, and one that fetches.

    Args:
        address: of the page.
    """

    def __init__(self, address: str) -> None:
        self._host = urlsplit(address).netloc
        self._named: queue.Queue[list[str]] = queue.Queue(1)
        self.heard = threading.Event()
        self.fetched = 0
        for work in (self._listen, self._fetch):
            threading.Thread(target=work, daemon=True).start()

    def _listen(self) -> None:
        while not self._listen_once():
            time.sleep(_RETRY_S)

    def _listen_once(self) -> bool:
        """Listen to the end of the stream; return whether there was a seat."""
        connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_S)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        if answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE:  # whoever left just now still has it
            connection.close()
            return False
        if answer.status != http.HTTPStatus.OK:
            raise ConnectionError(f"/events: expected 200, came {answer.status}")
        while line := answer.readline():
            self.heard.set()
            named = _PICTURE.findall(line.decode())
            if named:
                self._put(named)
        return True

    def _put(self, named: list[str]) -> None:
        """Keep the newest only."""
        try:
            self._named.put_nowait(named)
        except queue.Full:
            with suppress(queue.Empty):  # it was taken just now
                self._named.get_nowait()
            self._named.put_nowait(named)

    def _fetch(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_S)
        seen: list[str] = []
        while True:
            named = self._named.get()
            for path in named:
                if path in seen:  # a browser has it
                    continue
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                # One that a fast line has pushed out already is gone, and nobody's fault.
                self.fetched += answer.status == http.HTTPStatus.OK
            seen = named


@contextmanager
def viewers(address: str, count: int, *, nice: int = 0) -> Iterator[Callable[[], list[int]]]:
    """Let so many look at the page during the block; yield what tells how many pictures each fetched so far.

    Args:
        address: of the page.
        count: how many.
        nice: their niceness.

    Raises:
        AssertionError: one of them was not let in.
    """
    command = ["nice", "-n", str(nice), sys.executable, "-m", "scripts.benchlib.viewers", address, str(count)]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        to, told = process.stdin, process.stdout
        assert to is not None
        assert told is not None

        def fetched() -> list[int]:
            to.write("\n")
            to.flush()
            return [int(number) for number in json.loads(told.readline())]

        try:
            if told.readline().strip() != "all hear":
                raise AssertionError(f"expected {count} viewers, not all were let in")
            yield fetched
        finally:
            process.communicate()


def main(address: str, count: int) -> int:
    """View until stdin ends."""
    everyone = [Viewer(address) for _ in range(count)]
    if not all(viewer.heard.wait(_TIMEOUT_S) for viewer in everyone):
        return 1
    print("all hear", flush=True)
    for _ in sys.stdin:
        print(json.dumps([viewer.fetched for viewer in everyone]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
