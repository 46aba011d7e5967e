"""A whole device whose cameras are unplugged and plugged in again: what the person at the line is told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import CameraStatus, InspectedFrame, Status, Verdict
from tests.fakes.agent_core import drawn_part
from tests.fakes.cameras import RtspCamera, rtsp_camera
from tests.fakes.device import ROOT, AgentDevice


@pytest.fixture
def plug() -> Iterator[RtspCamera]:
    with rtsp_camera("bob", "s3cret") as camera:
        yield camera


@pytest.fixture
def device(tmp_path: Path, plug: RtspCamera) -> Iterator[AgentDevice]:
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "part.jpg").write_bytes(drawn_part(1))
    source = plug.url.replace("//", "//bob:s3cret@")
    device = AgentDevice(
        tmp_path,
        {
            "station.left": {"source": source, "rate_hz": 5.0, "stall_s": 1.0, "deadline_s": 10.0},
            "station.right": {"source": f"directory:{frames}", "rate_hz": 5.0, "deadline_s": 10.0},
        },
    )
    device.start()
    yield device
    assert device.stop() == 0


def command(device: AgentDevice, *verb: str) -> list[str]:
    places = ("--config", device.config, "--state-dir", device.state_dir, "--runtime-dir", device.runtime_dir)
    return [sys.executable, "-m", "edge_agent", *map(str, places), *verb]


@contextmanager
def station(device: AgentDevice, log: Path) -> Iterator[None]:
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command(device, "station"), cwd=ROOT, stdout=output, stderr=output, env=device.environment
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
    assert process.returncode == 0


def told(device: AgentDevice, *verb: str) -> str:
    return subprocess.run(
        command(device, *verb), cwd=ROOT, env=device.environment, capture_output=True, text=True, check=True
    ).stdout


def camera(status: Status, name: str) -> CameraStatus | None:
    return next((each for each in status.cameras if each.id == name), None)


def test_a_camera_that_is_unplugged_is_shown_as_away_and_returns_while_the_other_goes_on(
    device: AgentDevice, plug: RtspCamera, tmp_path: Path
) -> None:
    def wait_for(name: str, state: str, failures: int = 0) -> CameraStatus:
        def wanted(status: Status) -> bool:
            found = camera(status, name)
            return found is not None and found.state == state and found.failures >= failures

        found = camera(device.wait_for(wanted), name)
        assert found is not None
        return found

    log = tmp_path / "station.log"
    with device.client() as client, client.events() as events, station(device, log):
        assert wait_for("left", "WATCHING").kind == "rtsp"
        right = wait_for("right", "WATCHING")
        plug.pull_out()
        away = wait_for("left", "CAMERA_AWAY", failures=1)
        assert f"rtsp://…@127.0.0.1:{plug.port}/line" in away.message
        assert "camera left (rtsp): CAMERA_AWAY since 2" in told(device, "status")
        plug.plug_in()
        back = wait_for("left", "WATCHING", failures=1)
        assert back.message == ""
        assert back.since > away.since
        assert wait_for("right", "WATCHING").frames > right.frames
        shown = json.loads(told(device, "status", "--json"))
        assert {each["id"]: each["state"] for each in shown["cameras"]} == {"left": "WATCHING", "right": "WATCHING"}
        heard = iter(events)
        states = []
        while states[-1:] != ["WATCHING"] or "CAMERA_AWAY" not in states:
            payload = next(heard).payload
            if isinstance(payload, CameraStatus) and payload.id == "left":
                states.append(payload.state)
        with pytest.raises(InferenceError, match=r"camera\.state: expected one of .*, came DANCING") as refused:
            client.report_camera(CameraStatus(id="left", state="DANCING"))
        assert refused.value.code is Code.INVALID_ARGUMENT
        for lost in (3, 5):
            client.report_camera(CameraStatus(id="third", state="WATCHING", lost=lost))
        frames = (event.payload for event in heard if isinstance(event.payload, InspectedFrame))
        unseen = list(islice((frame for frame in frames if frame.source == "third"), 2))
        assert {frame.verdict for frame in unseen} == {Verdict.NO_RESULT}
        assert "no picture of this part was inspected" in unseen[0].message
        assert ", 5 parts lost" in told(device, "status")
    silent = wait_for("left", "SILENT")
    assert "told nothing for 10 s" in silent.message
    everything = log.read_text() + device.log.read_text() + told(device, "status")
    assert "CAMERA_FAILED" in everything
    assert "s3cret" not in everything
