"""The deployer where something else fails: disks, reports, sessions; and where two things happen at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from unittest.mock import Mock

import pytest

from edge_agent.config import Deployment as Limits
from edge_agent.config import Probation
from edge_agent.deployment.orders import LocalOrder
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.errors import AgentError, Code, InferenceError, StorageError
from edge_agent.formats import DeploymentReport, JobDocument, ModelVersion, parse
from tests.fakes.deployment import Device, install, new_id, rollback
from tests.fakes.releases import install as install_into
from tests.fakes.releases import make_release

FULL = StorageError(Code.NO_SPACE, "the disk is full")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes nothing is tried again at once."""
    for module in ("deployer", "ledger"):
        monkeypatch.setattr(f"edge_agent.deployment.{module}.RETRY_S", 0.01)


def make_device(directory: Path, *, probation_s: float = 0.0) -> Device:
    """A device with version 1 committed and answering, which is offered version 2."""
    device = Device(directory, limits=Limits(reserve_bytes=0, probation=Probation(max_seconds=probation_s)))
    device.offers(make_release("unet", "1", release_seq=1), make_release("unet", "2", release_seq=2))
    device.already_has(make_release("unet", "1", release_seq=1))
    return device


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = make_device(tmp_path)
    yield device
    device.stop()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Device]:
    """A device that watches what is new for as long as the test wants."""
    device = make_device(tmp_path, probation_s=600.0)
    yield device
    device.stop()


def order(document: dict[str, object]) -> LocalOrder:
    result: Future[DeploymentReport] = Future()
    return LocalOrder(new_id(), parse(JobDocument, document, what="order"), "because", "a test", result)


def when_saved(
    device: Device, monkeypatch: pytest.MonkeyPatch, state: State, then: Callable[[Deployment], None]
) -> threading.Event:
    """Call ``then`` when a record is to be written down in ``state``, before it is; return what says that it was."""
    save, came = device.journal.save, threading.Event()

    def saving(record: Deployment) -> None:
        if record.state is state:
            came.set()
            then(record)
        save(record)

    monkeypatch.setattr(device.journal, "save", saving)
    return came


def ended(device: Device, job_id: str) -> Deployment:
    """Return how the job ended: orders are taken one after the other."""
    device.call(rollback("nobody"))
    record = device.journal.of_job(job_id)
    assert record is not None
    assert record.ended is not None
    return record


def fail_once(error: AgentError) -> Callable[[Deployment], None]:
    errors = [error]

    def fail(_record: Deployment) -> None:
        if errors:
            raise errors.pop()

    return fail


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (State.REFRESHING, "NO_SPACE"),
        (State.DOWNLOADING, "NO_SPACE"),
        (State.ACTIVATING, "NO_SPACE"),
        (State.PROBATION, "ROLLED_BACK"),
        (State.COMMITTED, "ROLLED_BACK"),
    ],
)
def test_a_state_that_cannot_be_written_down_is_not_begun_and_the_old_version_stays(
    device: Device, monkeypatch: pytest.MonkeyPatch, state: State, code: str
) -> None:
    came = when_saved(device, monkeypatch, state, fail_once(FULL))
    device.start()
    device.job("job-2", install(("unet", "2")))
    record = ended(device, "job-2")
    assert came.is_set()
    assert (record.outcome, record.code) == (State.FAILED, code)
    assert "the disk is full" in record.message
    assert device.committed() == device.answering() == {"unet": "1"}
    assert [session.state for session in device.runtimes.opened if session.manifest.version == "2"] in ([], ["CLOSED"])


