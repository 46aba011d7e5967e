"""The deployer on a real store: what is committed, what answers, and what the cloud is told."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.config import Deployment as Limits
from edge_agent.config import Probation
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.errors import Code, InferenceError, TransferError
from edge_agent.formats import ModelVersion
from edge_agent.inference import Watcher
from tests.fakes.deployment import Device, install, rollback
from tests.fakes.releases import make_release


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    device.offers(
        make_release("unet", "1", release_seq=1),
        make_release("unet", "2", release_seq=2),
        make_release("classifier", "1", release_seq=1),
    )
    device.start()
    yield device
    device.stop()


def ended(device: Device, job_id: str) -> Deployment:
    record = device.journal.of_job(job_id)
    assert record is not None
    assert record.ended is not None
    return record


def run_job(device: Device, job_id: str, document: dict[str, object]) -> Deployment:
    """Offer a job and wait until its final report: orders are taken one after the other."""
    device.job(job_id, document)
    device.call(rollback("nobody"))
    return ended(device, job_id)


def test_an_install_is_committed_answers_and_is_reported(device: Device) -> None:
    record = run_job(device, "job-1", install(("unet", "1")))
    assert record.outcome is State.COMMITTED
    assert device.committed() == device.answering() == {"unet": "1"}
    assert [state for job, state, final in device.reports if job == "job-1" and final] == ["COMMITTED"]
    assert [entry.state for entry in record.states][:3] == ["ACCEPTED", "REFRESHING", "CHECKING"]


def test_several_models_are_committed_all_or_none(device: Device) -> None:
    device.runtimes.bad[ModelVersion("unet", "1")] = Code.GOLDEN_MISMATCH
    record = run_job(device, "job-1", install(("classifier", "1"), ("unet", "1")))
    assert (record.outcome, record.code) == (State.FAILED, "GOLDEN_MISMATCH")
    assert device.committed() == device.answering() == {}
    assert all(session.state == "CLOSED" for session in device.runtimes.opened)


def test_a_job_offered_again_is_answered_again_and_done_once(device: Device) -> None:
    run_job(device, "job-1", install(("unet", "1")))
    fetched = len(device.blobs.fetched)
    run_job(device, "job-1", install(("unet", "1")))
    assert len(device.blobs.fetched) == fetched
    assert [final for job, _, final in device.reports if job == "job-1" and final] == [True, True]


def test_what_is_already_current_is_confirmed_without_a_download(device: Device) -> None:
    run_job(device, "job-1", install(("unet", "1")))
    before = len(device.blobs.fetched), device.store.generations.current().number
    assert run_job(device, "job-2", install(("unet", "1"))).outcome is State.COMMITTED
    assert (len(device.blobs.fetched), device.store.generations.current().number) == before


def test_an_older_release_is_refused(device: Device) -> None:
    run_job(device, "job-1", install(("unet", "2")))
    record = run_job(device, "job-2", install(("unet", "1")))
    assert (record.outcome, record.code) == (State.REFUSED, "DOWNGRADE")
    assert device.committed() == {"unet": "2"}


def test_a_revoked_release_is_refused_also_for_a_rollback(device: Device) -> None:
    run_job(device, "job-1", install(("unet", "1")))
    run_job(device, "job-2", install(("unet", "2")))
    device.releases.floors["unet"] = 2
    assert device.call(rollback("unet")).code == "BELOW_FLOOR"
    assert device.answering() == {"unet": "2"}


def test_a_rollback_returns_to_the_previous_version_and_only_once(device: Device) -> None:
    run_job(device, "job-1", install(("unet", "1")))
    run_job(device, "job-2", install(("unet", "2")))
    record = device.call(rollback("unet"))
    assert record.outcome is State.COMMITTED
    assert [(target.from_, target.to) for target in record.targets] == [("2", "1")]
    assert device.committed() == device.answering() == {"unet": "1"}
    assert device.call(rollback("unet")).code == "NO_PREVIOUS"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"type": "new_model", "model_name": "unet"}, "UNSIGNED_PACKAGE"),
        ({}, "JOB_INVALID"),
        (install(("unet", "one")), "JOB_INVALID"),
        (install(("unet", "1"), extra=1), "JOB_INVALID"),
        (install(("unet", "9")), "RELEASE_UNKNOWN"),
    ],
)
def test_a_job_that_makes_no_sense_is_rejected_with_the_reason(
    device: Device, document: dict[str, object], code: str
) -> None:
    record = run_job(device, "job-1", document)
    assert (record.outcome, record.code) == (State.REFUSED, code)
    assert record.message
    assert device.committed() == {}


def test_a_network_that_fails_for_a_while_only_takes_time(device: Device) -> None:
    device.releases.troubles = [TransferError(Code.TRANSFER_FAILED, "no route")] * 3
    assert run_job(device, "job-1", install(("unet", "1"))).outcome is State.COMMITTED


def test_a_fault_of_ours_fails_the_deployment_and_not_the_thread(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(device.releases, "refresh", broken)
    record = run_job(device, "job-1", install(("unet", "1")))
    assert (record.outcome, record.code) == (State.FAILED, "INTERNAL")
    monkeypatch.undo()
    assert run_job(device, "job-2", install(("unet", "1"))).outcome is State.COMMITTED


class Halted:
    """A device whose deployment stands still in one state until the test lets it go."""

    def __init__(self, directory: Path, state: State, *, probation_s: float = 0.0) -> None:
        self.there, self.go_on = threading.Event(), threading.Event()
        self._state = state
        limits = Limits(reserve_bytes=0, probation=Probation(max_seconds=probation_s))
        self.device = Device(directory, limits=limits, at_state=self._halt)
        self.device.offers(make_release("unet", "1", release_seq=1), make_release("unet", "2", release_seq=2))
        self.device.already_has(make_release("unet", "1", release_seq=1))
        self.device.start()

    def _halt(self, record: Deployment) -> None:
        if record.state is self._state and not self.there.is_set() and record.targets[0].to == "2":
            self.there.set()
            assert self.go_on.wait(30)


@pytest.mark.parametrize("state", [State.REFRESHING, State.DOWNLOADING, State.BUILDING, State.SHADOW])
def test_a_cancelled_job_stops_before_it_touches_what_answers(tmp_path: Path, state: State) -> None:
    halted = Halted(tmp_path, state)
    device = halted.device
    device.job("job-2", install(("unet", "2")))
    assert halted.there.wait(30)
    device.deployer.cancel("job-2", "CANCELED")
    halted.go_on.set()
    device.call(rollback("nobody"))
    assert (ended(device, "job-2").outcome, ended(device, "job-2").code) == (State.CANCELLED, "CANCELLED")
    assert device.committed() == device.answering() == {"unet": "1"}
    device.stop()


def test_a_rollback_under_probation_returns_to_the_old_version_at_once(tmp_path: Path) -> None:
    halted = Halted(tmp_path, State.PROBATION, probation_s=600)
    device = halted.device
    device.job("job-2", install(("unet", "2")))
    assert halted.there.wait(30)
    assert device.answering() == {"unet": "2"}
    halted.go_on.set()
    record = device.call(rollback("unet"))
    assert (record.job_id, record.outcome, record.code) == ("job-2", State.FAILED, "SUPERSEDED")
    assert "taken back by a test" in record.message
    assert device.committed() == device.answering() == {"unet": "1"}
    device.stop()


def test_a_candidate_that_loses_its_worker_under_probation_is_taken_back(tmp_path: Path) -> None:
    halted = Halted(tmp_path, State.PROBATION, probation_s=600)
    device = halted.device
    device.job("job-2", install(("unet", "2")))
    assert halted.there.wait(30)
    device.runtimes.opened[-1].restarts = 1
    halted.go_on.set()
    device.call(rollback("nobody"))
    record = ended(device, "job-2")
    assert record.code == "ROLLED_BACK"
    assert "PROBATION_REGRESSION" in record.message
    assert device.answering() == {"unet": "1"}
    device.stop()


def test_an_agent_stopped_in_good_order_goes_on_with_the_deployment(tmp_path: Path) -> None:
    halted = Halted(tmp_path, State.PROBATION, probation_s=600)
    device = halted.device
    device.job("job-2", install(("unet", "2")))
    assert halted.there.wait(30)
    halted.go_on.set()
    device.stop()
    again = Device(tmp_path, limits=Limits(reserve_bytes=0))
    record = again.journal.running()
    assert record is not None
    assert (record.state, record.paused, record.unclean_ends) == (State.PROBATION, True, 0)
    # The record keeps the policy it was accepted with; time served counts.
    again.journal.save(record.model_copy(update={"probation": record.probation.model_copy(update={"seconds": 600.0})}))
    again.offers(make_release("unet", "2", release_seq=2))
    again.start()
    again.call(rollback("nobody"))
    assert ended(again, "job-2").outcome is State.COMMITTED
    assert again.answering() == {"unet": "2"}
    again.stop()


class Answering:
    """A device under probation whose new version is asked as soon as anyone watches."""

    def __init__(self, directory: Path, policy: Probation, error: InferenceError | None) -> None:
        self.device = Device(directory, limits=Limits(reserve_bytes=0, probation=policy))
        self.device.offers(make_release("unet", "2", release_seq=2))
        self.device.already_has(make_release("unet", "1", release_seq=1))
        watch = self.device.watch

        def asked(watcher: Watcher) -> Callable[[], None]:
            end = watch(watcher)
            for _ in range(5):
                self.device.answers("unet", "1", InferenceError(Code.INTERNAL, "the old version's own"))
                self.device.answers("unet", "2", error)
            return end

        self.device.serving._watch = asked
        self.device.start()


def test_probation_ends_when_the_new_version_has_answered_enough(tmp_path: Path) -> None:
    device = Answering(tmp_path, Probation(min_requests=5), None).device
    record = run_job(device, "job-2", install(("unet", "2")))
    assert record.outcome is State.COMMITTED
    assert record.probation.requests == 5
    device.stop()


@pytest.mark.parametrize(("code", "outcome"), [(Code.INTERNAL, State.FAILED), (Code.INVALID_ARGUMENT, State.COMMITTED)])
def test_a_failure_of_its_own_takes_the_new_version_back_a_callers_mistake_does_not(
    tmp_path: Path, code: Code, outcome: State
) -> None:
    device = Answering(tmp_path, Probation(min_requests=5), InferenceError(code, "planted")).device
    record = run_job(device, "job-2", install(("unet", "2")))
    assert record.outcome is outcome
    assert device.answering() == {"unet": "1" if outcome is State.FAILED else "2"}
    device.stop()
