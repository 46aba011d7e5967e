"""The operations that bring nothing: a model is removed, or judged by another threshold."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.deployment import plan
from edge_agent.deployment.record import Deployment, status_details, to_report
from edge_agent.deployment.states import State
from edge_agent.errors import Code, DocumentError, RefusedError, StorageError
from edge_agent.formats import EncodedPicture, JobDocument, ModelVersion, parse
from edge_agent.inference import DataPlane
from tests.fakes.deployment import Device, configure, install, remove, rollback
from tests.fakes.releases import Release, make_release
from tests.fakes.sessions import fake_session

RANGE = {"decision": {"threshold": 0.5, "threshold_range": [0.3, 0.7]}}


def unet(version: str) -> Release:
    return make_release("unet", version, release_seq=int(version), **RANGE)


CLASSIFIER = make_release("classifier", "1", **RANGE)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device with two models that answer, of which one is mapped, and which is offered a new version."""
    device = Device(tmp_path)
    device.offers(unet("1"), unet("2"), CLASSIFIER)
    device.already_has(unet("1"), CLASSIFIER)
    device.maps(line="classifier")
    device.start()
    yield device
    device.stop()


def run_job(device: Device, job_id: str, document: dict[str, object]) -> Deployment:
    device.job(job_id, document)
    device.call(rollback("nobody"))
    record = device.journal.of_job(job_id)
    assert record is not None
    assert record.ended is not None
    return record


def thresholds(device: Device) -> dict[str, float | None]:
    return {name: entry.threshold for name, entry in device.store.generations.current().models.items()}


def in_force(device: Device, name: str, version: str) -> float | None:
    return device.registry.threshold(ModelVersion(name, version))


def states_of(record: Deployment) -> list[str]:
    return [entry.state for entry in record.states]


def test_a_removed_model_answers_no_longer_and_its_content_goes(device: Device) -> None:
    session = device.registry.active()["unet"]
    record = run_job(device, "job-1", remove("unet"))
    assert (record.outcome, states_of(record)[:3]) == (State.COMMITTED, ["ACCEPTED", "CHECKING", "COMMITTED"])
    assert [(t.name, t.from_, t.to) for t in record.targets] == [("unet", "1", None)]
    assert device.committed() == device.answering() == {"classifier": "1"}
    assert session.state == "CLOSED"
    assert device.store.installed() == [ModelVersion("classifier", "1")]
    assert [state for job, state, final in device.reports if job == "job-1" and final] == ["COMMITTED"]
    assert json.loads((device.directory / "audit.log").read_text().splitlines()[-1])["operation"] == "remove"


def test_a_removed_model_may_be_installed_again(device: Device) -> None:
    device.call(remove("unet"))
    assert device.call(install(("unet", "1"))).outcome is State.COMMITTED
    assert device.answering() == {"unet": "1", "classifier": "1"}


@pytest.mark.parametrize(
    ("document", "code", "told"),
    [
        (remove("classifier"), "MODEL_MAPPED", "line"),
        (remove("unet", "classifier"), "MODEL_MAPPED", "line"),
        (remove("padim"), "NOT_FOUND", "padim is not installed"),
        (
            {
                "schema": "edge-agent/job/1",
                "operation": "remove",
                "models": [{"name": "unet", "version": "7"}],
            },
            "WRONG_VERSION",
            "1 is committed",
        ),
        (configure(unet=0.71), "OUT_OF_RANGE", "0.3 to 0.7"),
        (configure(unet=0.6, classifier=0.1), "OUT_OF_RANGE", "0.3 to 0.7"),
        (configure(padim=0.5), "NOT_FOUND", "padim is not installed"),
    ],
)
def test_what_an_operation_may_not_do_is_refused_and_nothing_changes(
    device: Device, document: dict[str, object], code: str, told: str
) -> None:
    before = device.store.generations.current()
    record = run_job(device, "job-1", document)
    assert (record.outcome, record.code) == (State.REFUSED, code)
    assert told in record.message
    assert device.store.generations.current() == before
    assert device.answering() == {"unet": "1", "classifier": "1"}


def test_a_mapping_that_was_written_but_not_read_yet_protects_its_model_too(device: Device) -> None:
    device.maps(line="classifier", other="unet")
    assert device.call(remove("unet")).code == "MODEL_MAPPED"


