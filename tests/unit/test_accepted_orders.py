"""An install by a local call is durable before the caller gets its id."""

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from edge_agent.deployment.orders import LocalOrder
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import DeploymentReport, JobDocument, parse
from tests.fakes.deployment import Device, install, new_id, rollback
from tests.fakes.releases import make_release

FULL = StorageError(Code.NO_SPACE, "the disk is full")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return make_device(tmp_path)


def make_device(directory: Path) -> Device:
    device = Device(directory)
    device.offers(make_release("unet", "1", release_seq=1), make_release("unet", "2", release_seq=2))
    return device


def order(version: str) -> LocalOrder:
    result: Future[DeploymentReport] = Future()
    return LocalOrder(new_id(), parse(JobDocument, install(("unet", version)), what="order"), "", "local", result)


def test_an_order_is_in_the_journal_before_the_call_returns_and_is_carried_out(device: Device) -> None:
    wanted = order("1")
    device.deployer.accept(wanted)
    (found,) = device.journal.history(identity=wanted.identity)
    assert (found.state, found.actor) == (State.ACCEPTED, "local")
    device.start()
    assert wanted.result.result(30).state == "COMMITTED"
    assert device.committed() == {"unet": "1"}
    assert len(device.journal.history()) == 1
    device.stop()


def test_an_order_that_cannot_be_written_down_is_told_at_once_and_never_done(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_record: Deployment) -> None:
        raise FULL

    wanted = order("1")
    with monkeypatch.context() as patch:
        patch.setattr(device.journal, "save", full)
        with pytest.raises(StorageError, match="the disk is full"):
            device.deployer.accept(wanted)
    device.start()
    device.call(rollback("nobody"))
    assert device.journal.history(identity=wanted.identity) == []
    assert device.committed() == {}
    device.stop()


def test_a_power_cut_loses_no_accepted_order_and_what_was_begun_goes_first(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = order("1"), order("2")
    for wanted in (first, second):
        device.deployer.accept(wanted)
    begun = device.journal.history(identity=second.identity)[0]
    # As if the second had been taken first: it stands in the middle of its work.
    device.journal.save(begun.model_copy(update={"state": State.CHECKING}))
    found = device.journal.running()
    assert found is not None
    assert found.id == second.identity
    device.journal.save(begun)
    device.journal.close()
    again = make_device(tmp_path)
    again.start()
    again.call(rollback("nobody"))
    outcomes = {record.id: record.outcome for record in again.journal.history()}
    assert (outcomes[first.identity], outcomes[second.identity]) == (State.COMMITTED, State.COMMITTED)
    assert again.committed() == again.answering() == {"unet": "2"}
    again.stop()


def test_an_accepted_order_survives_a_stop_before_its_turn(tmp_path: Path, device: Device) -> None:
    wanted = order("1")
    device.deployer.accept(wanted)
    device.deployer.stop()
    device.start()
    with pytest.raises(InferenceError, match="begins after its next start"):
        wanted.result.result(30)
    device.stop()
    with pytest.raises(InferenceError, match="being stopped"):
        device.deployer.accept(order("2"))
    again = make_device(tmp_path)
    again.start()
    again.call(rollback("nobody"))
    assert again.committed() == {"unet": "1"}
    again.stop()


def test_an_order_that_came_while_the_start_went_on_is_done_once(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(device.releases, "refresh", lambda *_: (reached.set(), go_on.wait(30)))
    first, second = order("1"), order("2")
    device.journal.save(device.deployer._record_of_call(first))  # found by the start
    device.start()
    assert reached.wait(30)
    device.deployer.accept(second)
    go_on.set()
    assert second.result.result(30).state == "COMMITTED"
    assert [record.outcome for record in device.journal.history()] == [State.COMMITTED] * 2
    assert len(device.blobs.fetched) == len(set(device.blobs.fetched))
    device.stop()


def test_the_time_that_an_order_waited_is_not_its_own(tmp_path: Path) -> None:
    now = [1000.0]
    device = Device(tmp_path, now=lambda: now[0])
    device.offers(make_release("unet", "1", release_seq=1))
    wanted = order("1")
    device.deployer.accept(wanted)
    now[0] += 10 * 86_400
    device.start()
    assert wanted.result.result(30).state == "COMMITTED"
    (record,) = device.journal.history()
    assert (record.started, record.deadline - record.started) == (now[0], 86_400)
    device.stop()
