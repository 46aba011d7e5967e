"""Cameras that a test can plug in, have stall and pull out: real servers, in processes of their own or on loopback."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edge_agent.config import Station
from edge_agent.errors import CameraError
from edge_agent.formats import RawPicture
from edge_agent.station.camera import Camera, Shot, open_camera
from edge_agent.station.shot import Content

PATIENCE_S = 60.0
_RTSP = Path(__file__).with_name("rtsp_camera.py")


class RtspCamera:
    """GStreamer's RTSP server with H.264 of 320 x 240; it keeps its port when it is plugged in again."""

    def __init__(self, *login: str) -> None:
        self._login = login
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.plug_in()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/line"

    def plug_in(self) -> None:
        command = ["/usr/bin/python3", str(_RTSP), str(self.port), *self._login]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def pull_out(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            assert self._process.stdout is not None
            self._process.stdout.close()
        self._process = None


@contextmanager
def rtsp_camera(*login: str) -> Iterator[RtspCamera]:
    camera = RtspCamera(*login)
    try:
        yield camera
    finally:
        camera.pull_out()


class GigEVisionCamera:
    """Aravis' fake camera on loopback: 512 x 512, Mono8."""

    def __init__(self, serial: str) -> None:
        self.identity = f"Aravis-Fake-{serial}"
        self._command = ["arv-fake-gv-camera-0.8", "-i", "127.0.0.1", "-s", serial]
        self._process: subprocess.Popen[bytes] | None = None
        self.plug_in()

    def plug_in(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def pull_out(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE_S)
        self._process = None


@contextmanager
def gige_vision_camera(serial: str) -> Iterator[GigEVisionCamera]:
    camera = GigEVisionCamera(serial)
    try:
        yield camera
    finally:
        camera.pull_out()


class WebCamera:
    """A web server whose answers a test writes: each connection is given to the next one of ``answers``.

    The last of them answers all that follow. ``over`` is set when the test is: an answer that stays open waits for it.
    """

    def __init__(self, *answers: Callable[[BaseHTTPRequestHandler], None], port: int = 0) -> None:
        self.over = threading.Event()
        self.asked = 0
        remaining = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:  # noqa: N805 - the library's name; self is the camera
                self.asked += 1
                answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                try:
                    answer(handler)
                except OSError:
                    handler.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Nothing: a test has its own words."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/mjpg"

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def web_camera(*answers: Callable[[BaseHTTPRequestHandler], None], port: int = 0) -> Iterator[WebCamera]:
    camera = WebCamera(*answers, port=port)
    try:
        yield camera
    finally:
        camera.close()


@contextmanager
def looking(source: str, **options: Any) -> Iterator[Camera]:
    """A camera as the station opens it, impatient: it may be silent for a second."""
    camera = open_camera("left", Station.model_validate({"source": source, "stall_s": 1.0, **options}))
    try:
        yield camera
    finally:
        camera.close()


def raw_of(content: Content) -> RawPicture:
    assert isinstance(content, RawPicture)
    assert len(content.rgb) == content.width * content.height * 3
    return content


def size_of(content: Content) -> tuple[int, int]:
    picture = raw_of(content)
    return picture.width, picture.height


def picture_of(camera: Camera) -> Shot:
    """Return the next picture, whatever stands in its way before."""
    deadline, fault = time.monotonic() + PATIENCE_S, "no picture came"
    while time.monotonic() < deadline:
        try:
            shot = camera.newest(0.5)
        except CameraError as exc:
            fault = exc.message
            # It is away: asked at once it would answer the same.
            time.sleep(0.05)
            continue
        if shot is not None:
            return shot
    raise AssertionError(fault)


def fault_of(camera: Camera, words: str = "") -> str:
    """Return what the camera says when it is away next, in these words: a busy machine may make it silent before."""
    deadline, fault = time.monotonic() + PATIENCE_S, ""
    while time.monotonic() < deadline:
        fault = _fault_next(camera) or fault
        if fault and words in fault:
            return fault
        time.sleep(0.01)
    raise AssertionError(fault or "the camera never told that it was away")


def _fault_next(camera: Camera) -> str:
    try:
        camera.newest(0.1)
    except CameraError as exc:
        return exc.message
    return ""
