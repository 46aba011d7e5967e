"""A real agent, a real job, and a repository that attacks: the job fails with a reason, the line goes on."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tools.release.authority import delegate
from tests.fakes.ceremony import forge, targets_of
from tests.fakes.deployment import install
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.jobs_clouds import MosquittoCloud, Standing
from tests.fakes.mirror import Mirror, mirrored
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture

MODEL = "img-classification"


class Factory:
    """One device with version 1 committed, whose job asks for version 2."""

    def __init__(self, directory: Path, cloud: MosquittoCloud) -> None:
        self.cloud = cloud
        self.repository = SignedRepository(directory / "cloud", now=time.time())
        publish_versions(self.repository, (MODEL, "1"))
        self.repository.save("yesterday")
        publish_versions(self.repository, (MODEL, "2"))
        self.thing, mqtt = cloud.new_device()
        self._mqtt = mqtt.model_dump(mode="json")
        self._directory = directory

    def start(self, mirror: Mirror) -> None:
        """Start the device and commit version 1."""
        self.mirror = mirror
        self.device = AgentDevice(
            self._directory,
            {
                "device": {"thing": self.thing},
                "mqtt": self._mqtt,
                "repository": {"url": mirror.url},
                "trust": {"root": self.repository.root, "allow_demo_root": True},
            },
        )
        self.device.start()
        assert self.device.install((MODEL, "1")).state == "COMMITTED"

    def ask(self, version: str = "2") -> Standing:
        """Create a job for ``version`` and return how it ended."""
        job_id = f"attacked-{time.monotonic_ns()}"
        self.cloud.create_job(self.thing, job_id, install((MODEL, version)))

        def ended() -> Standing | None:
            standing = self.cloud.standing(self.thing, job_id)
            return standing if standing and standing.status in ("SUCCEEDED", "FAILED", "REJECTED") else None

        return eventually(ended, lambda: self.device.log.read_text()[-3000:])

    def check_untouched(self) -> None:
        """Version 1 answers, is committed, and nothing of another version is on the disk."""
        assert self.device.inspect(grey_picture(GREY)).results[0].version == "1"
        assert self.device.generation() == {MODEL: "1"}
        versions = self.device.state_dir / "versions" / MODEL
        assert [path.name for path in versions.iterdir()] == ["1"]


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    cloud = MosquittoCloud(tmp_path_factory.mktemp("cloud"))
    factory = Factory(tmp_path_factory.mktemp("f"), cloud)
    with mirrored(factory.repository.directory) as mirror:
        factory.start(mirror)
        yield factory
        factory.device.kill()
    cloud.stop()


@pytest.fixture(autouse=True)
def peace(factory: Factory) -> Iterator[None]:
    factory.mirror.be_honest()
    yield
    factory.mirror.be_honest()
    factory.check_untouched()


def manifest_key(factory: Factory, version: str = "2") -> str:
    return factory.repository.open().targets()[f"{MODEL}/{version}/manifest.json"].key


def ended(standing: Standing) -> tuple[str, str]:
    return standing.status, standing.details.get("code", "")


def test_agent_arbitrary_installation_a_stranger_s_repository_fails_the_job(factory: Factory, tmp_path: Path) -> None:
    stranger = SignedRepository(tmp_path / "stranger", now=time.time())
    publish_versions(stranger, (MODEL, "1"), (MODEL, "2"))
    factory.mirror.show(stranger.directory)
    assert ended(factory.ask()) == ("FAILED", "SIGNATURE_INVALID")
    assert factory.mirror.attacks["metadata/timestamp.json"] == 1


def test_agent_rollback_yesterday_s_repository_fails_the_job(factory: Factory) -> None:
    factory.mirror.show(factory.repository.home / "yesterday")
    assert ended(factory.ask()) == ("FAILED", "METADATA_ROLLBACK")
    assert factory.mirror.attacks["metadata/timestamp.json"] == 1


def test_agent_endless_data_in_place_of_a_manifest_fails_the_job(factory: Factory) -> None:
    key = manifest_key(factory)
    factory.mirror.endless.add(key)
    assert ended(factory.ask()) == ("FAILED", "TRANSFER_FAILED")
    assert factory.mirror.attacks == {key: 1}


def test_agent_extraneous_dependencies_added_to_a_manifest_fail_the_job(factory: Factory) -> None:
    key = manifest_key(factory)
    manifest = json.loads((factory.repository.directory / key).read_bytes())
    manifest["artefacts"].append({"path": "more.onnx", "role": "model", "size_bytes": 4, "sha256": "0" * 64})
    factory.mirror.forged[key] = json.dumps(manifest).encode()
    status, code = ended(factory.ask())
    assert (status, code) in {("FAILED", "DIGEST_MISMATCH"), ("FAILED", "TRANSFER_FAILED")}
    assert factory.mirror.attacks == {key: 1}


def test_agent_slow_retrieval_ends_when_the_job_is_cancelled(factory: Factory) -> None:
    factory.mirror.slow["metadata/timestamp.json"] = 5.0
    job_id = f"slow-{time.monotonic_ns()}"
    factory.cloud.create_job(factory.thing, job_id, install((MODEL, "2")))
    eventually(lambda: factory.mirror.attacks or None, lambda: factory.device.log.read_text()[-3000:])
    factory.cloud.cancel_job(job_id, force=True)
    report = factory.device.wait_for_deployment(lambda report: report.job_id == job_id and report.ended is not None)
    assert report.state == "CANCELLED"
    # The request of then was dropped, not sat out: a minute is what one may take.
    assert factory.mirror.attacks == {"metadata/timestamp.json": 1}


def test_agent_wrong_software_the_old_version_s_manifest_for_the_new_fails_the_job(factory: Factory) -> None:
    key = manifest_key(factory)
    factory.mirror.forged[key] = (factory.repository.directory / manifest_key(factory, "1")).read_bytes()
    status, code = ended(factory.ask())
    assert (status, code) in {("FAILED", "DIGEST_MISMATCH"), ("FAILED", "TRANSFER_FAILED")}
    assert factory.mirror.attacks == {key: 1}


def test_agent_malicious_mirror_a_flipped_bit_in_a_blob_fails_the_job(factory: Factory) -> None:
    manifest = json.loads((factory.repository.directory / manifest_key(factory)).read_bytes())
    old = (factory.repository.directory / manifest_key(factory, "1")).read_text()
    digest = next(a["sha256"] for a in manifest["artefacts"] if a["sha256"] not in old)
    key = f"blobs/sha256/{digest}"
    content = bytearray((factory.repository.directory / key).read_bytes())
    content[len(content) // 2] ^= 1
    factory.mirror.forged[key] = bytes(content)
    assert ended(factory.ask()) == ("FAILED", "DIGEST_MISMATCH")
    assert factory.mirror.attacks[key] >= 1


def test_agent_one_stolen_key_of_another_family_signs_nothing_of_this_model(factory: Factory, tmp_path: Path) -> None:
    """The thief of the family ``wheels`` signs a release of a model that is not its own."""
    theirs = SignedRepository.__new__(SignedRepository)
    theirs.__dict__.update(factory.repository.__dict__)
    theirs.directory = tmp_path / "repository"
    shutil.copytree(factory.repository.directory, theirs.directory)
    delegate(theirs.open(), "wheels", ["wheel"])
    publish_versions(theirs, (MODEL, "3"))
    stolen = theirs.open().read().targets.targets[f"{MODEL}/3/manifest.json"]

    def change(chain: object) -> None:
        targets_of(chain, "models-wheels").targets[f"{MODEL}/3/manifest.json"] = stolen  # type: ignore[arg-type]
        targets_of(chain, "targets").targets.pop(f"{MODEL}/3/manifest.json")  # type: ignore[arg-type]

    forge(theirs, ["models-wheels", "targets", "snapshot", "timestamp"], change)
    factory.mirror.show(theirs.directory)
    assert ended(factory.ask("3")) == ("REJECTED", "RELEASE_UNKNOWN")
    assert any(path.endswith("models-wheels.json") for path in factory.mirror.attacks)
