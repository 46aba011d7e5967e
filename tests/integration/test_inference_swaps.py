"""Versions change under load: no request fails, each is answered by one version."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import Inference
from edge_agent.errors import AgentError
from edge_agent.formats import Manifest
from edge_agent.inference import DataPlane, Registry, Session, open_session
from tests.fakes.tiny_models import image, write_version

PATIENCE_S = 60.0
REQUESTS = 1000
CALLERS = 4


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    yield made
    made.close()


class Callers:
    """Ask a thousand times on several threads and note what came."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self.versions: list[str] = []
        self.mixed: list[tuple[str, float]] = []
        self.failed: list[AgentError] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(CALLERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _ask(self) -> None:
        for number in range(REQUESTS // CALLERS):
            try:
                version, outputs = self._plane.infer("bright", image(number % 250), timeout_s=PATIENCE_S)
            except AgentError as exc:
                self.failed.append(exc)
                continue
            self.versions.append(version.version)
            # Version N adds N to the score, so an answer tells which version computed it.
            told = float(outputs["score"][0]) - (number % 250 - 128) / 16
            if abs(told - int(version.version)) > 1e-3:
                self.mixed.append((version.version, told))


def test_a_thousand_requests_while_versions_change_and_none_fails(registry: Registry, tmp_path: Path) -> None:
    manifests = {n: write_version(tmp_path / str(n), version=str(n), bias=float(n)) for n in (1, 2, 3)}

    def load(number: int) -> Session:
        return open_session(tmp_path / str(number), manifests[number], Inference(lanes=2), engines=tmp_path / "engines")

    registry.activate({"bright": load(1)})
    callers = Callers(DataPlane(registry))
    callers.start()
    number = 1
    while callers.busy() or number < 4:
        number += 1
        for replaced in registry.activate({"bright": load(number % 3 + 1)}).values():
            assert registry.retire(replaced, timeout_s=PATIENCE_S)
    assert callers.failed == []
    assert callers.mixed == []
    assert len(callers.versions) == REQUESTS
    assert len(registry.loaded()) == 1


def test_two_models_are_loaded_side_by_side_and_change_together(registry: Registry, tmp_path: Path) -> None:
    def load(name: str, version: str) -> Session:
        directory = tmp_path / f"{name}-{version}"
        manifest: Manifest = write_version(directory, name=name, version=version)
        return open_session(directory, manifest, Inference(), engines=tmp_path / "engines")

    registry.activate({name: load(name, "1") for name in ("left", "right")})
    replaced = registry.activate({name: load(name, "2") for name in ("left", "right")})
    assert {name: session.manifest.version for name, session in registry.active().items()} == {
        "left": "2",
        "right": "2",
    }
    for session in replaced.values():
        assert session.infer(image(1), timeout_s=PATIENCE_S)
        registry.retire(session, timeout_s=PATIENCE_S)
        assert session.state == "CLOSED"
