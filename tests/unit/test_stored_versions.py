"""Versions that are loaded by hand: what may be, what answers then, and that what is committed stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from edge_agent.agent.local_models import LocalModels
from edge_agent.agent.models import Runtimes
from edge_agent.agent.stored_versions import StoredVersions
from edge_agent.deployment.capacity import Machine
from edge_agent.errors import AgentError, Code, RefusedError
from edge_agent.formats import Manifest, ModelVersion
from edge_agent.inference import Registry
from edge_agent.store import Store
from tests.fakes.releases import Release, install, make_release
from tests.fakes.sessions import FakeSession

MIB = 1 << 20


class FakeRuntimes:
    """Opens sessions that hold no model."""

    def __init__(self) -> None:
        self.opened: list[FakeSession] = []

    def open(self, directory: Path, manifest: Manifest) -> FakeSession:
        assert (directory / manifest.model_artefact.path).is_file()
        self.opened.append(FakeSession(manifest))
        return self.opened[-1]


class Device:
    """A store with versions 1, 2 and 3 of a model, the second committed and answering where asked for."""

    def __init__(self, directory: Path, *, answering: bool, budget_bytes: int = 0) -> None:
        self.store = Store(directory)
        self.releases = {n: make_release("unet", str(n), release_seq=n) for n in (1, 2, 3)}
        for release in self.releases.values():
            install(self.store, release)
        self.registry, self.runtimes = Registry(), FakeRuntimes()
        self.floor = 0
        if answering:
            self.store.commit({"unet": self.releases[2].committed("1")})
            self.registry.activate({"unet": FakeSession(self.releases[2].manifest)})
        machine = Machine("99", "x86_64", frozenset({"onnxruntime"}), budget_bytes)
        local = LocalModels(cast("Runtimes", self.runtimes), self.registry, self.store, machine)
        self.versions = StoredVersions(self.store, self.registry, local, self.check_floor)

    def check_floor(self, manifest: Manifest) -> None:
        if manifest.release_seq < self.floor:
            raise RefusedError(Code.BELOW_FLOOR, "revoked")

    def answering(self, version: str | None = None) -> str:
        with self.registry.lease("unet", version=version) as session:
            return session.manifest.version


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path, answering=True)


@pytest.fixture
def idle(tmp_path: Path) -> Device:
    return Device(tmp_path, answering=False)


def code_of(act: Callable[..., Any], *arguments: Any) -> Code:
    with pytest.raises(AgentError) as caught:
        act(*arguments)
    return caught.value.code


def test_a_version_that_is_loaded_beside_answers_to_its_name_and_no_other(device: Device) -> None:
    assert device.versions.load("unet", "1") == ModelVersion("unet", "1")
    assert (device.answering(), device.answering("1"), device.answering("2")) == ("2", "1", "2")
    device.versions.unload("unet")
    assert device.runtimes.opened[0].closed
    assert code_of(device.answering, "1") is Code.NOT_FOUND
    assert device.answering() == "2"


def test_loading_what_is_loaded_does_nothing(device: Device) -> None:
    for version in (None, "2", "1", "1"):
        device.versions.load("unet", version)
    assert [session.manifest.version for session in device.runtimes.opened] == ["1"]


def test_one_unload_takes_back_every_version_that_was_loaded_by_hand(device: Device) -> None:
    for version in ("1", "3"):
        device.versions.load("unet", version)
    device.versions.unload("unet")
    assert [session.closed for session in device.runtimes.opened] == [True, True]
    assert [session.manifest.version for session in device.registry.loaded()] == ["2"]


def test_what_a_deployment_lets_answer_is_not_unloaded(device: Device) -> None:
    assert code_of(device.versions.unload, "unet") is Code.FAILED_PRECONDITION
    device.versions.load("unet", "1")
    device.versions.unload("unet")
    assert code_of(device.versions.unload, "unet") is Code.FAILED_PRECONDITION
    assert device.answering() == "2"


def test_where_nothing_answers_the_newest_release_does_until_it_is_unloaded(idle: Device) -> None:
    assert idle.versions.load("unet", None) == ModelVersion("unet", "3")
    assert (idle.answering(), idle.answering("3")) == ("3", "3")
    idle.versions.load("unet", "1")
    assert (idle.answering(), idle.answering("1")) == ("3", "1")
    idle.versions.unload("unet")
    assert idle.registry.loaded() == []
    assert code_of(idle.versions.unload, "unet") is Code.NOT_FOUND


def test_a_deployment_that_took_over_since_is_not_undone_by_an_unload(idle: Device) -> None:
    idle.versions.load("unet", "1")
    idle.store.commit({"unet": idle.releases[2].committed()})
    (replaced,) = idle.registry.activate({"unet": FakeSession(idle.releases[2].manifest)}).values()
    idle.registry.retire(replaced, timeout_s=1)
    idle.versions.unload("unet")
    assert idle.answering() == "2"


@pytest.mark.parametrize("version", ["9", "../1", ""])
def test_what_the_store_does_not_hold_is_not_found(device: Device, version: str) -> None:
    assert code_of(device.versions.load, "unet", version) is Code.NOT_FOUND
    assert code_of(device.versions.load, "../unet", version) is Code.NOT_FOUND
    assert device.runtimes.opened == []


def test_a_version_that_may_not_run_is_refused_with_its_reason(device: Device) -> None:
    device.store.quarantine(device.releases[1].sha256, "took the device down")
    assert code_of(device.versions.load, "unet", "1") is Code.QUARANTINED
    device.floor = 4
    assert code_of(device.versions.load, "unet", "3") is Code.BELOW_FLOOR
    assert device.runtimes.opened == []


def test_a_copy_is_trusted_by_what_is_stored_and_refused_where_that_may_not_run(device: Device) -> None:
    digests = {number: release.sha256 for number, release in device.releases.items()}
    assert [device.versions.trusts(digest) for digest in digests.values()] == [True, True, True]
    assert not device.versions.trusts("0" * 64)
    device.floor = 3
    assert code_of(device.versions.trusts, digests[1]) is Code.BELOW_FLOOR
    device.store.quarantine(digests[3], "three unclean ends")
    assert code_of(device.versions.trusts, digests[3]) is Code.QUARANTINED


def test_the_newest_is_the_newest_that_may_run(idle: Device) -> None:
    idle.store.quarantine(idle.releases[3].sha256, "took the device down")
    assert idle.versions.load("unet", None).version == "2"
    idle.versions.unload("unet")
    idle.floor = 3
    assert code_of(idle.versions.load, "unet", None) is Code.QUARANTINED


def test_a_damaged_version_is_not_loaded(device: Device) -> None:
    blob = device.store.directory(ModelVersion("unet", "1")) / device.releases[1].manifest.model_artefact.path
    content = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(content[:-1] + b"!")
    assert code_of(device.versions.load, "unet", "1") is Code.CONTENT_MISSING
    assert [session.manifest.version for session in device.registry.loaded()] == ["2"]


def test_a_version_that_does_not_fit_beside_the_others_is_refused(tmp_path: Path) -> None:
    device = Device(tmp_path, answering=True, budget_bytes=100 * MIB)
    assert code_of(device.versions.load, "unet", "1") is Code.MEMORY_EXCEEDED
    assert device.runtimes.opened == []


def test_a_deployed_model_that_does_not_answer_now_is_not_replaced_by_hand(device: Device) -> None:
    device.registry.withdraw("unet", returning=True)
    assert code_of(device.versions.load, "unet", "1") is Code.FAILED_PRECONDITION


def test_an_agent_that_stops_keeps_nothing(device: Device) -> None:
    device.registry.close()
    session = FakeSession(device.releases[1].manifest)
    assert code_of(device.registry.keep, session) is Code.UNAVAILABLE
    assert session.closed


def test_a_package_that_nobody_signed_is_not_loaded(device: Device) -> None:
    release: Release = device.releases[1]
    device.store.commit({"unet": release.committed().model_copy(update={"unsigned": True})})
    assert device.store.generations.is_unsigned(release.sha256)
    assert code_of(device.versions.load, "unet", "1") is Code.FAILED_PRECONDITION
