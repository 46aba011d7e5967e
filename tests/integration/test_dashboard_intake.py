"""What the page's server takes of a request before anybody is asked whether it may: on a real socket."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typing_extensions import Self

from edge_agent.dashboard.intake import FORM_BYTES, UPLOADS
from edge_agent.dashboard.login import Gate
from edge_agent.dashboard.users import Users
from tests.fakes.cheap_users import users_file
from tests.fakes.page_agent import PageAgent
from tests.fakes.page_line import page_beside

PATIENCE_S = 45
MEGABYTES = 1 << 20


class Sender:
    """A client that tells what it will send, and looks whether it is wanted."""

    def __init__(self, address: str, head: dict[str, str], path: str = "/try") -> None:
        place = urlsplit(address)
        self._socket = socket.create_connection((str(place.hostname), place.port), timeout=PATIENCE_S)
        lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "127.0.0.1", **head}.items())
        self._socket.sendall(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode())

    def hears(self) -> str:
        """Return the status of the answer."""
        return self._socket.recv(4096).split(b"\r\n")[0].decode().removeprefix("HTTP/1.1 ")

    def hears_no_more(self) -> None:
        """Wait until the page has hung up."""
        while self._socket.recv(4096):
            pass

    def sends(self, content: bytes) -> None:
        self._socket.sendall(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return users_file(tmp_path_factory.mktemp("page") / "users.json")


@pytest.fixture(scope="module")
def guarded(users: Path) -> Iterator[str]:
    with page_beside(PageAgent(), users=users, transport="plain", listen="127.0.0.1:0") as address:
        yield address


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    with page_beside(PageAgent()) as address:
        yield address


def test_a_strangers_picture_is_refused_by_its_head_alone(guarded: str) -> None:
    with Sender(guarded, {"Content-Length": str(15 * MEGABYTES)}) as sender:
        assert sender.hears() == "403 Forbidden"


def test_a_stranger_who_asks_first_is_not_told_to_go_on(guarded: str) -> None:
    with Sender(guarded, {"Content-Length": str(15 * MEGABYTES), "Expect": "100-continue"}) as sender:
        assert sender.hears() == "403 Forbidden"


def test_a_stranger_who_does_not_tell_how_much_comes_is_refused_as_well(guarded: str) -> None:
    with Sender(guarded, {"Transfer-Encoding": "chunked"}) as sender:
        assert sender.hears() == "403 Forbidden"


@pytest.mark.parametrize("path", ["/login", "/captures/1/label", "/try/", "/"])
def test_nothing_but_the_form_for_pictures_is_ever_large(local: str, path: str) -> None:
    with Sender(local, {"Content-Length": str(1 * MEGABYTES)}, path) as sender:
        assert sender.hears() == "413 Request Entity Too Large"


def test_a_form_that_comes_in_pieces_is_cut_off_once_it_is_too_large(local: str) -> None:
    with Sender(local, {"Transfer-Encoding": "chunked"}, "/login") as sender:
        announced = b"%x\r\n" % (1 * MEGABYTES)
        # Not a byte more than the page reads: what it leaves unread would reset the connection, the answer with it.
        sender.sends(announced + b"x" * (FORM_BYTES - len(announced)))
        assert sender.hears() == "413 Request Entity Too Large"


def test_another_site_that_a_browser_shows_cannot_make_the_page_take_a_picture(local: str) -> None:
    for head in ({"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        with Sender(local, {"Content-Length": str(1 * MEGABYTES), **head}) as sender:
            assert sender.hears() == "403 Forbidden"


def test_few_pictures_come_at_a_time_and_one_that_leaves_makes_room(local: str) -> None:
    head = {"Content-Length": str(15 * MEGABYTES), "Expect": "100-continue"}
    senders = [Sender(local, head) for _ in range(UPLOADS)]
    assert {sender.hears() for sender in senders} == {"100 Continue"}
    with Sender(local, head) as late:
        assert late.hears() == "503 Service Unavailable"
    for sender in senders:
        sender.sends(b"half of it")
        with sender:
            pass
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with Sender(local, head) as next_one:
            if next_one.hears() == "100 Continue":
                return
    raise AssertionError("no seat was freed")


def test_a_picture_that_came_whole_gives_its_seat_back(local: str) -> None:
    for _ in range(2 * UPLOADS):
        with Sender(local, {"Content-Length": str(1 * MEGABYTES), "Connection": "close"}) as sender:
            sender.sends(b"x" * MEGABYTES)
            assert sender.hears() == "403 FORBIDDEN", "it is no form of the page's own"
            sender.hears_no_more()


def test_who_may_try_pictures_is_known_by_the_session_in_the_head(users: Path) -> None:
    gate = Gate(Users(users), open_reads=True, secure=False)
    known = [user for user in map(gate.users.find, ("vera", "otto", "ada")) if user]
    tokens = [*map(gate.sessions.begin, known), "guessed", ""]
    told = [gate.may("operator", f"theme=dark; edge-agent-session={token}") for token in tokens]
    assert told == [False, True, True, False, False]
