"""Which version answers, and when the old one may go."""

import threading
from pathlib import Path

import pytest

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import EncodedPicture, ModelVersion
from edge_agent.inference import Answered, DataPlane, Registry
from tests.fakes.sessions import fake_session

PATIENCE_S = 20.0


def test_the_name_and_any_versions_identifier_stand_for_the_active_version(tmp_path: Path) -> None:
    registry = Registry()
    first, second = fake_session(tmp_path, "1"), fake_session(tmp_path, "2")
    registry.activate({"bright": first})
    registry.activate({"bright": second})
    for name in ("bright", "bright-1", "bright-2", "bright-1-2-3"):
        with registry.lease(name) as session:
            assert session is second
    assert registry.active() == {"bright": second}


@pytest.mark.parametrize("name", ["", "bright-", "bright-x", "bright-1-2-3-4-5", "brighter", "bright1"])
def test_another_name_is_not_found(tmp_path: Path, name: str) -> None:
    registry = Registry()
    registry.activate({"bright": fake_session(tmp_path)})
    with pytest.raises(InferenceError) as caught, registry.lease(name):
        pass
    assert caught.value.code is Code.NOT_FOUND


def test_a_model_whose_name_looks_like_an_identifier_is_itself(tmp_path: Path) -> None:
    registry = Registry()
    plain, numbered = fake_session(tmp_path), fake_session(tmp_path, name="bright-2")
    registry.activate({"bright": plain, "bright-2": numbered})
    for name, expected in (("bright-2", numbered), ("bright-2-7", numbered), ("bright-7", plain)):
        with registry.lease(name) as session:
            assert session is expected


def test_activate_returns_what_was_replaced_still_open_and_turning_back_is_one_more(tmp_path: Path) -> None:
    registry = Registry()
    first, second = fake_session(tmp_path, "1"), fake_session(tmp_path, "2")
    assert registry.activate({"bright": first}) == {}
    assert registry.activate({"bright": second}) == {"bright": first}
    assert not first.closed
    assert registry.activate({"bright": first}) == {"bright": second}
    with registry.lease("bright") as session:
        assert session is first


def test_several_models_change_all_or_none(tmp_path: Path) -> None:
    registry = Registry()
    first, second = fake_session(tmp_path, "1"), fake_session(tmp_path, "2")
    registry.activate({"bright": first})
    other = fake_session(tmp_path, name="other")
    other.close()
    for wrong in (other, first):
        with pytest.raises(InferenceError) as caught:
            registry.activate({"bright": second, "other": wrong})
        assert caught.value.code is Code.INVALID_ARGUMENT
    assert registry.active() == {"bright": first}


def test_retire_waits_for_the_last_lease_and_then_closes(tmp_path: Path) -> None:
    registry = Registry()
    first, second = fake_session(tmp_path, "1"), fake_session(tmp_path, "2")
    registry.activate({"bright": first})
    drained: list[bool] = []
    with registry.lease("bright"):
        registry.activate({"bright": second})
        thread = threading.Thread(target=lambda: drained.append(registry.retire(first, timeout_s=PATIENCE_S)))
        thread.start()
        while first in registry.loaded():
            pass
        assert not first.closed
    thread.join(PATIENCE_S)
    assert drained == [True]
    assert first.closed
    assert not second.closed


def test_retire_cuts_off_a_lease_that_lasts_too_long_and_says_so(tmp_path: Path) -> None:
    registry = Registry()
    first, second = fake_session(tmp_path, "1"), fake_session(tmp_path, "2")
    registry.activate({"bright": first})
    with registry.lease("bright"):
        registry.activate({"bright": second})
        assert not registry.retire(first, timeout_s=0.02)
        assert first.closed


def test_the_active_version_cannot_be_retired(tmp_path: Path) -> None:
    registry = Registry()
    session = fake_session(tmp_path)
    registry.activate({"bright": session})
    with pytest.raises(InferenceError) as caught:
        registry.retire(session, timeout_s=1)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert not session.closed


def test_a_candidate_that_was_never_active_can_be_retired(tmp_path: Path) -> None:
    session = fake_session(tmp_path)
    assert Registry().retire(session, timeout_s=1)
    assert session.closed


