"""The agent where something on its disk is wrong: what can be served is served, and the rest is said."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.device import AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture

MODEL = "img-classification"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[AgentDevice]:
    """A device with version 2 committed and version 1 before it, stopped."""
    repository = SignedRepository(tmp_path / "cloud", now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"))
    device = AgentDevice(
        tmp_path,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "deployment": {"scan_interval_s": 1},
        },
    )
    device.start()
    for version in ("1", "2"):
        assert device.install((MODEL, version)).state == "COMMITTED"
    assert device.stop() == 0
    yield device
    assert device.stop() == 0


def rot(device: AgentDevice, version: str) -> None:
    """Flip a bit of every artefact that the version has for itself."""
    directory = device.state_dir / "versions" / MODEL / version
    (model,) = directory.rglob("*.onnx")
    model.chmod(0o644)
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def answering(device: AgentDevice) -> str:
    return device.inspect(grey_picture(GREY)).results[0].version


def test_where_the_committed_version_rotted_the_one_before_answers_until_it_is_fetched_again(
    device: AgentDevice, tmp_path: Path
) -> None:
    blobs = tmp_path / "cloud" / "repository" / "blobs"
    rot(device, "2")
    blobs.rename(tmp_path / "away")
    device.start()
    status = device.status()
    assert status.agent.state == "DEGRADED"
    assert "1 answers instead" in status.agent.message
    assert (answering(device), device.generation()) == ("1", {MODEL: "2"})
    (tmp_path / "away").rename(blobs)
    assert device.install((MODEL, "2")).state == "COMMITTED"
    assert (answering(device), device.generation()) == ("2", {MODEL: "2"})
    status = device.wait_for(lambda status: status.agent.state == "READY")
    assert status.agent.message == ""


def test_where_all_versions_rotted_the_agent_says_so_and_takes_a_new_one(device: AgentDevice, tmp_path: Path) -> None:
    blobs = tmp_path / "cloud" / "repository" / "blobs"
    rot(device, "1")
    rot(device, "2")
    blobs.rename(tmp_path / "away")
    device.start()
    status = device.status()
    states = {model.name: model.state for model in status.models}
    assert (status.agent.state, states[MODEL]) == ("DEGRADED", "UNAVAILABLE")
    (tmp_path / "away").rename(blobs)
    assert device.install((MODEL, "2")).state == "COMMITTED"
    assert answering(device) == "2"


@pytest.mark.parametrize("name", ["journal.db", "inspections.db", "captures/history.db"])
def test_a_damaged_database_is_begun_anew_and_the_line_is_served(device: AgentDevice, name: str) -> None:
    database = device.state_dir / name
    assert database.exists()
    database.write_bytes(b"no database" * 1000)
    device.start()
    assert (answering(device), device.status().agent.state) == ("2", "READY")
    assert database.with_name(f"{database.name}.damaged").exists()


def test_a_damaged_models_config_is_told_until_it_is_mended(device: AgentDevice) -> None:
    config = device.state_dir / "models_config.json"
    good = config.read_text()
    config.write_text(good[: len(good) // 2])
    device.start()
    status = device.status()
    assert status.agent.state == "DEGRADED"
    assert "models_config.json" in status.agent.message
    assert config.read_text() == good[: len(good) // 2]
    # The mappings that were taken last go on, also after a start that could not read them from their file.
    assert "the mappings of before go on" in status.agent.message
    assert answering(device) == "2"
    config.write_text(good)
    assert device.process is not None
    device.process.send_signal(1)
    device.wait_for(lambda status: status.agent.state == "READY")
    assert answering(device) == "2"


def test_a_bad_models_config_at_a_reload_changes_no_mapping(device: AgentDevice) -> None:
    device.start()
    config = device.state_dir / "models_config.json"
    good = json.loads(config.read_text())
    config.write_text("{")
    assert device.process is not None
    device.process.send_signal(1)
    device.wait_for(lambda status: status.agent.state == "DEGRADED")
    assert answering(device) == "2"
    config.write_text(json.dumps(good))