def test_a_model_that_was_mapped_when_the_mappings_were_read_is_protected_until_they_are_read_again(
    tmp_path: Path,
) -> None:
    device = Device(tmp_path)
    device.already_has(unet("1"))
    device.commits._asked_by = lambda model: ["line"] if model == "unet" else []
    device.start()
    assert device.call(remove("unet")).code == "MODEL_MAPPED"
    device.stop()


def test_mappings_that_cannot_be_read_let_no_model_go(device: Device) -> None:
    (device.directory / "models_config.json").write_text("{")
    record = device.call(remove("unet"))
    assert (record.outcome, record.code) == (State.FAILED, "DOCUMENT_INVALID")
    assert device.answering() == {"unet": "1", "classifier": "1"}


def test_a_threshold_is_durable_and_in_force_without_a_new_session(device: Device) -> None:
    opened = len(device.runtimes.opened)
    record = run_job(device, "job-1", configure(unet=0.6))
    assert record.outcome is State.COMMITTED
    assert thresholds(device) == {"unet": 0.6, "classifier": None}
    assert in_force(device, "unet", "1") == 0.6
    assert in_force(device, "classifier", "1") is None
    assert len(device.runtimes.opened) == opened
    checking = record.states[1].figures
    assert (checking["unet_threshold_before"], checking["unet_threshold"]) == (0.5, 0.6)
    assert to_report(record).models[0].threshold == 0.6
    assert status_details(record)["models"] == "unet 1 threshold 0.6"
    assert json.loads((device.directory / "audit.log").read_text().splitlines()[-1])["thresholds"] == {"unet": 0.6}


def test_null_returns_to_the_signed_threshold(device: Device) -> None:
    device.call(configure(unet=0.6))
    record = device.call(configure(unet=None))
    assert record.outcome is State.COMMITTED
    assert thresholds(device)["unet"] is None
    assert in_force(device, "unet", "1") is None
    assert status_details(record)["models"] == "unet 1 threshold as signed"


def test_the_same_threshold_again_makes_no_new_generation(device: Device) -> None:
    device.call(configure(unet=0.6))
    number = device.store.generations.current().number
    assert device.call(configure(unet=0.6)).outcome is State.COMMITTED
    assert device.store.generations.current().number == number


def test_a_new_version_starts_with_its_signed_threshold_and_a_rollback_brings_the_old_ones_back(
    device: Device,
) -> None:
    device.call(configure(unet=0.6))
    device.call(install(("unet", "2")))
    assert (in_force(device, "unet", "2"), thresholds(device)["unet"]) == (None, None)
    device.call(configure(unet=0.4))
    assert device.call(rollback("unet")).outcome is State.COMMITTED
    assert (in_force(device, "unet", "1"), thresholds(device)["unet"]) == (0.6, 0.6)
    assert in_force(device, "unet", "2") is None


def test_a_threshold_survives_a_restart_and_what_is_installed_beside_it(device: Device, tmp_path: Path) -> None:
    device.call(configure(unet=0.6))
    device.offers(make_release("classifier", "2", release_seq=2))
    device.call(install(("classifier", "2")))
    again = Device(tmp_path)
    again.serve(unet("1"))
    assert in_force(again, "unet", "1") == 0.6
    again.journal.close()


@pytest.mark.parametrize("document", [configure(unet=0.6), remove("unet")])
def test_a_generation_that_cannot_be_written_changes_nothing(
    device: Device, monkeypatch: pytest.MonkeyPatch, document: dict[str, object]
) -> None:
    came = []

    def full(*_wanted: object) -> None:
        came.append(1)
        raise StorageError(Code.NO_SPACE, "the disk is full")

    monkeypatch.setattr(device.store, "commit", full)
    record = run_job(device, "job-1", document)
    assert came
    assert (record.outcome, record.code) == (State.FAILED, "ROLLED_BACK")
    assert "the disk is full" in record.message
    assert (in_force(device, "unet", "1"), thresholds(device)["unet"]) == (None, None)
    assert device.answering() == {"unet": "1", "classifier": "1"}


