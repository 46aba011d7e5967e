"""MJPEG over HTTP against a real web server that does what cameras do, and what they should not."""

import base64
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from edge_agent.station.http import HttpStream
from edge_agent.station.multipart import LIMIT_PART_BYTES
from edge_agent.station.pace import BEHIND_S
from tests.fakes.cameras import PATIENCE_S, fault_of, looking, picture_of, web_camera

Answer = Callable[[BaseHTTPRequestHandler], None]


def begin(handler: BaseHTTPRequestHandler, boundary: str = "frame") -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
    handler.end_headers()


def part(content: bytes, *, with_length: bool = True) -> bytes:
    length = b"Content-Length: %d\r\n" % len(content) if with_length else b""
    return b"--frame\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + content + b"\r\n"


def sends(*pieces: bytes, ends: bool = False) -> Answer:
    """Send this, and then nothing more; or end the answer."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        for piece in pieces:
            handler.wfile.write(piece)
        handler.wfile.flush()
        if not ends:
            # The client closes it, sooner or later.
            handler.rfile.read()

    return answer


def jpeg(text: str) -> bytes:
    return b"\xff\xd8" + text.encode() + b"\xff\xd9"


def test_parts_of_a_web_camera_are_passed_on_as_they_came() -> None:
    with web_camera(sends(part(jpeg("1")))) as web, looking(web.url) as camera:
        assert picture_of(camera).content == jpeg("1")


def test_a_part_without_a_length_ends_at_the_next_boundary() -> None:
    pieces = part(jpeg("1"), with_length=False) + b"--frame\r\n"
    with web_camera(sends(pieces)) as web, looking(web.url) as camera:
        assert picture_of(camera).content == jpeg("1")


def test_a_web_camera_that_stalls_is_asked_again_and_its_old_picture_is_not_shown() -> None:
    with web_camera(sends(part(jpeg("old"))), sends(part(jpeg("new")))) as web, looking(web.url) as camera:
        assert picture_of(camera).content == jpeg("old")
        fault_of(camera, "expected a picture within 1 s")
        assert picture_of(camera).content == jpeg("new")
        # A busy machine may come to look only when the new one has stalled too.
        assert web.asked >= 2


@pytest.mark.parametrize("with_length", [True, False])
def test_of_pictures_that_waited_while_the_network_paused_the_last_is_taken(with_length: bool) -> None:
    seen = threading.Event()

    def pauses(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        handler.wfile.write(part(jpeg("0")) + b"--frame\r\n")
        seen.wait(PATIENCE_S)
        # What is tried is a pause, so there is one.
        time.sleep(2 * BEHIND_S)
        waited = b"".join(part(jpeg(str(number)), with_length=with_length) for number in range(1, 6))
        handler.wfile.write(waited.removeprefix(b"--frame\r\n") + b"--frame\r\n")
        handler.rfile.read()

    with web_camera(pauses) as web, looking(web.url, stall_s=30.0) as camera:
        assert picture_of(camera).content == jpeg("0")
        seen.set()
        assert picture_of(camera).content == jpeg("5")


def test_a_web_picture_may_have_been_on_its_way_since_the_one_before_and_as_long_as_a_pause_goes_unnoticed() -> None:
    now = [100.0]
    with web_camera(sends(part(b"1"), part(b"2"))) as camera:
        stream = HttpStream(camera.url, PATIENCE_S, clock=lambda: now[0])
        stream.read()
        assert stream.held_up_s == BEHIND_S
        now[0] += 0.25
        stream.read()
        assert stream.held_up_s == BEHIND_S + 0.25
        stream.close()


def test_a_web_camera_that_drips_is_too_slow() -> None:
    def drips(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        handler.wfile.write(b"--frame\r\nContent-Length: 100000\r\n\r\n")
        while not web.over.wait(0.05):
            handler.wfile.write(b"x")

    with web_camera(drips) as web, looking(web.url) as camera:
        fault_of(camera, "expected a whole picture within 1 s, it comes too slowly")


def test_a_part_without_an_end_is_bounded() -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        handler.wfile.write(b"--frame\r\n\r\n")
        for _ in range(LIMIT_PART_BYTES // (1 << 20) + 8):
            handler.wfile.write(b"x" * (1 << 20))

    with web_camera(endless) as web, looking(web.url, stall_s=30.0) as camera:
        fault_of(camera, f"expected a boundary after the picture within {LIMIT_PART_BYTES} bytes")


def page(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    handler.wfile.write(b"<h1>Welcome</h1>")


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "file:///etc/passwd")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def challenges(challenge: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def ends_where_it_said(handler: BaseHTTPRequestHandler) -> None:
    # Both parts come at once after a pause, and are all of the answer.
    parts = part(jpeg("1")) + part(jpeg("2"))
    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.send_header("Content-Length", str(len(parts)))
    handler.end_headers()
    time.sleep(1.5 * BEHIND_S)
    handler.wfile.write(parts)


def gibberish(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(os.urandom(4096))


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (page, "expected Content-Type multipart/x-mixed-replace with a boundary, came text/html"),
        (redirect, "expected pictures, came HTTP status 302"),
        (gibberish, "expected an answer, BadStatusLine"),
        (challenges("Digest realm="), "expected an answer, IndexError"),
        (challenges("Negotiate"), "expected an answer, ValueError"),
        (challenges('Basic realm="cam"'), "expected pictures, came HTTP status 401"),
        (ends_where_it_said, "expected more pictures, the camera ended its answer"),
        (sends(b"\r\n" * 40_000, ends=True), "expected a boundary within 65536 bytes, came none"),
        (sends(b"--frame\r\nContent-Length: 99999999999\r\n\r\n"), "expected a Content-Length of at most"),
        (sends(ends=True), "expected more pictures, the camera ended its answer"),
    ],
)
def test_a_web_server_that_sends_something_else_is_told_so(answer: Answer, fault: str) -> None:
    with web_camera(answer) as web, looking(web.url) as camera:
        fault_of(camera, fault)


def test_a_web_camera_that_is_away_is_taken_up_when_it_comes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    with looking(f"http://127.0.0.1:{port}/mjpg") as camera:
        fault_of(camera, "expected an answer, [Errno 111]")
        with web_camera(sends(part(jpeg("1"))), port=port):
            assert picture_of(camera).content == jpeg("1")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def basic(authorization: str) -> bool:
    return authorization == "Basic " + base64.b64encode(b"bob:s3cret").decode()


def digest(authorization: str) -> bool:
    if not authorization.startswith("Digest "):
        return False
    told = dict(pair.strip().split("=", 1) for pair in authorization.removeprefix("Digest ").split(","))
    told = {key: value.strip('"') for key, value in told.items()}
    between = ":".join(("n0nce", told["nc"], told["cnonce"], "auth"))
    return told["response"] == _md5(f"{_md5('bob:cam:s3cret')}:{between}:{_md5('GET:/mjpg')}")


@pytest.mark.parametrize(
    ("challenge", "is_right"),
    [('Basic realm="cam"', basic), ('Digest realm="cam", nonce="n0nce", qop="auth", algorithm=MD5', digest)],
)
def test_a_web_camera_takes_a_login_and_no_message_holds_it(challenge: str, is_right: Callable[[str], bool]) -> None:
    def guarded(handler: BaseHTTPRequestHandler) -> None:
        if is_right(handler.headers.get("Authorization", "")):
            sends(part(jpeg("1")))(handler)
            return
        challenges(challenge)(handler)

    with web_camera(guarded) as web:
        with looking(web.url.replace("//", "//bob:s3cret@")) as camera:
            assert picture_of(camera).content == jpeg("1")
        with looking(web.url.replace("//", "//bob:wr0ng@")) as camera:
            fault = fault_of(camera, "401")
        assert fault.startswith(f"http://…@127.0.0.1:{web.port}/mjpg: expected ")
        assert "wr0ng" not in fault
