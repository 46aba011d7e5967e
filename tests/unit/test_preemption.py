"""A queued rollback of a model under watch ends that watch, is fulfilled by it, and goes not one version too far."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import Deployment as Limits
from edge_agent.config import Probation, Shadow
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.errors import Code, InferenceError, StorageError
from tests.fakes.deployment import Device, install, rollback
from tests.fakes.releases import make_release

FULL = StorageError(Code.NO_SPACE, "the disk is full")
VERSIONS = [make_release("unet", version, release_seq=int(version)) for version in ("1", "2", "3", "4")]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes nothing is tried again at once."""
    for module in ("deployer", "ledger"):
        monkeypatch.setattr(f"edge_agent.deployment.{module}.RETRY_S", 0.01)


class Power(BaseException):
    """The power is cut here."""


class Cut:
    """A device that watches for ever, stands still when a record is written in one state, or loses power there."""

    def __init__(self, directory: Path, *, watched: State = State.PROBATION) -> None:
        self.directory, self.watched = directory, watched
        self.device = self._make()
        for release in VERSIONS:
            self.device.offers(release)
        self.device.start()
        for version in ("1", "2"):
            self.device.job(f"install-{version}", install(("unet", version), policy={}))
        self.device.call(rollback("nobody"))
        assert self.device.answering() == {"unet": "2"}
        self.device.stop()
        self.under_watch = threading.Event()
        self.device = self.again()

    def _make(self, policy_s: float = 0.0) -> Device:
        shadow = Shadow(max_seconds=policy_s if self.watched is State.SHADOW else 0.0)
        probation = Probation(max_seconds=policy_s if self.watched is State.PROBATION else 0.0)
        return Device(
            self.directory, limits=Limits(reserve_bytes=0, shadow=shadow, probation=probation), at_state=self._look
        )

    def _look(self, record: Deployment) -> None:
        if record.state is self.watched and record.targets[0].to == "3":
            self.under_watch.set()

    def again(self) -> Device:
        """Return the device after a restart, what is committed answering."""
        self.device = self._make(600.0)
        for release in VERSIONS:
            self.device.offers(release)
        current = self.device.committed()["unet"]
        self.device.serve(*(release for release in VERSIONS if release.manifest.version == current))
        return self.device

    def watch(self) -> Device:
        """Let version 3 come under watch."""
        self.device.start()
        self.device.job("new", install(("unet", "3")))
        assert self.under_watch.wait(30)
        return self.device

    def ended(self, job_id: str) -> Deployment:
        """Return how the job ended: orders are taken one after the other."""
        self.device.call(rollback("nobody"))
        record = self.device.journal.of_job(job_id)
        assert record is not None
        assert record.ended is not None
        return record


@pytest.fixture
def cut(tmp_path: Path) -> Iterator[Cut]:
    cut = Cut(tmp_path)
    yield cut
    cut.device.stop()


@pytest.mark.parametrize("state", [State.SHADOW, State.PROBATION])
def test_a_queued_rollback_of_the_same_model_preempts_one_under_watch_and_is_fulfilled_by_its_end(
    tmp_path: Path, state: State
) -> None:
    cut = Cut(tmp_path, watched=state)
    device = cut.watch()
    assert device.answering() == {"unet": "3" if state is State.PROBATION else "2"}
    device.queue(("older", install(("unet", "4"))), ("back", rollback("unet")))
    watched = cut.ended("new")
    assert (watched.outcome, watched.code) == (State.FAILED, "SUPERSEDED")
    assert "job back" in watched.message
    assert device.answering() == {"unet": "2"}
    assert device.preferred == ["back"]
    device.job("back", rollback("unet"))
    record = cut.ended("back")
    assert (record.outcome, record.fulfilled_by) == (State.COMMITTED, watched.id)
    assert [(target.from_, target.to) for target in record.targets] == [("3", "2")]
    assert device.committed() == device.answering() == {"unet": "2"}
    finals = [(job, state) for job, state, final in device.reports if final]
    assert finals[-2:] == [("new", "FAILED"), ("back", "COMMITTED")]
    device.stop()


