"""Several models in one job: whichever of them fails, and wherever, all change or none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.config import Deployment as Limits
from edge_agent.config import Probation, Shadow
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.errors import ActivationError, AgentError, BundleError, Code, StorageError
from edge_agent.formats import ModelVersion
from tests.fakes.deployment import Device, FakeSession, install, remove, rollback
from tests.fakes.releases import Release, make_release

OLD = {"unet": "1", "classifier": "1"}
NEW = {"unet": "2", "classifier": "2"}


def release(name: str, version: str, **fields: object) -> Release:
    return make_release(name, version, release_seq=int(version), **fields)


def make_device(directory: Path, limits: Limits | None = None) -> Device:
    """A device with version 1 of two models that answer, which is offered version 2 of both."""
    device = Device(directory, limits=limits)
    device.offers(release("unet", "2"), release("classifier", "2"))
    device.already_has(release("unet", "1"), release("classifier", "1"))
    return device


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = make_device(tmp_path)
    yield device
    device.stop()


def run_job(device: Device, job_id: str, document: dict[str, object]) -> Deployment:
    device.job(job_id, document)
    device.call(rollback("nobody"))
    record = device.journal.of_job(job_id)
    assert record is not None
    assert record.ended is not None
    return record


def refused(device: Device) -> list[object]:
    """The second model's machine is another one."""
    device.offers(release("classifier", "2", requires={"machines": ["riscv64"]}))
    return [1]


def unknown(device: Device) -> list[object]:
    """Nobody signed the second model's release."""
    del device.releases.releases[ModelVersion("classifier", "2")]
    return [1]


def revoked(device: Device) -> list[object]:
    device.releases.floors["classifier"] = 3
    return [1]


def damaged(device: Device) -> list[object]:
    """The second model's bytes are not the ones that were signed."""
    came: list[object] = []
    fetch = device.blobs.fetch
    model = device.releases.releases[ModelVersion("classifier", "2")].manifest.model_artefact.sha256

    def other(key: str, target: Path, size_bytes: int, **more: object) -> None:
        fetch(key, target, size_bytes, **more)  # type: ignore[arg-type]
        if key.endswith(model):
            target.write_bytes(b"x" * size_bytes)
            came.append(key)

    device.blobs.fetch = other  # type: ignore[method-assign,assignment]
    return came


def bad(code: Code) -> Callable[[Device], list[object]]:
    def plant(device: Device) -> list[object]:
        device.runtimes.bad[ModelVersion("classifier", "2")] = code
        return [1]

    return plant


def full_at_commit(device: Device) -> list[object]:
    """The generation of both cannot be written."""
    came: list[object] = []

    def commit(*wanted: object) -> None:
        came.append(wanted)
        raise StorageError(Code.NO_SPACE, "the disk is full")

    device.store.commit = commit  # type: ignore[method-assign,assignment]
    return came


@pytest.mark.parametrize(
    ("plant", "state", "code"),
    [
        (refused, State.REFUSED, "WRONG_HARDWARE"),
        (unknown, State.REFUSED, "RELEASE_UNKNOWN"),
        (revoked, State.REFUSED, "BELOW_FLOOR"),
        (damaged, State.FAILED, "DIGEST_MISMATCH"),
        (bad(Code.BUILD_FAILED), State.FAILED, "BUILD_FAILED"),
        (bad(Code.LOAD_FAILED), State.FAILED, "LOAD_FAILED"),
        (bad(Code.GOLDEN_MISMATCH), State.FAILED, "GOLDEN_MISMATCH"),
        (full_at_commit, State.FAILED, "ROLLED_BACK"),
    ],
    ids=["refused", "unknown", "revoked", "damaged", "build", "load", "golden", "commit"],
)
@pytest.mark.parametrize("order", [("unet", "classifier"), ("classifier", "unet")], ids=["last", "first"])
def test_when_one_of_two_models_fails_both_stay_as_they_were(
    device: Device, plant: Callable[[Device], list[object]], state: State, code: str, order: tuple[str, str]
) -> None:
    came = plant(device)
    before = device.store.generations.current()
    device.start()
    record = run_job(device, "job-1", install(*((name, "2") for name in order)))
    assert came
    assert (record.outcome, record.code) == (state, code)
    assert device.store.generations.current() == before
    assert device.committed() == device.answering() == OLD
    assert all(session.state == "CLOSED" for session in device.runtimes.opened if session.manifest.version == "2")


