"""The old workshop's job on a real agent: a package out of the repository's bucket, ordered over MQTT."""

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.device import AgentDevice, eventually
from tests.fakes.jobs_clouds import MosquittoCloud, Standing
from tests.fakes.local_s3 import local_s3, request
from tests.fakes.tiny_models import GREY, grey_picture, write_version

MODEL, BUCKET = "img-classification", "line"
ENDS = ("SUCCEEDED", "FAILED", "REJECTED")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoCloud]:
    cloud = MosquittoCloud(tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with local_s3(tmp_path_factory.mktemp("s3")) as (url, _process):
        request("PUT", f"{url}/{BUCKET}")
        request("PUT", f"{url}/elsewhere")
        yield url


class Line:
    """A device that takes unsigned packages, and its jobs."""

    def __init__(self, directory: Path, cloud: MosquittoCloud, repository: dict[str, object]) -> None:
        self.cloud = cloud
        self.thing, mqtt = cloud.new_device()
        settings: dict[str, dict[str, object]] = {
            "device": {"thing": self.thing},
            "mqtt": mqtt.model_dump(mode="json"),
            "repository": repository,
            "trust": {"allow_unsigned_packages": True},
        }
        self.device = AgentDevice(directory, settings)

    def order(self, job_id: str, version: str, *, bucket: str = BUCKET) -> None:
        job = {"type": "new_model", "model_name": MODEL, "model_version": version}
        place = {"model_package_bucket": bucket, "model_package_key": f"packages/{MODEL}-{version}.tar.gz"}
        self.cloud.create_job(self.thing, job_id, job | place)

    def end_of(self, job_id: str) -> Standing:
        def ended() -> Standing | None:
            standing = self.cloud.standing(self.thing, job_id)
            return standing if standing and standing.status in ENDS else None

        return eventually(ended, lambda: self.device.log.read_text()[-3000:])

    def answering(self) -> str:
        return self.device.inspect(grey_picture(GREY)).results[0].version

    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.device.log.read_text().splitlines() if line.startswith("{")]


def pack(directory: Path, version: str) -> Path:
    """Write a real little model and pack it as a person would."""
    write_version(directory / version, name=MODEL, version=version)
    target = directory / f"{MODEL}-{version}.tar.gz"
    with tarfile.open(target, "w:gz") as archive:
        archive.add(directory / version, arcname=".")
    return target


def test_an_unsigned_package_is_installed_by_a_job_from_the_bucket_and_from_no_other(
    tmp_path: Path, cloud: MosquittoCloud, s3: str
) -> None:
    content = pack(tmp_path, "1").read_bytes()
    for bucket in (BUCKET, "elsewhere"):
        request("PUT", f"{s3}/{bucket}/packages/{MODEL}-1.tar.gz", content)
    keys = tmp_path / "keys.json"
    words = {"endpoint": s3, "region": "us-east-1", "access_key_id": "test", "secret_access_key": "test"}
    keys.write_text(json.dumps(words))
    keys.chmod(0o600)
    line = Line(tmp_path / "d", cloud, {"url": f"s3://{BUCKET}/releases", "credentials": f"file:{keys}"})
    line.device.start()
    try:
        line.order("led-away", "1", bucket="elsewhere")
        refused = line.end_of("led-away")
        assert (refused.status, refused.details["code"]) == ("REJECTED", "UNSIGNED_PACKAGE")
        assert line.device.generation() == {}

        line.order("first", "1")
        done = line.end_of("first")
        assert (done.status, line.answering(), line.device.generation()) == ("SUCCEEDED", "1", {MODEL: "1"})
        assert done.details["remark"] == f"unsigned package {BUCKET}/packages/{MODEL}-1.tar.gz"
        report = line.device.wait_for_deployment(lambda one: one.job_id == "first")
        assert "unsigned package" in report.remark
        shadow = eventually(lambda: cloud.shadow(line.thing).get("models", {}).get(MODEL))
        assert (shadow["version"], shadow["unsigned"]) == ("1", True)
        told = [entry.get("action") for entry in line.log()]
        assert (told.count("unsigned_packages"), told.count("unsigned_package")) == (1, 1)
        audited = [json.loads(text) for text in (line.device.state_dir / "audit.log").read_text().splitlines()]
        assert [entry.get("unsigned") for entry in audited if entry["action"] == "committed"] == [True]
    finally:
        line.device.stop()


def test_an_agent_killed_while_a_package_comes_goes_on_after_its_start(
    tmp_path: Path, cloud: MosquittoCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    (repository / "packages").mkdir(parents=True)
    for version in ("1", "2"):
        pack(tmp_path, version).rename(repository / "packages" / f"{MODEL}-{version}.tar.gz")
    line = Line(tmp_path / "d", cloud, {"url": repository.as_uri()})
    for version, state in (("1", "DOWNLOADING:before"), ("2", "VERIFIED:before")):
        monkeypatch.setenv("HOLD", state)
        (tmp_path / "d" / "held").unlink(missing_ok=True)
        line.device.start(sys.executable, "-m", "tests.fakes.held_agent")
        line.order(f"job-{version}", version, bucket="any")
        eventually(lambda: (tmp_path / "d" / "held").exists() or None, lambda: line.device.log.read_text()[-3000:])
        line.device.kill()
        monkeypatch.delenv("HOLD")
        line.device.start()
        assert line.end_of(f"job-{version}").status == "SUCCEEDED"
        assert (line.answering(), line.device.generation()) == (version, {MODEL: version})
        line.device.stop()
    assert list((line.device.state_dir / "partial").iterdir()) == []
