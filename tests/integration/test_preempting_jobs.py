"""The real agent on both job services: a queued rollback ends a watch, and the device shadow tells what answers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.deployment import install, rollback
from tests.fakes.device import eventually
from tests.fakes.job_line import MODEL, Line
from tests.fakes.jobs_clouds import CLOUDS, JobsCloud, MosquittoCloud
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions

LONG = {"probation": {"max_seconds": 600}}


@pytest.fixture(scope="module", params=list(CLOUDS))
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsCloud]:
    cloud = CLOUDS[request.param](tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> SignedRepository:
    repository = SignedRepository(tmp_path_factory.mktemp("repository"), now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"), (MODEL, "3"))
    return repository


def started(directory: Path, cloud: JobsCloud, repository: SignedRepository) -> Iterator[Line]:
    line = Line(directory, cloud, repository, versions=("1", "2"))
    line.device.start()
    yield line
    if line.device.process is not None:
        line.device.stop()


@pytest.fixture
def line(cloud: JobsCloud, tmp_path: Path, repository: SignedRepository) -> Iterator[Line]:
    yield from started(tmp_path, cloud, repository)


@pytest.fixture
def on_mosquitto(broker: MosquittoCloud, tmp_path: Path, repository: SignedRepository) -> Iterator[Line]:
    yield from started(tmp_path, broker, repository)


def under_probation(line: Line, job_id: str) -> None:
    """Let version 3 come under a long probation by a job."""
    line.cloud.create_job(line.thing, job_id, install((MODEL, "3"), policy=LONG))
    line.device.wait_for_deployment(lambda report: report.job_id == job_id and report.state == "PROBATION")


def reports(line: Line, wanted: dict[str, Any]) -> dict[str, Any]:
    """Wait until the device shadow reports this of the model."""

    def told() -> dict[str, Any] | None:
        reported = line.cloud.shadow(line.thing)
        entry = reported.get("models", {}).get(MODEL) or {}
        return reported if wanted.items() <= entry.items() else None

    return eventually(told, lambda: f"{line.cloud.shadow(line.thing)}\n{line.device.log.read_text()[-2000:]}")


def taken_back_once(line: Line, suffix: str) -> None:
    """Check how both jobs ended, and that the version before answers, and not the one before that."""
    watched, back = line.end_of(f"new-{suffix}"), line.end_of(f"back-{suffix}")
    assert (watched.status, watched.details["code"]) == ("FAILED", "SUPERSEDED")
    assert back.status == "SUCCEEDED"
    assert back.details["models"] == f"{MODEL} 3 -> 2"
    assert (line.answering(), line.device.generation()) == ("2", {MODEL: "2"})


def test_a_queued_rollback_ends_a_watch_before_older_jobs_and_the_shadow_tells_what_answers(line: Line) -> None:
    suffix = str(time.monotonic_ns())
    reports(line, {"version": "2", "previous": "1"})
    under_probation(line, f"new-{suffix}")
    assert line.answering() == "3"
    line.cloud.create_job(line.thing, f"older-{suffix}", install((MODEL, "2")))
    line.cloud.create_job(line.thing, f"back-{suffix}", rollback(MODEL))
    taken_back_once(line, suffix)
    assert line.end_of(f"older-{suffix}").status == "SUCCEEDED"
    with line.device.client() as client:
        order = [report.job_id.partition("-")[0] for report in client.deployments()]
    assert order[:3] == ["older", "back", "new"]
    told = reports(line, {"version": "2", "previous": "1"})
    assert told["agent"]["version"]
    last = eventually(lambda: _with_job(line, f"older-{suffix}"))
    assert (last["state"], last["operation"]) == ("COMMITTED", "install")


def _with_job(line: Line, job_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = line.cloud.shadow(line.thing).get("deployment", {})
    return found if found.get("job_id") == job_id else None


def test_the_shadow_follows_a_rollback_and_a_restart(line: Line) -> None:
    reports(line, {"version": "2", "previous": "1"})
    with line.device.client() as client:
        assert client.roll_back(MODEL, reason="scrap", actor="test").state == "COMMITTED"
    before = reports(line, {"version": "1"})
    assert "previous" not in before["models"][MODEL]
    assert before["deployment"]["operation"] == "rollback"
    line.device.stop()
    line.device.start()
    assert reports(line, {"version": "1"})["generation"] == before["generation"]


@pytest.mark.parametrize("hold", ["ROLLING_BACK:before", "FAILED:before", "FAILED:after", "COMMITTED:before"])
def test_killed_anywhere_between_the_two_jobs_one_version_is_taken_back_and_not_two(
    on_mosquitto: Line, monkeypatch: pytest.MonkeyPatch, hold: str
) -> None:
    line, suffix = on_mosquitto, f"{hold.replace(':', '-')}-{time.monotonic_ns()}"
    line.device.stop()
    line.start(hold, monkeypatch)
    under_probation(line, f"new-{suffix}")
    line.cloud.create_job(line.thing, f"older-{suffix}", install((MODEL, "2")))
    line.cloud.create_job(line.thing, f"back-{suffix}", rollback(MODEL))
    line.wait_until_held()
    line.device.kill()
    line.start("", monkeypatch)
    taken_back_once(line, suffix)
    assert line.end_of(f"older-{suffix}").status == "SUCCEEDED"
    with line.device.client() as client:
        order = [report.job_id.partition("-")[0] for report in client.deployments()]
    assert order[:3] == ["older", "back", "new"]
