"""What the cloud may do to a job, in every state of its deployment: the table's row is what happens, told once.

The deployer, the jobs client and its outbox are the real ones; only the wire and the models are in memory.
"""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.deployment.journal import Journal
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import TABLE, State
from edge_agent.errors import CancelledError, Code
from edge_agent.formats import ModelVersion
from tests.fakes.cloud_device import THING, Cloud, CloudDevice
from tests.fakes.deployment import install
from tests.fakes.device import eventually
from tests.fakes.jobs_service import Execution, JobsService, Publication
from tests.fakes.releases import make_release

ONE, TWO = make_release("unet", "1", release_seq=1), make_release("unet", "2", release_seq=2)
NEXT = make_release("classifier", "1", release_seq=1)
STATES = [state for state in TABLE if state not in (State.FAILED, State.REFUSED, State.CANCELLED)]
UNDONE = (State.ACTIVATING, State.PROBATION, State.ROLLING_BACK)


def change_version(execution: Execution) -> list[Publication]:
    execution.version += 1
    return []


FAULTS: dict[str, Callable[[JobsService], list[Publication]]] = {
    "VersionMismatch": lambda service: change_version(service.executions[THING, "new"]),
    "TIMED_OUT": lambda service: service.time_out(THING, "new"),
    "CANCELED": lambda service: service.cancel_job("new", force=True),
    "REMOVED": lambda service: service.delete_job("new"),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not come is asked for again soon."""
    monkeypatch.setattr("edge_agent.jobs.requests.ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr("edge_agent.jobs.requests.BACK_OFF_S", 0.01)


class Held:
    """A device whose job ``new`` is held as it enters one state, or in the middle of its download."""

    def __init__(self, directory: Path, state: State) -> None:
        self.cloud, self.state = Cloud(), state
        self.there, self.go_on = threading.Event(), threading.Event()
        watched = state in (State.PROBATION, State.ROLLING_BACK)
        self.line = CloudDevice(
            directory,
            self.cloud,
            committed=(ONE,),
            offered=(TWO, NEXT),
            probation_s=600.0 if watched else 0.0,
            at_state=self._look,
        )
        self.device = self.line.device
        if state is State.DOWNLOADING:
            self._fetch, self.device.blobs.fetch = self.device.blobs.fetch, self._half  # type: ignore[method-assign]
        self.line.start()
        self.cloud.operate(lambda service: service.create_job("new", install(("unet", "2")), THING))
        assert self.there.wait(60)

    def _look(self, record: Deployment) -> None:
        if record.job_id != "new":
            return
        if record.state is State.PROBATION and self.state is State.ROLLING_BACK:
            self.device.runtimes.opened[-1].restarts = 1
        if record.state is self.state is not State.DOWNLOADING and not self.there.is_set():
            self.hold()

    def _half(self, key: str, target: Path, size_bytes: int, **more: Any) -> None:
        if self.there.is_set():
            self._fetch(key, target, size_bytes, **more)
            return
        target.write_bytes(self.device.blobs.blobs[key.rsplit("/", 1)[1]][: size_bytes // 2])
        self.hold()
        if more["cancelled"]():
            raise CancelledError(Code.CANCELLED, "the download was given up")
        self._fetch(key, target, size_bytes, **more)

    def hold(self) -> None:
        self.there.set()
        assert self.go_on.wait(60)

    def until_heard(self) -> None:
        """Wait until the deployment was told that its job is gone."""
        desk = self.device.deployer._desk
        eventually(desk.why_given_up, lambda: str(self.line.events))


def expected(state: State, fault: str) -> tuple[str, str]:
    """Return the outcome and the version that answers, as the table's row says."""
    if state is State.ROLLING_BACK:
        return "FAILED", "1"
    if fault == "VersionMismatch" or state in (State.COMMITTED, State.REPORTED):
        return "COMMITTED", "2"
    return ("FAILED", "1") if state in UNDONE else ("CANCELLED", "1")


CASES = list(itertools.product([state for state in STATES if state is not State.REPORTED], FAULTS))


@pytest.mark.parametrize(("state", "fault"), CASES)
def test_version_mismatch_timed_out_forced_canceled_and_removed_in_every_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State, fault: str
) -> None:
    if state is State.PROBATION and fault == "VersionMismatch":
        monkeypatch.setattr("edge_agent.formats.ProbationPolicy.is_over", lambda *_: True)
    held = Held(tmp_path, state)
    cloud, device = held.cloud, held.device
    cloud.operate(FAULTS[fault])
    if fault != "VersionMismatch":
        held.until_heard()
        assert held.line.gone("new")
    held.go_on.set()
    record = held.line.ended("new")

    outcome, version = expected(state, fault)
    assert record.outcome.value == outcome
    assert device.committed() == device.answering() == {"unet": version}
    # The fault fired: the service turned something away because of it.
    words = {"VersionMismatch": ("VersionMismatch",), "REMOVED": ("ResourceNotFound",)}
    turned_away = words.get(fault, ("TerminalStateReached", "InvalidStateTransition", "VersionMismatch"))
    assert sum(cloud.rejections[word] for word in turned_away) >= 1
    execution = cloud.execution("new")
    if fault == "VersionMismatch":
        assert execution is not None
        assert execution.status == ("FAILED" if outcome == "FAILED" else "SUCCEEDED")
        assert (cloud.ends_accepted["new"], record.refusal) == (1, "")
    else:
        assert (execution.status if execution else "REMOVED") == fault
        assert cloud.ends_accepted["new"] == 0
        assert record.refusal.startswith("UPDATE_REJECTED: ")
    finals = [at for at in held.device.seen if at.job_id == "new" and at.ended and at.state is not State.REPORTED]
    assert len(finals) == 1
    if state is State.DOWNLOADING and fault != "VersionMismatch":
        partial = [device.store.partial_path(blob.sha256) for blob in TWO.manifest.artefacts]
        assert sum(path.stat().st_size for path in partial if path.exists()) > 0
    monkeypatch.setattr("edge_agent.formats.ProbationPolicy.is_over", lambda *_: True)
    held.line.goes_on("classifier", "1")
    held.line.stop()