def test_a_rollback_that_was_queued_before_the_watch_began_ends_it_as_it_begins(cut: Cut) -> None:
    cut.device.queue(("back", rollback("unet")))
    cut.device.start()
    cut.device.job("new", install(("unet", "3")))
    assert cut.ended("new").code == "SUPERSEDED"
    assert cut.device.preferred == ["back"]
    assert cut.device.answering() == {"unet": "2"}


def test_a_rollback_job_ends_the_watch_of_what_a_call_installed(cut: Cut) -> None:
    device = cut.device
    device.start()
    caller = threading.Thread(target=lambda: device.call(install(("unet", "3"))))
    caller.start()
    assert cut.under_watch.wait(30)
    device.job("back", rollback("unet"))  # the cloud knows of no other job, so it is offered at once
    caller.join(30)
    assert not caller.is_alive()
    back = cut.ended("back")
    watched = device.journal.history(identity=back.fulfilled_by)[0]
    assert (watched.job_id, watched.code, back.outcome) == ("", "SUPERSEDED", State.COMMITTED)
    assert device.committed() == device.answering() == {"unet": "2"}


def test_a_call_that_waited_when_the_watch_began_ends_it_as_it_begins(cut: Cut) -> None:
    reached, go_on = threading.Event(), threading.Event()
    refresh = cut.device.releases.refresh

    def held(*given: Any) -> None:
        reached.set()
        assert go_on.wait(30)
        refresh(*given)

    cut.device.releases.refresh = held  # type: ignore[method-assign]
    cut.device.start()
    cut.device.job("new", install(("unet", "3")))
    assert reached.wait(30)
    answers: list[Deployment] = []
    caller = threading.Thread(target=lambda: answers.append(cut.device.call(rollback("unet"))))
    caller.start()
    while not any(cut.device.deployer._desk._inbox):
        pass
    go_on.set()
    caller.join(30)
    assert [(record.job_id, record.code) for record in answers] == [("new", "SUPERSEDED")]
    assert cut.device.committed() == {"unet": "2"}


@pytest.mark.parametrize(
    "document",
    [
        rollback("other"),
        rollback("unet", "other"),
        install(("unet", "4")),
        {"schema": "edge-agent/job/1", "operation": "rollback", "models": [{"name": "unet", "version": "1"}]},
        {"type": "new_model", "model_name": "unet"},
        {},
    ],
    ids=["another model", "one more model", "an install", "another version", "an old package", "no sense"],
)
def test_any_other_job_in_the_queue_waits_for_its_turn(cut: Cut, document: dict[str, object]) -> None:
    device = cut.watch()
    device.queue(("other", document))
    running = device.deployer.running()
    assert running is not None
    assert (running.state, device.preferred) == (State.PROBATION, [])
    assert device.deployer._desk.why_given_up() is None


def test_a_rollback_that_names_the_version_before_ends_the_watch(cut: Cut) -> None:
    device = cut.watch()
    named = {"schema": "edge-agent/job/1", "operation": "rollback", "models": [{"name": "unet", "version": "2"}]}
    device.queue(("back", named))
    assert cut.ended("new").code == "SUPERSEDED"


