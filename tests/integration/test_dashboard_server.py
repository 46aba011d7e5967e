"""The page's own server: streams that hold threads, browsers that leave, signals."""

import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typing_extensions import Self

from edge_agent.config import Dashboard, Settings
from edge_agent.dashboard import create_app
from edge_agent.dashboard.security import Address
from edge_agent.dashboard.server import open_server
from edge_agent.dashboard.stream import VIEWERS
from edge_agent.errors import ConfigError
from tests.e2e.browser import dashboard, process
from tests.fakes.agent_core import served
from tests.fakes.page_agent import PageAgent

PATIENCE_S = 60


class Viewer:
    """A browser's event stream, as bytes on a socket."""

    def __init__(self, address: str) -> None:
        place = urlsplit(address)
        self._connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=PATIENCE_S)
        self._connection.request("GET", "/events?lang=en")
        self.answer = self._connection.getresponse()

    def hears(self, event: str) -> dict[str, object]:
        """Wait for an event of this name."""
        while True:
            name = self.answer.readline().decode().strip()
            if name != f"event: {event}":
                assert not self.answer.closed, "the stream ended"
                continue
            view: dict[str, object] = json.loads(self.answer.readline().decode().removeprefix("data: "))
            return view

    def leave(self) -> None:
        self.answer.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def status_of(address: str, path: str) -> int:
    place = urlsplit(address)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path), dashboard(tmp_path) as started:
        yield started


def test_a_full_house_of_viewers_leaves_room_for_probes_and_pages(address: str) -> None:
    with ExitStack() as house:
        for _ in range(VIEWERS):
            house.enter_context(Viewer(address)).hears("now")
        with Viewer(address) as late:
            assert late.answer.status == 503
        assert [status_of(address, path) for path in ("/healthz", "/", "/models")] == [200] * 3


def test_a_viewer_that_leaves_frees_its_seat(address: str) -> None:
    seated = [Viewer(address) for _ in range(VIEWERS)]
    for viewer in seated:
        viewer.hears("now")
        viewer.leave()
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with Viewer(address) as next_one:
            if next_one.answer.status == 200:
                assert next_one.hears("now")["word"] == "WAITING"
                return
        # The server notices at its next beat, and there is nothing else to wait for.
        time.sleep(0.2)
    raise AssertionError("no seat was freed")


def test_viewers_hear_a_beat_when_nothing_happens(address: str) -> None:
    with Viewer(address) as viewer:
        assert viewer.hears("beat") == {}


def test_sigterm_sends_viewers_home_and_ends_with_zero(tmp_path: Path) -> None:
    launch = (
        "import sys; from pathlib import Path; from edge_agent import dashboard; "
        "from edge_agent.config import read_settings; "
        "sys.exit(dashboard.run(read_settings(None, {'dashboard': {'listen': '127.0.0.1:0'}}), Path(sys.argv[1])))"
    )
    with served(tmp_path), process(sys.executable, "-c", launch, str(tmp_path), until="page_served") as (page, line):
        viewer = Viewer(f"http://127.0.0.1:{json.loads(line)['port']}")
        viewer.hears("now")
        page.terminate()
        assert page.wait(PATIENCE_S) == 0
        viewer.leave()


def test_an_address_that_is_taken_is_a_configuration_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app = create_app(PageAgent(), Settings(dashboard=Dashboard()))
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            open_server(app, Address("127.0.0.1", port))
