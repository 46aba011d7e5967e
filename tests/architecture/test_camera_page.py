"""What docs/cameras.md shows is what the station takes."""

import re
from pathlib import Path

import pytest

from edge_agent.config import read_settings
from edge_agent.station import open_cameras
from edge_agent.station.camera import _SCHEMES, kind_of
from edge_agent.station.loop import State
from tests.fakes.tree import ROOT

PAGE = (ROOT / "docs" / "cameras.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.splitlines()[0])
def test_an_example_is_a_configuration_that_the_station_takes(example: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(example, encoding="utf-8")
    stations = read_settings(file).station
    assert stations
    for camera in open_cameras(stations).values():
        camera.close()


def test_every_kind_of_camera_has_an_example(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("".join(EXAMPLES), encoding="utf-8")
    shown = {kind_of(options) for options in read_settings(file).station.values()}
    assert shown == {"directory", "file", "rtsp", "http", "v4l2", "genicam"}


def test_every_scheme_and_every_state_is_told() -> None:
    assert [scheme for scheme in _SCHEMES if f"`{scheme}:" not in PAGE] == []
    assert [state.value for state in State if f"| {state.value} |" not in PAGE] == []
