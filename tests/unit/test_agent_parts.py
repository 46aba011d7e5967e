"""What the composition root adds: one count of a request, no file for an inspection, no data thrown away."""

from pathlib import Path

import pytest

from edge_agent.agent.models import judges
from edge_agent.agent.parts import Parts
from edge_agent.config import Settings
from edge_agent.deployment.journal import Journal
from edge_agent.errors import Code, StorageError
from edge_agent.formats import EncodedPicture, ModelVersion
from edge_agent.storage.database import rebuilt
from edge_agent.store import Generations
from edge_agent.telemetry import metrics
from tests.fakes.sessions import fake_session


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate({"rpc": {"tcp": ""}, "telemetry": {"metrics": ""}, "capture": {"policy": "none"}})


class Line:
    """The agent's objects with one model that answers; the servers listen on sockets of the test's own, unstarted."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self.parts = Parts(settings, directory / "state", directory / "run", None)
        self.session = fake_session(directory, name="unet")
        self.parts.registry.activate({"unet": self.session})
        self.parts.show_models()

    def close(self) -> None:
        for server in (self.parts.data, self.parts.control):
            server.stop(0)
        self.parts.fast.stop(0)
        self.parts.counts.close()
        self.parts.captures.shelf.close()
        self.parts.journal.close()


@pytest.fixture
def line(tmp_path: Path, settings: Settings) -> "Line":
    return Line(tmp_path, settings)


def counted(version: ModelVersion) -> int:
    """Return how many requests of a version were told to Prometheus."""
    lines = metrics.exposition().decode().splitlines()
    found = [text for text in lines if f'model="{version.name}"' in text and "_count" in text.split("{")[0]]
    return max((int(float(text.rsplit(" ", 1)[1])) for text in found), default=0)


def test_an_inspection_is_counted_once_and_reads_no_generation(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_generations: Generations) -> None:
        raise AssertionError("a file was read for an inspection")

    monkeypatch.setattr(Generations, "current", read)
    before = counted(ModelVersion("unet", "1"))
    frame = line.parts.inspector.inspect(EncodedPicture(b"picture"), timeout_s=5.0)
    assert [result.application for result in frame.results] == ["image-segmentation-app"]
    assert counted(ModelVersion("unet", "1")) == before + 1
    monkeypatch.undo()
    line.close()


def test_whatever_could_change_a_verdict_changes_who_judges(line: Line, tmp_path: Path) -> None:
    registry, mappings = line.parts.registry, line.parts.mappings
    seen = [judges(registry, mappings, "NG if any"), judges(registry, mappings, "NG if all")]
    registry.set_thresholds({ModelVersion("unet", "1"): 0.625})
    seen.append(judges(registry, mappings, "NG if any"))
    registry.activate({"unet": fake_session(tmp_path, version="2", name="unet")})
    seen.append(judges(registry, mappings, "NG if any"))
    registry.withdraw("unet", returning=True)
    seen.append(judges(registry, mappings, "NG if any"))
    assert len(set(seen)) == len(seen)
    registry.set_thresholds({})
    registry.activate({"unet": line.session})
    assert judges(registry, mappings, "NG if any") == seen[0], "the same as before judges again"
    line.close()


def test_a_full_disk_is_no_reason_to_throw_a_database_away(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()

    def full(path: Path) -> Journal:
        raise StorageError(Code.NO_SPACE, f"{path}: database or disk is full")

    with pytest.raises(StorageError, match="disk is full"):
        rebuilt(full, path)
    assert path.exists()


def test_a_damaged_database_is_set_aside_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database" * 1000)
    rebuilt(Journal, path).close()
    assert (tmp_path / "journal.db.damaged").read_bytes().startswith(b"no database")


def test_a_database_that_could_not_be_read_once_is_looked_at_again_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    before, looks = path.read_bytes(), []

    def troubled(place: Path) -> Journal:
        looks.append(place)
        if len(looks) == 1:
            raise StorageError(Code.STORAGE_FAILED, "disk I/O error")
        return Journal(place)

    rebuilt(troubled, path).close()
    assert len(looks) == 2
    assert path.read_bytes() == before
    assert not (tmp_path / "journal.db.damaged").exists()
