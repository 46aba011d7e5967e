"""The agent without a cloud: a signed repository in a directory, installs and rollbacks by local calls."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.formats import Verdict
from tests.fakes.device import AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import BRIGHT, GREY, grey_picture


@pytest.fixture
def device(tmp_path: Path) -> Iterator[AgentDevice]:
    repository = SignedRepository(tmp_path / "cloud", now=time.time())
    publish_versions(repository, ("img-classification", "1"), ("img-classification", "2"))
    device = AgentDevice(
        tmp_path,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
        },
    )
    device.start()
    yield device
    assert device.stop() == 0


def test_a_signed_version_is_installed_and_answers(device: AgentDevice) -> None:
    report = device.install(("img-classification", "1"))
    assert (report.state, report.code) == ("COMMITTED", "")
    dark, bright = (device.inspect(grey_picture(value)) for value in (GREY, BRIGHT))
    assert (dark.verdict, bright.verdict) == (Verdict.OK, Verdict.NG)
    assert bright.results[0].version == "1"
    config = json.loads((device.state_dir / "models_config.json").read_text())
    assert config["models"] == [{"name": "img-classification", "version": "1", "identifier": "img-classification-1"}]


def test_a_second_version_takes_over_and_a_rollback_returns(device: AgentDevice) -> None:
    device.install(("img-classification", "1"))
    assert device.install(("img-classification", "2")).state == "COMMITTED"
    assert device.inspect(grey_picture(GREY)).results[0].version == "2"
    with device.client() as client:
        report = client.roll_back("img-classification", "too many rejects", actor="a test")
    assert (report.state, report.reason) == ("COMMITTED", "too many rejects")
    assert device.inspect(grey_picture(GREY)).results[0].version == "1"
    assert device.generation() == {"img-classification": "1"}


def test_a_restart_serves_what_is_committed(device: AgentDevice) -> None:
    device.install(("img-classification", "1"))
    device.kill()
    device.start()
    assert device.inspect(grey_picture(BRIGHT)).verdict is Verdict.NG


def test_a_version_that_nobody_signed_is_refused(device: AgentDevice) -> None:
    report = device.install(("img-classification", "9"))
    assert (report.state, report.code) == ("REFUSED", "RELEASE_UNKNOWN")
    assert device.generation() == {}
