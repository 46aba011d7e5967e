"""A real agent with a job service, a signed repository and versions committed; it can be held in a state."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fakes.device import AgentDevice, eventually
from tests.fakes.jobs_clouds import JobsCloud, Standing
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import GREY, grey_picture

MODEL = "img-classification"
ENDS = ("SUCCEEDED", "FAILED", "REJECTED")


class Line:
    """One device with versions committed, and its jobs; stopped at first."""

    def __init__(
        self, directory: Path, cloud: JobsCloud, repository: SignedRepository, versions: Sequence[str] = ("1",)
    ) -> None:
        self.cloud, self.directory = cloud, directory
        self.thing, mqtt = cloud.new_device()
        self.device = AgentDevice(
            directory,
            {
                "device": {"thing": self.thing},
                "mqtt": mqtt.model_dump(mode="json"),
                "repository": {"url": repository.directory.as_uri()},
                "trust": {"root": repository.root, "allow_demo_root": True},
            },
        )
        self.device.start()
        for version in versions:
            assert self.device.install((MODEL, version)).state == "COMMITTED"
        self.device.stop()

    def start(self, hold: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Start the agent with its deployment held at ``hold``."""
        for name in ("held", "go"):
            (self.directory / name).unlink(missing_ok=True)
        monkeypatch.setenv("HOLD", hold)
        self.device.start(sys.executable, "-m", "tests.fakes.held_agent")

    def wait_until_held(self) -> None:
        held = self.directory / "held"
        eventually(lambda: held.exists() or None, lambda: self.device.log.read_text()[-3000:])

    def let_go(self) -> None:
        (self.directory / "go").touch()

    def answering(self) -> str:
        return self.device.inspect(grey_picture(GREY)).results[0].version

    def end_of(self, job_id: str) -> Standing:
        def ended() -> Standing | None:
            standing = self.cloud.standing(self.thing, job_id)
            return standing if standing and standing.status in ENDS else None

        return eventually(ended, lambda: self.device.log.read_text()[-3000:])
