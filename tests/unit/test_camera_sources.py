"""Sources as they are written, pictures out of multipart answers, and what is of now: all of it pure."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from edge_agent.config import Station
from edge_agent.errors import CameraError, Code, ConfigError
from edge_agent.station import genicam
from edge_agent.station.aravis import Grabbed
from edge_agent.station.camera import kind_of, open_camera
from edge_agent.station.genicam import as_rgb
from edge_agent.station.multipart import PartReader, boundary_of
from edge_agent.station.pace import Pace
from edge_agent.station.source import Login, shown, without_login

BOUNDARY = b"--frame"
TRIGGERED = {"mode": "trigger", "modbus": {"listen": "127.0.0.1:0"}}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("rtsp://bob:secret@cam:554/line", "rtsp://…@cam:554/line"),
        ("rtsp://bob:se/cr@et@cam/line", "rtsp://…@cam/line"),
        ("http://cam/mjpg?user=bob&pwd=secret", "http://cam/mjpg?…"),
        ("http://bob:sec?ret@cam/mjpg", "http://…@cam/mjpg"),
        ("rtsp://bob:my secret@cam/line", "rtsp://…@cam/line"),
        ("rtsp:/bob:secret@cam/line", "rtsp:/…@cam/line"),
        ("rtsp:bob:secret@cam/line", "rtsp:…@cam/line"),
        ("rstp:bob:secret@cam/line?key=secret", "rstp:…@cam/line?…"),
        ("bob:secret@cam/line", "bob:…@cam/line"),
        ("/dev/video0", "/dev/video0"),
        ("v4l2:/dev/video0", "v4l2:/dev/video0"),
        ("directory:/srv/a@b", "directory:/srv/a@b"),
    ],
)
def test_a_source_is_told_without_what_only_its_owner_may_know(source: str, told: str) -> None:
    assert shown(source) == told


def test_a_login_is_taken_out_of_a_url_and_decoded() -> None:
    assert without_login("http://bob:p%40ss@cam:81/x?y=1") == ("http://cam:81/x?y=1", Login("bob", "p@ss"))
    assert without_login("http://cam/x") == ("http://cam/x", None)
    with pytest.raises(ValueError, match="host"):
        without_login("http:///x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "http://cam/x", "roi": (0, 0, 8, 8)}, r"station\.left\.roi: expected with file, .* came with http"),
        ({"source": "rtsp://cam/x", "gain": 3.0}, r"left\.gain: expected with genicam only, came with rtsp"),
        ({"source": "v4l2:/dev/video0", "exposure_us": 9}, r"left\.exposure_us: expected with genicam only"),
        ({"source": "directory:/x", "trigger": "software"}, r"left\.trigger: expected with genicam only"),
        ({"source": "genicam:x", "latency_s": 0.1}, r"left\.latency_s: expected with rtsp, rtsps, http, https only"),
        (
            {**TRIGGERED, "source": "rtsp://cam/x", "deadline_s": 0.5},
            r"station\.left\.deadline_s: expected more than latency_s \(0\.5\), .* came 0\.5",
        ),
        ({"source": "genicam:x", "loop": False}, r"left\.loop: expected with directory, file only"),
    ],
)
def test_a_setting_that_a_camera_would_not_take_is_a_configuration_error(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_camera("left", Station.model_validate(options))


@pytest.mark.parametrize("roi", [(-1, 0, 8, 8), (0, 0, 0, 8), (0, 0, 8, 70_000)])
def test_a_region_is_a_part_of_a_picture(roi: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected \[x, y, width, height\]"):
        Station(source="genicam:x", roi=roi)


def test_kinds_are_told_by_their_plain_names() -> None:
    sources = ("directory:/x", "rtsps://cam/1", "https://cam/1", "genicam:x")
    assert [kind_of(Station(source=source)) for source in sources] == ["directory", "rtsp", "http", "genicam"]


def parts(content: bytes, step: int = 7, limit_bytes: int = 1000) -> PartReader:
    chunks: Iterator[bytes] = (content[at : at + step] for at in range(0, len(content), step))

    def more() -> bytes:
        chunk = next(chunks, b"")
        if not chunk:
            raise CameraError(Code.CAMERA_FAILED, "ended")
        return chunk

    return PartReader(BOUNDARY, more, limit_bytes)


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_parts_come_out_as_they_were_sent_with_and_without_a_length(step: int) -> None:
    first, second = b"\xff\xd8 one \r\n--fram \xff\xd9", b"\xff\xd8 two \xff\xd9"
    content = (
        b"preamble\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(first)
        + first
        + b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n"
        + second
        + b"\r\n--frame\r\ncontent-length:3\n\nabc\r\n"
    )
    reader = parts(content, step)
    assert [reader.next() for _ in range(3)] == [first, second, b"abc"]
    with pytest.raises(CameraError, match="ended"):
        reader.next()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * 70_000, "expected a boundary within 65536 bytes, came none"),
        (b"--frame\r\n" + b"A: b\r\n" * 9000, "expected a part's head of at most 16384 bytes"),
        (b"--frame\r\n" + b"A" * 20_000, "expected the end of a header within 16384 bytes"),
        (b"--frame\r\nContent-Length: 1001\r\n\r\n", "expected a Content-Length of at most 1000 bytes, came '1001'"),
        (b"--frame\r\nContent-Length: -5\r\n\r\n", "came '-5'"),
        (b"--frame\r\nContent-Length: 0\r\n\r\n", "came an empty part"),
        (b"--frame\r\n\r\n" + b"y" * 3000, "expected a boundary after the picture within 1000 bytes, came none"),
    ],
)
def test_an_answer_that_is_none_is_told_and_costs_no_more_than_its_bounds(content: bytes, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        parts(content, 512).next()


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/x-mixed-replace; boundary=frame", b"--frame"),
        ('multipart/x-mixed-replace;boundary="--my frame"', b"--my frame"),
        ("Multipart/Mixed; BOUNDARY=--frame", b"--frame"),
    ],
)
def test_boundaries_are_understood_as_cameras_write_them(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", ["", "image/jpeg", "multipart/x-mixed-replace", "text/html; boundary=x"])
def test_another_type_of_content_is_refused(content_type: str) -> None:
    with pytest.raises(CameraError, match="expected Content-Type multipart/x-mixed-replace with a boundary, came"):
        boundary_of(content_type)


def live(*seen: tuple[float, float]) -> list[bool]:
    pace = Pace()
    return [pace.is_live(at, stamp) for at, stamp in seen]


def test_what_was_buffered_while_a_stream_was_opened_is_passed_over() -> None:
    burst = [(10.0 + 0.001 * number, 0.04 * number) for number in range(25)]
    steady = [(10.024 + 0.04 * number, 0.96 + 0.04 * number) for number in range(1, 10)]
    assert live(*burst, *steady) == [False] * 25 + [True] * 9


def test_what_waited_while_the_network_paused_is_passed_over() -> None:
    steady = [(0.04 * number, 0.04 * number) for number in range(50)]
    # Three seconds of pictures within a tenth of one.
    late = [(5.0 + 0.001 * number, 2.0 + 0.04 * number) for number in range(75)]
    told = live(*steady, *late)
    assert all(told[1:50])
    assert told[50:110] == [False] * 60
    assert told[-1]


def test_a_camera_whose_clock_goes_wrong_is_still_believed() -> None:
    drifting = [(0.04 * number, 0.0399 * number) for number in range(20_000)]
    assert all(live(*drifting)[1:])
    without = [(0.04 * number, 0.0) for number in range(50)]
    assert all(live(*without)[1:])
    set_back = [(0.04 * number, 100.0 * (number < 20) + 0.04 * number) for number in range(50)]
    assert sum(live(*set_back)) == 49


def test_how_far_behind_the_quickest_picture_one_came_is_known_only_by_its_stamp() -> None:
    pace = Pace()
    behind = []
    for at, stamp in ((0.0, 7.0), (0.1, 7.1), (0.6, 7.2), (0.61, 7.3), (0.7, 7.3), (0.8, 7.4)):
        pace.is_live(at, stamp)
        behind.append(pace.behind_s)
    assert behind == pytest.approx([math.inf, 0.0, 0.4, 0.31, math.inf, 0.0], abs=0.02)


@pytest.mark.parametrize(
    ("pixel_format", "pattern"),
    [
        (0x01080008, ("g", "r", "b", "g")),
        (0x01080009, ("r", "g", "g", "b")),
        (0x0108000A, ("g", "b", "r", "g")),
        (0x0108000B, ("b", "g", "g", "r")),
    ],
)
def test_a_bayer_pattern_becomes_the_colour_that_it_stands_for(pixel_format: int, pattern: tuple[str, ...]) -> None:
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    picture = as_rgb(Grabbed(np.tile(tile, (8, 8)).tobytes(), 16, 16, pixel_format))
    rgb = np.frombuffer(picture.rgb, np.uint8).reshape(16, 16, 3)
    assert tuple(rgb[8, 8]) == (200, 120, 40)


def test_grey_and_coloured_pixels_become_packed_rgb() -> None:
    grey = as_rgb(Grabbed(bytes(range(6)) + b"padding", 3, 2, 0x01080001))
    assert (grey.width, grey.height) == (3, 2)
    assert bytes(grey.rgb) == bytes(value for value in range(6) for _ in range(3))
    assert bytes(as_rgb(Grabbed(b"\x01\x02\x03", 1, 1, 0x02180014)).rgb) == b"\x01\x02\x03"
    assert bytes(as_rgb(Grabbed(b"\x01\x02\x03", 1, 1, 0x02180015)).rgb) == b"\x03\x02\x01"


class Stubborn:
    """A GenICam camera that takes settings its own way."""

    def __init__(self, _identity: str) -> None:
        self.closed = False
        CAMERAS.append(self)

    def set_region(self, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
        return x, y, width - width % 16, height

    def set_exposure_us(self, exposure_us: float) -> float:
        return min(exposure_us, 1000.0)

    def set_gain(self, gain: float) -> float:
        return round(gain)

    def set_trigger(self, source: str) -> str:
        return source and "Line0"

    def start(self, _buffers: int) -> None:
        raise AssertionError("it must not send pictures that nobody wanted so")

    def close(self) -> None:
        self.closed = True


CAMERAS: list[Stubborn] = []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"roi": (0, 0, 100, 64)}, r"genicam:x: expected roi \[0, 0, 100, 64\], the camera took \[0, 0, 96, 64\]"),
        ({"exposure_us": 5000.0}, r"expected exposure_us 5000\.0, the camera took 1000\.0"),
        ({"gain": 1.4}, r"expected gain 1\.4, the camera took 1"),
        ({"trigger": "Line1"}, "expected trigger Line1, the camera took Line0"),
    ],
)
def test_a_setting_that_a_camera_takes_otherwise_is_told_and_the_camera_let_go(
    options: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genicam, "AravisCamera", Stubborn)
    with pytest.raises(CameraError, match=message):
        genicam.GenicamStream("x", Station.model_validate({"source": "genicam:x", **options}))
    assert CAMERAS[-1].closed
