"""A real agent with one committed version, versions of every kind to install, and a line that never stops asking."""

import itertools
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import Self

from cloud_tools.release.publish import publish, read_bundle
from edge_agent.formats import DeploymentReport, EncodedPicture, InspectedFrame
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import BRIGHT, GLARE, GREY, grey_picture, write_version

MODEL = "img-classification"
HANG_S = 5
RIGHT = {GREY: "OK", BRIGHT: "NG", GLARE: "NG"}


class Answer(NamedTuple):
    """One frame of the line."""

    grey: int
    frame: InspectedFrame

    @property
    def version(self) -> str:
        return self.frame.results[0].version

    @property
    def is_right(self) -> bool:
        return self.frame.verdict.value == RIGHT[self.grey]


class Load:
    """A line that inspects pictures of these greys in turn, until the block ends."""

    def __init__(self, device: AgentDevice, greys: Sequence[int], pause_s: float = 0.01) -> None:
        self.answers: list[Answer] = []
        self._device = device
        self._greys = itertools.cycle(greys)
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line")

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self.answers or None)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        with self._device.client() as client:
            while not self._stop.wait(self._pause_s):
                grey = next(self._greys)
                frame = client.inspect(EncodedPicture(grey_picture(grey)), applications=(), timeout_s=30.0)
                self.answers.append(Answer(grey, frame))

    def ask(self, *greys: int) -> None:
        """Inspect these from now on."""
        self._greys = itertools.cycle(greys)


class WatchedLine:
    """One device and its repository.

    Args:
        directory: of both.
        versions: by number, arguments of ``write_version``.
        deployment: settings of that room.
    """

    def __init__(
        self,
        directory: Path,
        versions: Mapping[str, Mapping[str, Any]],
        deployment: Mapping[str, object],
        inference: Mapping[str, object] | None = None,
    ) -> None:
        repository = SignedRepository(directory / "repository", now=time.time())
        bundles = []
        for version, arguments in versions.items():
            target = repository.home / "bundles" / version
            write_version(target, name=MODEL, version=version, **arguments)
            bundles.append(read_bundle(target))
        publish(repository.open(), bundles)
        self.device = AgentDevice(
            directory / "device",
            {
                "repository": {"url": repository.directory.as_uri()},
                "trust": {"root": repository.root, "allow_demo_root": True},
                "deployment": deployment,
                # What a machine that stalls never does to a worker that works.
                "inference": {"hang_timeout_s": HANG_S, **(inference or {})},
            },
        )

    def install(self, version: str) -> DeploymentReport:
        return self.device.install((MODEL, version))

    def answering(self) -> str:
        return self.device.inspect(grey_picture(GREY)).results[0].version

    def logged(self, action: str) -> list[dict[str, Any]]:
        """Return what the agent logged of a kind."""
        lines = self.device.log.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and f'"{action}"' in line]
        return [entry for entry in found if entry.get("action") == action]

    def close(self) -> None:
        if self.device.process is not None:
            self.device.kill()


def figures(report: DeploymentReport, state: str) -> dict[str, float]:
    """Return what a deployment's state tells, without the model's name."""
    found = next(entry.figures for entry in reversed(report.states) if entry.state == state)
    return {name.removeprefix(f"{MODEL}_"): value for name, value in found.items()}