def test_a_named_version_answers_only_while_it_is_loaded(tmp_path: Path) -> None:
    registry = Registry()
    first, second = fake_session(tmp_path, "1"), fake_session(tmp_path, "2")
    registry.activate({"bright": first})
    registry.activate({"bright": second})
    with registry.lease("bright", version="1") as session:
        assert session is first
    registry.retire(first, timeout_s=1)
    with pytest.raises(InferenceError) as caught, registry.lease("bright", version="1"):
        pass
    assert caught.value.code is Code.NOT_FOUND


def test_requests_wait_for_a_model_that_is_to_return_and_no_longer_than_they_may(tmp_path: Path) -> None:
    registry = Registry()
    plane = DataPlane(registry)
    registry.activate({"bright": fake_session(tmp_path, "1")})
    assert registry.withdraw("bright", returning=True) is not None
    with pytest.raises(InferenceError) as caught:
        plane.infer("bright", {}, timeout_s=0.02)
    assert caught.value.code is Code.UNAVAILABLE
    answers: list[ModelVersion] = []
    thread = threading.Thread(target=lambda: answers.append(plane.infer("bright", {}, timeout_s=PATIENCE_S)[0]))
    thread.start()
    registry.activate({"bright": fake_session(tmp_path, "2")})
    thread.join(PATIENCE_S)
    assert answers == [ModelVersion("bright", "2")]


def test_who_waits_for_a_model_goes_on_when_it_is_there_or_gone_for_good(tmp_path: Path) -> None:
    registry, session = Registry(), fake_session(tmp_path)
    registry.wait_for("nobody", 600.0)
    for settle in (lambda: registry.activate({"bright": session}), lambda: registry.withdraw("bright")):
        registry.withdraw("bright", returning=True)
        registry.wait_for("bright", 0.01)
        settled = threading.Timer(0.05, settle)
        settled.start()
        registry.wait_for("bright-1", 600.0)
        assert registry.active().keys() == ({"bright"} if registry.resolve("bright") else set())
        settled.join()


def test_a_withdrawn_model_is_not_found(tmp_path: Path) -> None:
    registry = Registry()
    session = fake_session(tmp_path)
    registry.activate({"bright": session})
    assert registry.withdraw("bright") is session
    assert registry.withdraw("bright") is None
    with pytest.raises(InferenceError) as caught, registry.lease("bright"):
        pass
    assert caught.value.code is Code.NOT_FOUND


def test_closing_closes_warm_versions_too_and_refuses_what_comes(tmp_path: Path) -> None:
    registry = Registry()
    first, second = fake_session(tmp_path, "1"), fake_session(tmp_path, "2")
    registry.activate({"bright": first})
    registry.activate({"bright": second})
    registry.close()
    assert first.closed
    assert second.closed
    with pytest.raises(InferenceError) as caught, registry.lease("bright"):
        pass
    assert caught.value.code is Code.UNAVAILABLE


def test_a_watcher_hears_of_every_request_and_of_none_after_it_left(tmp_path: Path) -> None:
    registry = Registry()
    plane = DataPlane(registry)
    session = fake_session(tmp_path)
    registry.activate({"bright": session})
    heard: list[Answered] = []
    leave = plane.watch(heard.append)
    plane.infer("bright", {}, timeout_s=1)
    plane.inspect("bright", EncodedPicture(b"x"), timeout_s=1, with_mask=False)
    session.gate.clear()
    with pytest.raises(InferenceError):
        plane.infer("bright", {}, timeout_s=0.02)
    session.gate.set()
    leave()
    plane.infer("bright", {}, timeout_s=1)
    assert [answered.error is None for answered in heard] == [True, True, False]
    assert heard[1].picture == EncodedPicture(b"x")


def test_a_request_without_time_left_is_never_executed(tmp_path: Path) -> None:
    registry = Registry()
    session = fake_session(tmp_path)
    registry.activate({"bright": session})
    with pytest.raises(InferenceError) as caught:
        DataPlane(registry).infer("bright", {}, timeout_s=0)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert not session.asked.is_set()