def test_a_disk_too_full_for_an_engine_stops_an_install_and_no_rollback(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.start()
    assert device.call(install(("unet", "2"))).outcome is State.COMMITTED
    monkeypatch.setattr(device.runtimes, "build", Mock(side_effect=FULL))
    assert device.call(rollback("unet")).outcome is State.COMMITTED
    assert device.committed() == device.answering() == {"unet": "1"}
    record = device.call(install(("unet", "2")))
    assert (record.outcome, record.code) == (State.FAILED, "NO_SPACE")
    assert device.committed() == device.answering() == {"unet": "1"}


def test_on_a_disk_that_stays_full_the_line_is_served_and_the_end_is_told_when_there_is_room(
    watched: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, full, tried = watched, threading.Event(), threading.Semaphore(0)

    def refuse(_record: Deployment) -> None:
        if full.is_set():
            tried.release()
            raise FULL

    for state in (State.ROLLING_BACK, State.FAILED):
        when_saved(device, monkeypatch, state, refuse)
    under_watch = when_saved(device, monkeypatch, State.PROBATION, lambda _record: None)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert under_watch.wait(30)
    full.set()
    device.deployer.cancel("job-2", "CANCELED")
    for _ in range(5):
        assert tried.acquire(timeout=30)
    assert device.answering() == {"unet": "1"}
    assert not [final for job, _, final in device.reports if final]
    full.clear()
    assert (ended(device, "job-2").outcome, device.reports[-1]) == (State.FAILED, ("job-2", "FAILED", True))


def test_a_last_report_that_cannot_be_kept_is_tried_until_it_can(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [FULL] * 3
    told: list[str] = []

    def report(record: Deployment, *, final: bool) -> None:
        if final and refusals:
            raise refusals.pop()
        told.append(f"{record.outcome.value} {final}")

    monkeypatch.setattr(device.deployer._ledger, "_report", report)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert ended(device, "job-2").outcome is State.COMMITTED
    assert (told[-1], refusals) == ("COMMITTED True", [])


def test_progress_that_cannot_be_told_stops_nothing(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(_record: Deployment, *, final: bool) -> None:
        if not final:
            raise FULL

    def blind(_record: Deployment) -> None:
        raise StorageError(Code.STORAGE_FAILED, "nothing can be read")

    monkeypatch.setattr(device.deployer._ledger, "_report", deaf)
    monkeypatch.setattr(device.deployer._ledger, "_observe", blind)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert ended(device, "job-2").outcome is State.COMMITTED


def test_an_order_that_cannot_be_written_down_waits_and_a_call_is_told(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [FULL] * 3

    def refuse(_record: Deployment) -> None:
        if refusals:
            raise refusals.pop()

    when_saved(device, monkeypatch, State.ACCEPTED, refuse)
    device.start()
    with pytest.raises(StorageError, match="the disk is full"):
        device.call(rollback("unet"))
    device.job("job-2", install(("unet", "2")))
    while (known := device.journal.of_job("job-2")) is None or known.ended is None:
        device.deployer.running()
    assert (known.outcome, refusals) == (State.COMMITTED, [])


def test_a_commit_that_cannot_be_noted_in_the_audit_log_is_still_a_commit(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FULL

    monkeypatch.setattr(device.audit, "append", refuse)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert ended(device, "job-2").outcome is State.COMMITTED
    assert device.committed() == device.answering() == {"unet": "2"}


def test_a_commit_stands_though_the_old_session_cannot_be_ended(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InferenceError(Code.FAILED_PRECONDITION, "planted")

    monkeypatch.setattr(device.registry, "retire", refuse)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert ended(device, "job-2").outcome is State.COMMITTED
    assert device.committed() == device.answering() == {"unet": "2"}


def test_a_candidate_that_ends_before_it_is_activated_never_answers(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_saved(device, monkeypatch, State.ACTIVATING, lambda _record: device.runtimes.opened[-1].close())
    device.start()
    device.job("job-2", install(("unet", "2")))
    record = ended(device, "job-2")
    assert (record.outcome, record.code) == (State.FAILED, "ROLLED_BACK")
    assert device.answering() == {"unet": "1"}


def test_an_old_version_that_ended_meanwhile_does_not_take_the_deployer_with_it(
    watched: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = watched
    under_watch = when_saved(device, monkeypatch, State.PROBATION, lambda _record: None)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert under_watch.wait(30)
    device.runtimes.opened[0].close()
    device.deployer.cancel("job-2", "CANCELED")
    assert ended(device, "job-2").code == "ROLLED_BACK"
    assert device.answering() == {}
    assert all(session.state == "CLOSED" for session in device.runtimes.opened)


def test_a_rollback_that_comes_when_the_watch_is_just_over_takes_the_commit_back(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = order(rollback("unet"))
    came = when_saved(device, monkeypatch, State.COMMITTED, fake_offer_once(device, back))
    device.start()
    device.job("job-2", install(("unet", "2")))
    report = back.result.result(30)
    assert came.is_set()
    assert (report.operation, report.state) == ("rollback", "COMMITTED")
    assert device.committed() == device.answering() == {"unet": "1"}


def fake_offer_once(device: Device, back: LocalOrder) -> Callable[[Deployment], None]:
    left = [back]

    def offer(_record: Deployment) -> None:
        if left:
            device.deployer.offer(left.pop())

    return offer


def test_a_job_withdrawn_while_it_is_being_begun_does_not_go_on(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_saved(device, monkeypatch, State.ACCEPTED, lambda record: device.deployer.cancel(record.job_id, "CANCELED"))
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert ended(device, "job-2").outcome is State.CANCELLED
    assert device.committed() == device.answering() == {"unet": "1"}


def test_a_job_withdrawn_before_its_turn_is_not_begun_and_may_come_again(device: Device) -> None:
    device.job("job-2", install(("unet", "2")))
    device.deployer.cancel("job-2", "REMOVED")
    device.start()
    device.call(rollback("nobody"))
    assert device.journal.of_job("job-2") is None
    device.job("job-2", install(("unet", "2")), execution_number=2)
    assert ended(device, "job-2").outcome is State.COMMITTED


def test_a_withdrawn_order_stays_withdrawn_when_its_job_comes_again(device: Device) -> None:
    device.job("job-2", install(("unet", "7")))
    device.deployer.cancel("job-2", "REMOVED")
    device.job("job-2", install(("unet", "2")), execution_number=2)
    device.start()
    assert ended(device, "job-2").outcome is State.COMMITTED
    assert [record.execution_number for record in device.journal.history() if record.job_id] == [2]


def test_another_job_of_the_same_id_is_another_job(device: Device) -> None:
    device.start()
    device.job("again", install(("unet", "1")), queued_at=1000)
    assert ended(device, "again").outcome is State.COMMITTED
    device.job("again", install(("unet", "2")), queued_at=2000)
    assert ended(device, "again").outcome is State.COMMITTED
    assert device.committed() == {"unet": "2"}


def test_a_stop_under_probation_keeps_the_time_that_was_watched(
    watched: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edge_agent.deployment.watching.probation.KEEP_S", 0.0)
    device, seen = watched, threading.Event()

    def look(record: Deployment) -> None:
        if record.probation.seconds > 0.3:
            seen.set()

    when_saved(device, monkeypatch, State.PROBATION, look)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert seen.wait(30)
    device.stop()
    again = Device(tmp_path)
    found = again.journal.running()
    again.journal.close()
    assert found is not None
    assert found.paused
    assert found.probation.seconds > 0.3
    device._open()
    device.start()


def test_a_stop_turns_away_calls_that_wait_and_begins_nothing(watched: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device = watched
    under_watch = when_saved(device, monkeypatch, State.PROBATION, lambda _record: None)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert under_watch.wait(30)
    waiting, late = order(install(("unet", "2"))), order(rollback("unet"))
    device.deployer.offer(waiting)
    device.deployer.stop()
    device.deployer.offer(late)
    for turned_away in (waiting, late):
        with pytest.raises(InferenceError, match="being stopped"):
            turned_away.result.result(30)
    assert [record.job_id for record in device.journal.history()] == ["job-2"]


def test_a_stop_in_the_moment_of_activation_does_not_fail_the_deployment(
    watched: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = watched
    came = when_saved(device, monkeypatch, State.ACTIVATING, lambda _record: device.deployer.stop())
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert came.wait(30)
    device.stop()
    again = Device(tmp_path)
    found = again.journal.running()
    again.journal.close()
    assert found is not None
    assert (found.state, found.paused) == (State.PROBATION, True)
    device._open()
    device.start()


def test_a_commit_is_not_told_before_it_is_durable(device: Device) -> None:
    device.start()
    device.job("job-2", install(("unet", "2")))
    ended(device, "job-2")
    assert [final for job, state, final in device.reports if state == "COMMITTED"] == [True]


def test_a_commit_that_is_being_undone_is_not_told_as_one(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(device.store, "commit", refuse)
    device.start()
    device.job("job-2", install(("unet", "2")))
    ended(device, "job-2")
    told = [state for job, state, _ in device.reports if job == "job-2"]
    assert told[-2:] == ["ROLLING_BACK", "FAILED"]


def test_a_committed_version_that_rotted_is_fetched_again(device: Device) -> None:
    release = make_release("unet", "1", release_seq=1)
    rotten = device.store.directory(release.model_version) / "model.onnx"
    rotten.chmod(0o644)
    rotten.write_bytes(b"rot" * 10)
    with pytest.raises(StorageError):
        device.store.verify(release.model_version)
    device.start()
    device.job("job-1", install(("unet", "1")))
    assert ended(device, "job-1").outcome is State.COMMITTED
    assert device.store.verify(release.model_version) == release.manifest


def test_a_committed_version_that_does_not_answer_is_loaded_by_installing_it(device: Device) -> None:
    session = device.registry.withdraw("unet")
    assert session is not None
    device.registry.retire(session, timeout_s=1)
    device.start()
    device.job("job-1", install(("unet", "1")))
    assert ended(device, "job-1").outcome is State.COMMITTED
    assert device.answering() == {"unet": "1"}


def test_a_commit_found_after_a_restart_answers_also_when_the_start_did_not_get_that_far(tmp_path: Path) -> None:
    device = make_device(tmp_path)
    release = make_release("unet", "2", release_seq=2)
    device.start()
    device.job("job-2", install(("unet", "2")))
    record = ended(device, "job-2")
    device.stop()
    again = Device(tmp_path)
    again.already_has(make_release("unet", "1", release_seq=1))
    again.journal.save(record.model_copy(update={"state": State.COMMITTED, "ended": None}))
    again.offers(release)
    again.start()
    again.call(rollback("nobody"))
    assert again.committed() == again.answering() == {"unet": "2"}
    again.stop()


def test_a_record_that_cannot_be_read_stops_nothing(device: Device) -> None:
    device.journal._database.execute(
        "INSERT INTO deployments VALUES (?, ?, ?, ?, ?)", ("d0", "job-0", 1.0, 0, '{"of": "a newer agent"}')
    )
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert ended(device, "job-2").outcome is State.COMMITTED
    assert [record.job_id for record in device.journal.history() if record.job_id] == ["job-2"]


def test_what_cannot_be_quarantined_is_rolled_back_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = make_device(tmp_path, probation_s=600)
    under_watch = when_saved(device, monkeypatch, State.PROBATION, lambda _record: None)
    device.start()
    device.job("job-2", install(("unet", "2")))
    assert under_watch.wait(30)
    device.stop()
    again = make_device(tmp_path)
    found = again.journal.running()
    assert found is not None
    again.journal.save(found.model_copy(update={"unclean_ends": 2, "paused": False}))

    def refuse(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(again.store, "quarantine", refuse)
    again.start()
    assert ended(again, "job-2").code == "ROLLED_BACK"
    again.stop()


def test_an_end_leaves_engines_of_what_is_kept_only(device: Device) -> None:
    device.start()
    device.job("job-2", install(("unet", "2")))
    ended(device, "job-2")
    assert device.runtimes.kept_engines == {"unet 1", "unet 2"}


def test_what_another_client_has_loaded_stays_on_disk(device: Device) -> None:
    local = make_release("local", "1")
    install_into(device.store, local)
    session = device.runtimes.open(device.store.directory(local.model_version), local.manifest)
    device.registry.activate({"local": session})  # type: ignore[dict-item]
    device.start()
    device.job("job-2", install(("unet", "2")))
    ended(device, "job-2")
    assert ModelVersion("local", "1") in device.store.installed()