@pytest.mark.parametrize("fault", ["CANCELED", "REMOVED"])
def test_what_the_cloud_does_to_a_reported_job_changes_nothing_here(tmp_path: Path, fault: str) -> None:
    held = Held(tmp_path, State.REPORTED)
    before = held.cloud.requests["update"]
    held.cloud.operate(FAULTS[fault])
    execution = held.cloud.execution("new")
    assert (execution.status if execution else "REMOVED") == ("SUCCEEDED" if fault == "CANCELED" else "REMOVED")
    held.go_on.set()
    assert held.line.ended("new").outcome is State.COMMITTED
    assert (held.cloud.requests["update"], held.cloud.ends_accepted["new"]) == (before, 1)
    held.line.goes_on("classifier", "1")
    assert held.device.committed() == {"unet": "2", "classifier": "1"}
    held.line.stop()


TOLD = [s for s in STATES if s not in (State.ACCEPTED, State.REPORTED)]


@pytest.mark.parametrize("state", TOLD)
def test_lost_update_accepted_the_outbox_sends_again_nothing_installs_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    cloud, fired = Cloud(), threading.Event()
    line = CloudDevice(tmp_path, cloud, committed=(ONE,), offered=(TWO, NEXT))
    device = line.device
    if state is State.ROLLING_BACK:
        device.serving.activate = broken  # type: ignore[method-assign]

    def lose(topic: str, message: dict[str, Any]) -> bool:
        step = message.get("executionState", {}).get("statusDetails", {}).get("step")
        if not topic.endswith("/new/update/accepted") or step != state.value or fired.is_set():
            return False
        fired.set()
        return True

    cloud.lose = lose
    # An end is told when it is durable; any other state is held until its report's answer was lost.
    line.hold_in_work(lambda record: record.state is state is not State.COMMITTED and record.job_id == "new", fired)
    commits, commit = [], device.store.commit
    monkeypatch.setattr(device.store, "commit", lambda *args: commits.append(args) or commit(*args))
    line.start()
    record = line.run_job("new", install(("unet", "2")))
    assert fired.is_set()
    assert cloud.lost == [f"$aws/things/{THING}/jobs/new/update/accepted"]
    assert cloud.rejections["VersionMismatch"] >= 1  # what was sent again was found to have arrived
    good = state is not State.ROLLING_BACK
    assert record.outcome is (State.COMMITTED if good else State.FAILED)
    assert (cloud.ends_accepted["new"], len(commits)) == (1, 1 if good else 0)
    keys = device.blobs.fetched
    assert len(keys) == len(set(keys))
    execution = cloud.execution("new")
    assert execution is not None
    assert (execution.status, line.jobs.pending_reports("new")) == ("SUCCEEDED" if good else "FAILED", 0)
    if good:
        line.goes_on("classifier", "1")
    assert ModelVersion("unet", "2") in device.store.installed() or not good
    line.stop()


def broken() -> None:
    raise ArithmeticError("planted")


def test_an_agent_that_ended_between_the_accepted_report_and_its_note_closes_the_record(tmp_path: Path) -> None:
    cloud = Cloud()
    line = CloudDevice(tmp_path, cloud, committed=(ONE,), offered=(TWO,))
    line.start()
    record = line.run_job("new", install(("unet", "2")))
    line.stop()
    # As a power cut leaves it: the outbox knows that the service is through, the journal does not.
    unclosed = record.model_copy(update={"state": State.COMMITTED, "states": record.states[:-1]})
    journal = Journal(tmp_path / "journal.db")
    journal.save(unclosed)
    assert journal.unreported() == [unclosed]
    journal.close()
    last = CloudDevice(tmp_path, cloud, committed=(ONE,), offered=(TWO,))
    last.start()
    closed = last.ended("new")
    assert (closed.outcome, closed.refusal) == (State.COMMITTED, "")
    assert cloud.ends_accepted["new"] == 1
    last.stop()
