"""Bits that the disk lost are found at start and on a schedule, and mended or rolled back, while the line is served."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.device import AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture

MODEL = "img-classification"
SCAN_S = 0.5


class Line:
    """A real agent with version 2 committed and 1 before it, and its repository."""

    def __init__(self, directory: Path) -> None:
        self.repository = SignedRepository(directory / "cloud", now=time.time())
        publish_versions(self.repository, (MODEL, "1"), (MODEL, "2"))
        self.blobs = self.repository.directory / "blobs"
        self.device = AgentDevice(
            directory,
            {
                "repository": {"url": self.repository.directory.as_uri()},
                "trust": {"root": self.repository.root, "allow_demo_root": True},
                "deployment": {"scan_interval_s": SCAN_S},
            },
        )
        self.device.start()
        for version in ("1", "2"):
            assert self.device.install((MODEL, version)).state == "COMMITTED"

    def model_of(self, version: str) -> Path:
        (model,) = (self.device.state_dir / "versions" / MODEL / version).rglob("*.onnx")
        return model

    def flip(self, path: Path) -> bytes:
        """Flip a bit in the middle of a file, and return what it held."""
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[len(changed) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(changed)
        path.chmod(0o444)
        return whole

    def lose_repository(self) -> None:
        self.blobs.rename(self.blobs.with_name("away"))

    def find_repository(self) -> None:
        self.blobs.with_name("away").rename(self.blobs)

    def answering(self) -> str:
        return self.device.inspect(grey_picture(GREY)).results[0].version

    def told(self, action: str) -> int:
        """Return how often the log tells of an action."""
        lines = [line for line in self.device.log.read_text().splitlines() if line.startswith("{")]
        return sum(json.loads(line).get("action") == action for line in lines)

    def until_told(self, action: str, times: int = 1) -> None:
        eventually(lambda: self.told(action) >= times or None, lambda: self.device.log.read_text()[-3000:])


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    yield line
    assert line.device.stop() == 0


@pytest.mark.parametrize(("version", "what"), [("1", "model"), ("2", "model"), ("2", "manifest")])
def test_bit_rot_is_found_on_a_schedule_and_mended_from_the_repository(line: Line, version: str, what: str) -> None:
    model = line.model_of(version)
    path = model if what == "model" else model.with_name("manifest.json")
    whole = line.flip(path)
    line.until_told("bit_rot_found")
    line.until_told("bit_rot_mended")
    assert path.read_bytes() == whole
    status = line.device.wait_for(lambda status: status.agent.state == "READY")
    assert (status.agent.message, line.answering()) == ("", "2")
    # Nothing was installed for it, and a rollback still goes to the version that was mended.
    assert line.device.generation() == {MODEL: "2"}
    assert status.models[0].previous == "1"


def test_while_the_committed_version_cannot_be_fetched_the_loaded_one_goes_on_and_the_trouble_is_shown(
    line: Line,
) -> None:
    line.lose_repository()
    whole = line.flip(line.model_of("2"))
    status = line.device.wait_for(lambda status: "could not be fetched again" in status.agent.message)
    assert (status.agent.state, line.told("bit_rot_found")) == ("DEGRADED", 1)
    assert "damaged" in status.agent.message
    assert line.answering() == "2"
    line.find_repository()
    line.until_told("bit_rot_mended")
    line.device.wait_for(lambda status: status.agent.state == "READY")
    assert line.model_of("2").read_bytes() == whole
    assert line.answering() == "2"


def test_a_previous_version_that_nobody_can_bring_back_is_withdrawn_and_that_is_shown(line: Line) -> None:
    line.lose_repository()
    line.flip(line.model_of("1"))
    status = line.device.wait_for(lambda status: "no rollback goes to it any more" in status.agent.message)
    assert (status.agent.state, status.models[0].previous) == ("DEGRADED", None)
    assert line.answering() == "2"
    actions = [json.loads(entry)["action"] for entry in (line.device.state_dir / "audit.log").read_text().splitlines()]
    assert actions[-1] == "previous_withdrawn"


def test_bit_rot_found_at_start_is_mended_and_the_committed_version_answers_again(line: Line) -> None:
    line.device.kill()
    line.flip(line.model_of("2"))
    line.device.start()
    # The one before stood in until then.
    line.until_told("model_unavailable")
    line.until_told("bit_rot_mended")
    line.device.wait_for(lambda status: status.agent.state == "READY")
    assert line.answering() == "2"
    assert line.device.generation() == {MODEL: "2"}


def test_bit_rot_found_at_start_that_cannot_be_fetched_lets_the_previous_version_answer(line: Line) -> None:
    line.device.kill()
    line.lose_repository()
    line.flip(line.model_of("2"))
    line.device.start()
    assert "1 answers instead" in line.device.status().agent.message
    assert line.answering() == "1"
    line.find_repository()
    line.until_told("bit_rot_mended")
    line.device.wait_for(lambda status: status.agent.state == "READY")
    assert line.answering() == "2"
