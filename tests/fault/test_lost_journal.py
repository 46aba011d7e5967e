"""The journal and its neighbours are derived facts: without them the line is served and the cloud told the truth."""

import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.deployment import install
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.jobs_clouds import MosquittoCloud, Standing
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture

MODEL = "img-classification"
LOG_SHOWN = 3000


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> SignedRepository:
    repository = SignedRepository(tmp_path_factory.mktemp("repository"), now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"), (MODEL, "3"))
    return repository


@pytest.fixture(scope="module")
def first_state(tmp_path_factory: pytest.TempPathFactory, repository: SignedRepository) -> Path:
    """Return the state directory of a device with version 1 committed: made once, copied by each test."""
    device = AgentDevice(tmp_path_factory.mktemp("first"), _settings(repository))
    device.start()
    assert device.install((MODEL, "1")).state == "COMMITTED"
    assert device.stop() == 0
    return device.state_dir


def _settings(repository: SignedRepository) -> dict[str, dict[str, object]]:
    return {
        "repository": {"url": repository.directory.as_uri()},
        "trust": {"root": repository.root, "allow_demo_root": True},
        "deployment": {"scan_interval_s": 0},
    }


class Line:
    """A device with version 1 committed, and its jobs."""

    def __init__(self, directory: Path, cloud: MosquittoCloud, repository: SignedRepository, state: Path) -> None:
        self.cloud, self.directory = cloud, directory
        self.thing, mqtt = cloud.new_device()
        more = {"device": {"thing": self.thing}, "mqtt": mqtt.model_dump(mode="json")}
        self.device = AgentDevice(directory, {**_settings(repository), **more})
        shutil.copytree(state, self.device.state_dir, dirs_exist_ok=True, symlinks=True)

    def start(self, hold: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("held", "go"):
            (self.directory / name).unlink(missing_ok=True)
        monkeypatch.setenv("HOLD", hold)
        self.device.start(sys.executable, "-m", "tests.fakes.held_agent")

    def order(self, version: str) -> str:
        job_id = f"to-{version}-{time.monotonic_ns()}"
        self.cloud.create_job(self.thing, job_id, install((MODEL, version)))
        return job_id

    def wait_until_held(self) -> None:
        eventually(lambda: (self.directory / "held").exists() or None, self._story)

    def end_of(self, job_id: str) -> Standing:
        def ended() -> Standing | None:
            standing = self.cloud.standing(self.thing, job_id)
            return standing if standing and standing.status in ("SUCCEEDED", "FAILED", "REJECTED") else None

        return eventually(ended, self._story)

    def answering(self) -> str:
        return self.device.inspect(grey_picture(GREY)).results[0].version

    def commits(self) -> list[str]:
        """Return the versions that were committed, one after the other, as the audit log tells."""
        lines = (self.device.state_dir / "audit.log").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [entry["models"][MODEL] for entry in entries if entry["action"] == "committed"]

    def told(self, action: str) -> int:
        return self.device.log.read_text().count(f'"action": "{action}"')

    def _story(self) -> str:
        return self.device.log.read_text()[-LOG_SHOWN:]


@pytest.fixture
def line(tmp_path: Path, cloud: MosquittoCloud, repository: SignedRepository, first_state: Path) -> Iterator[Line]:
    line = Line(tmp_path, cloud, repository, first_state)
    yield line
    if line.device.process is not None:
        line.device.kill()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path) -> None:
    path.unlink()


SWEEP = os.environ.get("EDGE_TEST_SWEEP") == "1"
DAMAGES = (truncate, spoil, zero, delete) if SWEEP else (truncate, delete)
DATABASES = ("journal.db", "outbox.db", "inspections.db")


def with_its_log(path: Path) -> None:
    """Bring what SQLite keeps beside the file into it, so that the damage is the whole file's."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_journal_that_is_lost_or_damaged_is_begun_anew_the_line_is_served_and_the_job_ends_once(
    line: Line, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    line.start("VERIFIED:before", monkeypatch)
    job_id = line.order("2")
    line.wait_until_held()
    line.device.kill()
    journal = line.device.state_dir / "journal.db"
    with_its_log(journal)
    damage(journal)

    line.start("RESUMED", monkeypatch)
    assert line.answering() == "1"
    # The service still counts on the job and offers it again: a deployment of its own, from the start.
    line.wait_until_held()
    (line.directory / "go").touch()
    assert line.end_of(job_id).status == "SUCCEEDED"
    assert (line.answering(), line.device.generation()) == ("2", {MODEL: "2"})
    assert line.commits() == ["1", "2"]
    assert line.device.stop() == 0


@pytest.mark.parametrize("damage", [spoil, delete] if SWEEP else [spoil], ids=lambda damage: damage.__name__)
def test_an_outbox_that_is_lost_or_damaged_is_begun_anew_and_nothing_is_installed_twice(
    line: Line, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    line.start("COMMITTED:after", monkeypatch)
    job_id = line.order("2")
    line.wait_until_held()
    line.device.kill()
    outbox = line.device.state_dir / "outbox.db"
    with_its_log(outbox)
    damage(outbox)
    line.start("", monkeypatch)
    assert line.end_of(job_id).status == "SUCCEEDED"
    assert line.answering() == "2"
    assert line.commits() == ["1", "2"]
    assert line.device.stop() == 0


def killed_with_an_order(line: Line, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """Kill the agent while it builds what a job ordered; return the job and a copy of its journal."""
    line.start("BUILDING:before", monkeypatch)
    job_id = line.order("2")
    line.wait_until_held()
    line.device.kill()
    journal, old = line.device.state_dir / "journal.db", line.directory / "old.db"
    with_its_log(journal)
    shutil.copy(journal, old)
    return job_id, old


def put_back(old: Path, line: Line) -> None:
    """Give the agent an old journal, as a restored disk would."""
    journal = line.device.state_dir / "journal.db"
    for suffix in ("-wal", "-shm"):
        journal.with_name(journal.name + suffix).unlink(missing_ok=True)
    shutil.copy(old, journal)


def test_an_old_journal_is_overruled_by_what_was_committed_since_and_nothing_is_undone(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, old = killed_with_an_order(line, monkeypatch)

    line.start("", monkeypatch)
    assert line.end_of(second).status == "SUCCEEDED"
    third = line.order("3")
    assert line.end_of(third).status == "SUCCEEDED"
    assert line.device.stop() == 0
    put_back(old, line)

    line.start("", monkeypatch)
    assert line.answering() == "3"
    report = line.device.wait_for_deployment(lambda report: report.job_id == second and report.ended is not None)
    assert report.states[-1].state in ("COMMITTED", "REPORTED")
    assert line.told("journal_overruled") == 1
    assert (line.answering(), line.device.generation()) == ("3", {MODEL: "3"})
    assert line.commits() == ["1", "2", "3"]
    assert [line.end_of(job).status for job in (second, third)] == ["SUCCEEDED", "SUCCEEDED"]
    assert line.device.stop() == 0


def test_an_old_journal_of_a_deployment_that_something_else_overtook_ends_it_and_says_why(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, old = killed_with_an_order(line, monkeypatch)
    (line.device.state_dir / "journal.db").unlink()
    line.cloud.cancel_job(second, force=True)

    line.start("", monkeypatch)
    third = line.order("3")
    assert line.end_of(third).status == "SUCCEEDED"
    assert line.device.stop() == 0
    put_back(old, line)

    line.start("", monkeypatch)
    report = line.device.wait_for_deployment(lambda report: report.job_id == second and report.ended is not None)
    assert report.code == "INTERRUPTED"
    assert (line.answering(), line.device.generation()) == ("3", {MODEL: "3"})
    assert line.commits() == ["1", "3"]
    assert line.device.stop() == 0


@pytest.mark.parametrize("names", [(name,) for name in DATABASES] if SWEEP else [DATABASES], ids="+".join)
def test_a_database_that_is_deleted_under_a_running_agent_costs_no_request_and_no_job(
    line: Line, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    line.start("DOWNLOADING:before", monkeypatch)
    job_id = line.order("2")
    line.wait_until_held()
    gone = [path for name in names for path in line.device.state_dir.glob(f"{name}*")]
    for path in gone:
        path.unlink()
    assert len(gone) >= len(names)
    assert line.answering() == "1"
    (line.directory / "go").touch()
    assert line.end_of(job_id).status == "SUCCEEDED"
    assert (line.answering(), line.device.generation()) == ("2", {MODEL: "2"})
    line.device.kill()
    # And after a restart, which finds none.
    line.start("", monkeypatch)
    assert (line.answering(), line.commits()) == ("2", ["1", "2"])
    line.device.wait_for(lambda status: status.agent.cloud == "CONNECTED")
    assert line.end_of(job_id).status == "SUCCEEDED"
    assert line.device.stop() == 0
