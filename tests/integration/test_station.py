"""The station as a process, beside an agent that is faked behind real servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent import config, station
from edge_agent.config import Settings
from edge_agent.errors import ConfigError
from edge_agent.formats import InspectedFrame
from tests.fakes.agent_core import FakeCore, drawn_part, served

PATIENCE_S = 60

_LAUNCH = """
import json, sys
from pathlib import Path
from edge_agent import station
from edge_agent.config import read_settings
sys.exit(station.run(read_settings(None, json.loads(sys.argv[1])), Path(sys.argv[2])))
"""


class Station:
    """The process, and its log as it comes."""

    def __init__(self, started: subprocess.Popen[str]) -> None:
        self.process = started
        assert started.stdout is not None
        self._lines = started.stdout
        # A station that says nothing more must not stop the test for ever.
        self._patience = threading.Timer(PATIENCE_S, started.kill)
        self._patience.start()

    def hears(self, **wanted: Any) -> dict[str, Any]:
        """Wait for a log record with these fields."""
        for line in self._lines:
            record: dict[str, Any] = json.loads(line)
            if all(record.get(key) == value for key, value in wanted.items()):
                return record
        raise AssertionError(f"the station ended with {self.process.wait()} before {wanted}")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self._lines.read()
        code = self.process.wait(PATIENCE_S)
        self._patience.cancel()
        return code


@contextmanager
def running(runtime_dir: Path, **stations: Any) -> Iterator[Station]:
    settings = {"station": stations, "telemetry": {"level": "DEBUG"}}
    command = [sys.executable, "-c", _LAUNCH, json.dumps(settings), str(runtime_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as started:
        opened = Station(started)
        try:
            yield opened
        finally:
            opened.end()


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    directory = tmp_path / "frames"
    directory.mkdir()
    for number in (1, 2):
        (directory / f"part-{number}.jpg").write_bytes(drawn_part(number))
    return directory


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


def source(directory: Path, rate_hz: float = 20.0) -> dict[str, Any]:
    return {"source": f"directory:{directory}", "rate_hz": rate_hz, "deadline_s": 10.0}


def test_every_image_is_inspected_in_turn_under_its_stations_name(frames: Path, runtime_dir: Path) -> None:
    with served(runtime_dir) as agent, running(runtime_dir, left=source(frames)) as line:
        for name, verdict in (("part-1.jpg", "OK"), ("part-2.jpg", "NG"), ("part-1.jpg", "OK")):
            heard = line.hears(action="answered", frame_name=name)
            assert (heard["verdict"], heard["station"], heard["reason"]) == (verdict, "left", "")
        assert agent.core.last_frame is not None
        assert agent.core.last_frame.source == "left"


def test_several_stations_look_at_the_same_time(frames: Path, runtime_dir: Path) -> None:
    stations = {"left": source(frames), "right": source(frames)}
    with served(runtime_dir), running(runtime_dir, **stations) as line:
        line.hears(action="answered", station="left", verdict="OK")
        line.hears(action="answered", station="right", verdict="OK")
        line.hears(action="answered", station="left", verdict="NG")


def test_without_an_agent_the_line_hears_no_result_until_it_comes(frames: Path, runtime_dir: Path) -> None:
    with running(runtime_dir, left=source(frames)) as line:
        line.hears(action="answered", verdict="NO_RESULT", frame_id="")
        line.hears(action="answered", verdict="NO_RESULT")
        with served(runtime_dir):
            line.hears(action="station_recovered")
            line.hears(action="answered", verdict="OK")
        line.hears(action="station_troubled", verdict="NO_RESULT")
        with served(runtime_dir):
            line.hears(action="answered", verdict="NG")


def test_an_agent_that_hangs_is_no_result_at_the_deadline(frames: Path, runtime_dir: Path) -> None:
    core = FakeCore()
    release = threading.Event()

    def hang(_: float) -> None:
        release.wait(PATIENCE_S)

    core.before_answer = hang
    slow = source(frames) | {"deadline_s": 0.3}
    with served(runtime_dir, core=core), running(runtime_dir, left=slow) as line:
        line.hears(action="station_troubled", verdict="NO_RESULT", frame_name="part-1.jpg")
        release.set()
        line.hears(action="answered", verdict="OK")


def test_a_camera_that_comes_later_is_taken_up(runtime_dir: Path, tmp_path: Path) -> None:
    with served(runtime_dir), running(runtime_dir, left=source(tmp_path / "later")) as line:
        assert "CAMERA_FAILED" in line.hears(action="station_troubled")["reason"]
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "part.jpg").write_bytes(drawn_part(2))
        line.hears(action="answered", verdict="NG", frame_name="part.jpg")


def test_a_file_that_is_no_image_is_no_result_and_the_next_one_is_inspected(frames: Path, runtime_dir: Path) -> None:
    (frames / "part-0.jpg").write_bytes(b"not an image")
    with served(runtime_dir), running(runtime_dir, left=source(frames)) as line:
        line.hears(action="answered", verdict="NO_RESULT", frame_name="part-0.jpg")
        line.hears(action="answered", verdict="OK", frame_name="part-1.jpg")


def test_sigterm_ends_the_station_cleanly_even_while_the_agent_hangs(frames: Path, runtime_dir: Path) -> None:
    core = FakeCore()
    asked, release = threading.Event(), threading.Event()

    def hang(_: float) -> None:
        asked.set()
        release.wait(PATIENCE_S)

    core.before_answer = hang
    short = source(frames) | {"deadline_s": 1.0}
    with served(runtime_dir, core=core), running(runtime_dir, left=short) as line:
        assert asked.wait(PATIENCE_S)
        assert line.end() == 0
        release.set()


def test_a_camera_whose_library_is_stuck_stops_neither_the_other_one_nor_the_end(
    frames: Path, runtime_dir: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stuck = {"source": f"rtsp://127.0.0.1:{mute.getsockname()[1]}/line", "stall_s": 60}
        with served(runtime_dir), running(runtime_dir, left=stuck, right=source(frames)) as line:
            connection, _ = mute.accept()
            with connection:
                line.hears(action="answered", station="right", verdict="OK")
                line.hears(action="answered", station="right", verdict="NG")
                assert line.end() == 0


@pytest.mark.parametrize(
    ("stations", "message"),
    [
        ({}, r"at least one \[station.NAME\]"),
        ({"left": config.Station(source="webcam://x")}, r"directory:…, .* came 'webcam://x'"),
    ],
)
def test_a_station_without_a_usable_camera_is_a_configuration_error(
    runtime_dir: Path, stations: dict[str, config.Station], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        station.open_cameras(stations)
    assert Settings(station=stations).station == stations


def test_frames_reach_the_agent_behind_callers_of_the_line(frames: Path, runtime_dir: Path) -> None:
    heard: list[bool] = []

    class Core(FakeCore):
        def inspect(self, *arguments: Any, **named: Any) -> InspectedFrame:
            heard.append(named["frame_priority"])
            return super().inspect(*arguments, **named)

    with served(runtime_dir, core=Core()), running(runtime_dir, left=source(frames)) as line:
        line.hears(action="answered", verdict="OK")
    assert heard[0] is True