def test_a_watch_that_was_just_over_commits_and_the_rollback_takes_that_back(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.formats.ProbationPolicy.is_over", lambda *_: True)
    save, queued = cut.device.journal.save, threading.Event()

    def saving(record: Deployment) -> None:
        if record.state is State.COMMITTED and record.job_id == "new" and not queued.is_set():
            queued.set()
            cut.device.queue(("back", rollback("unet")))
        save(record)

    monkeypatch.setattr(cut.device.journal, "save", saving)
    cut.watch()
    assert cut.ended("new").outcome is State.COMMITTED
    assert queued.is_set()
    cut.device.job("back", rollback("unet"))
    record = cut.ended("back")
    assert (record.outcome, record.fulfilled_by) == (State.COMMITTED, "")
    assert cut.device.committed() == cut.device.answering() == {"unet": "2"}


def test_a_commit_that_failed_while_the_rollback_came_is_not_taken_back_twice(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.formats.ProbationPolicy.is_over", lambda *_: True)
    save, refused = cut.device.journal.save, threading.Event()

    def saving(record: Deployment) -> None:
        if record.state is State.COMMITTED and record.job_id == "new" and not refused.is_set():
            # The order comes while the watch lasts, as far as anyone was told, and the commit then fails.
            cut.device.queue(("back", rollback("unet")))
            refused.set()
            raise FULL
        save(record)

    monkeypatch.setattr(cut.device.journal, "save", saving)
    cut.watch()
    watched = cut.ended("new")
    assert refused.is_set()
    assert (watched.outcome, watched.superseded_by is not None) == (State.FAILED, True)
    cut.device.job("back", rollback("unet"))
    assert cut.ended("back").fulfilled_by == watched.id
    assert cut.device.committed() == cut.device.answering() == {"unet": "2"}


def test_the_next_rollback_is_one_more(cut: Cut) -> None:
    cut.watch().queue(("back", rollback("unet")))
    cut.ended("new")
    cut.device.job("back", rollback("unet"))
    assert cut.ended("back").fulfilled_by
    cut.device.job("back-again", rollback("unet"))
    assert cut.ended("back-again").outcome is State.COMMITTED
    assert cut.device.committed() == {"unet": "1"}


def test_another_job_of_the_rollbacks_id_is_not_fulfilled_by_what_came_before_it(cut: Cut) -> None:
    cut.watch().queue(("back", rollback("unet")))
    cut.ended("new")
    cut.device.job("back", rollback("unet"), queued_at=1_900_000_000)
    record = cut.ended("back")
    assert (record.fulfilled_by, record.outcome) == ("", State.COMMITTED)
    assert cut.device.committed() == {"unet": "1"}


def crash_when(device: Device, monkeypatch: pytest.MonkeyPatch, job_id: str, state: str, when: str) -> threading.Event:
    """Lose power before or after the record of a job is written in a state; ``state`` may be ENDED."""
    save, cut = device.journal.save, threading.Event()

    def saving(record: Deployment) -> None:
        here = record.job_id == job_id and (
            record.state.value == state and record.ended is None if state != "ENDED" else record.ended is not None
        )
        if here and when == "after":
            save(record)
        if cut.is_set() or here:
            cut.set()
            raise Power
        save(record)

    monkeypatch.setattr(device.journal, "save", saving)
    return cut


POINTS = [
    *(("new", state, when) for state in ("ROLLING_BACK", "FAILED", "ENDED") for when in ("before", "after")),
    *(("back", state, when) for state in ("COMMITTED", "ENDED") for when in ("before", "after")),
]


@pytest.mark.parametrize(("job_id", "state", "when"), POINTS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_power_cut_at_any_point_between_the_two_jobs_takes_back_one_version_and_not_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_id: str, state: str, when: str
) -> None:
    cut = Cut(tmp_path)
    device = cut.device
    lost = crash_when(device, monkeypatch, job_id, state, when)
    cut.watch()
    device.queue(("back", rollback("unet")))
    device.job("back", rollback("unet"))
    thread = device._thread
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()
    assert lost.is_set()
    device.journal.close()
    monkeypatch.undo()

    again = cut.again()
    assert again.journal.owed() in ("", "back")
    again.queue(("back", rollback("unet")))
    again.start()
    if again.journal.of_job("new") is None:
        raise AssertionError("the watched deployment is forgotten")
    again.job("back", rollback("unet"))
    watched, back = cut.ended("new"), cut.ended("back")
    assert (watched.outcome, watched.code) == (State.FAILED, "SUPERSEDED")
    assert (back.outcome, back.fulfilled_by) == (State.COMMITTED, watched.id)
    assert again.committed() == again.answering() == {"unet": "2"}
    assert again.journal.owed() == ""
    again.stop()


def test_the_job_that_ended_a_watch_is_owed_its_turn_until_it_began(cut: Cut) -> None:
    cut.watch().queue(("back", rollback("unet")))
    cut.ended("new")
    assert cut.device.journal.owed() == "back"
    cut.device.job("back", rollback("unet"))
    cut.ended("back")
    assert cut.device.journal.owed() == ""


def test_a_call_and_a_job_that_end_the_same_watch_take_back_one_version(cut: Cut) -> None:
    device = cut.watch()
    device.queue(("back", rollback("unet")))
    try:
        record = device.call(rollback("unet"))
    except InferenceError as exc:  # the watch was over before the call came
        raise AssertionError("the call was turned away") from exc
    device.job("back", rollback("unet"))
    assert cut.ended("back").fulfilled_by
    assert record.code in ("SUPERSEDED", "")