def test_when_both_are_well_both_change_in_one_generation(device: Device) -> None:
    number = device.store.generations.current().number
    device.start()
    record = run_job(device, "job-1", install(("unet", "2"), ("classifier", "2")))
    assert record.outcome is State.COMMITTED
    assert device.store.generations.current().number == number + 1
    assert device.committed() == device.answering() == NEW


@pytest.mark.parametrize(
    ("step", "limits"),
    [
        (State.SHADOW, Limits(reserve_bytes=0, shadow=Shadow(max_seconds=600))),
        (State.PROBATION, Limits(reserve_bytes=0, probation=Probation(max_seconds=600))),
    ],
    ids=["shadow", "probation"],
)
def test_when_one_of_two_fails_under_watch_both_go_back(tmp_path: Path, step: State, limits: Limits) -> None:
    device = make_device(tmp_path, limits)
    seen: list[dict[str, str]] = []

    def fails(record: Deployment, _work: object) -> Deployment:
        seen.append(device.answering())
        code = Code.SHADOW_REGRESSION if step is State.SHADOW else Code.PROBATION_REGRESSION
        raise ActivationError(code, "the classifier disagrees")

    device.steps._table = {**device.steps._table, step: fails}
    device.start()
    record = run_job(device, "job-1", install(("unet", "2"), ("classifier", "2")))
    assert seen == [OLD if step is State.SHADOW else NEW]
    assert record.outcome is State.FAILED
    assert device.committed() == device.answering() == OLD
    assert all(session.state == "CLOSED" for session in device.runtimes.opened if session.manifest.version == "2")
    device.stop()


def test_the_worker_of_one_dies_under_probation_and_both_go_back(tmp_path: Path) -> None:
    device = make_device(tmp_path, Limits(reserve_bytes=0, probation=Probation(max_seconds=600)))
    turned: list[dict[str, str]] = []

    def kill(record: Deployment) -> None:
        if record.state is State.PROBATION and not turned:
            turned.append(device.answering())
            worker(device, "classifier").restarts = 1

    device._at_state = kill
    device.start()
    record = run_job(device, "job-1", install(("unet", "2"), ("classifier", "2")))
    assert turned == [NEW]
    assert (record.outcome, record.code) == (State.FAILED, "ROLLED_BACK")
    assert "PROBATION_REGRESSION" in record.message
    assert device.committed() == device.answering() == OLD
    device.stop()


def worker(device: Device, name: str) -> FakeSession:
    return next(one for one in reversed(device.runtimes.opened) if one.manifest.model == name)


def test_several_models_are_taken_back_all_or_none(device: Device) -> None:
    device.start()
    run_job(device, "job-1", install(("unet", "2")))
    record = device.call(rollback("unet", "classifier"))
    assert (record.outcome, record.code) == (State.REFUSED, "NO_PREVIOUS")
    assert device.committed() == device.answering() == {"unet": "2", "classifier": "1"}
    run_job(device, "job-2", install(("classifier", "2")))
    assert device.call(rollback("unet", "classifier")).outcome is State.COMMITTED
    assert device.committed() == device.answering() == OLD


def test_several_models_are_removed_all_or_none(device: Device) -> None:
    device.maps(line="classifier")
    device.start()
    assert device.call(remove("unet", "classifier")).code == "MODEL_MAPPED"
    assert device.committed() == device.answering() == OLD
    device.maps()
    number = device.store.generations.current().number
    assert device.call(remove("unet", "classifier")).outcome is State.COMMITTED
    assert device.store.generations.current().number == number + 1
    assert device.committed() == device.answering() == {}


@pytest.mark.parametrize(
    "error", [BundleError(Code.MANIFEST_INVALID, "planted"), ActivationError(Code.LOAD_FAILED, "")]
)
@pytest.mark.parametrize(
    "state", [State.DOWNLOADING, State.VERIFIED, State.BUILDING, State.TRIED, State.ACTIVATING, State.PROBATION]
)
def test_whatever_breaks_in_whatever_state_the_generation_is_the_old_one(
    device: Device, state: State, error: AgentError
) -> None:
    step, broke = device.steps._table[state], []

    def fails(record: Deployment, work: object) -> Deployment:
        step(record, work)  # type: ignore[arg-type]
        broke.append(state)
        raise error

    device.steps._table = {**device.steps._table, state: fails}
    before = device.store.generations.current()
    device.start()
    record = run_job(device, "job-1", install(("unet", "2"), ("classifier", "2")))
    assert broke == [state]
    assert record.outcome is State.FAILED
    assert device.store.generations.current() == before
    assert device.committed() == device.answering() == OLD