def test_the_threshold_that_was_set_reaches_each_request_for_its_version(tmp_path: Path) -> None:
    asked: list[float | None] = []
    session = fake_session(tmp_path, "1")
    inspect = session.inspect

    def noting(*args: object, threshold: float | None = None, **more: object) -> object:
        asked.append(threshold)
        return inspect(*args, **more)  # type: ignore[arg-type]

    session.inspect = noting  # type: ignore[method-assign,assignment]
    device = Device(tmp_path / "device")
    device.registry.activate({"bright": session})
    plane = DataPlane(device.registry)
    for settings in ({}, {ModelVersion("bright", "1"): 0.62}, {ModelVersion("bright", "2"): 0.7}):
        device.serving.use_thresholds(settings)
        plane.inspect("bright", EncodedPicture(b""), timeout_s=10, with_mask=False)
    plane.inspect("bright", EncodedPicture(b""), timeout_s=10, with_mask=False, threshold=0.2)
    assert asked == [None, 0.62, None, 0.2]
    device.journal.close()


@pytest.mark.parametrize(
    "document",
    [
        configure(unet=0.6) | {"models": [{"name": "unet"}]},
        configure(unet=0.6) | {"operation": "install", "models": [{"name": "unet", "version": "1", "threshold": 0.6}]},
        configure(unet=1.01),
        configure(unet=-0.1),
        configure(unet=float("nan")),
        {**configure(unet=0.6), "models": [{"name": "unet", "threshold": "0.6"}]},
        {**configure(unet=0.6), "models": [{"name": "unet", "threshold": True}]},
        {**configure(unet=0.6), "capture": {"url": "s3://elsewhere/"}},
        {**configure(unet=0.6), "policy": {"capture_url": "s3://elsewhere/"}},
        {**remove("unet"), "models": [{"name": "unet", "captures": "s3://elsewhere/"}]},
        remove(),
        remove("unet", "unet"),
    ],
)
def test_a_job_that_says_more_or_less_than_its_operation_needs_is_no_job(document: dict[str, object]) -> None:
    with pytest.raises(DocumentError):
        parse(JobDocument, document, what="job document")


def test_where_captures_go_is_never_taken_from_a_job(device: Device) -> None:
    record = run_job(device, "job-1", install(("unet", "2"), capture={"url": "s3://elsewhere/pictures"}))
    assert (record.outcome, record.code) == (State.REFUSED, "JOB_INVALID")
    assert "capture: unknown field" in record.message


OLD_JOB = {
    "type": "new_model",
    "model_version": "1",
    "model_name": "img-classification",
    "model_package_bucket": "line",
    "model_package_key": "img-classification-1.tar.gz",
}


def test_the_old_workshops_package_is_rejected_where_it_is_not_allowed() -> None:
    with pytest.raises(RefusedError, match="takes signed ones only") as refused:
        plan.read_job(OLD_JOB)
    assert refused.value.code is Code.UNSIGNED_PACKAGE
    assert "img-classification 1" in refused.value.message


def test_the_old_workshops_job_is_an_install_out_of_its_package_where_that_is_allowed() -> None:
    document = plan.read_job(OLD_JOB, allow_unsigned_packages=True)
    assert document == parse(JobDocument, install(("img-classification", "1")), what="job document")
    assert str(plan.package_of(OLD_JOB)) == "line/img-classification-1.tar.gz"
    assert plan.package_of(install(("img-classification", "1"))) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"model_package_key": "../other.tar.gz"},
        {"model_package_key": "/etc/passwd"},
        {"model_package_key": "a//b"},
        {"model_package_key": ""},
        {"model_package_key": "a\\b"},
        {"model_package_key": "a\nb"},
        {"model_package_bucket": "s3://line"},
        {"model_package_bucket": ""},
        {"model_name": "../x"},
        {"model_version": "one"},
        {"capture": "s3://elsewhere"},
    ],
    ids=str,
)
def test_a_bad_field_of_the_old_workshops_job_is_named(changes: dict[str, object]) -> None:
    with pytest.raises(DocumentError, match=next(iter(changes))):
        plan.read_job(OLD_JOB | changes, allow_unsigned_packages=True)


def test_a_name_that_would_break_a_report_is_not_repeated_in_it() -> None:
    with pytest.raises(RefusedError, match="without a name") as refused:
        plan.read_job({"type": "new_model", "model_name": "a\nb", "model_version": ""})
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("threshold", [0.6, None])
def test_a_configure_is_written_as_it_was_read_null_included(threshold: float | None) -> None:
    document = parse(JobDocument, configure(unet=threshold), what="job document")
    written = json.loads(document.to_json())
    assert written["models"] == [{"name": "unet", "threshold": threshold}]
    assert parse(JobDocument, written, what="job document") == document
    assert "threshold" not in json.loads(parse(JobDocument, install(("unet", "1")), what="job").to_json())["models"][0]
