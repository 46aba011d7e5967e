"""What a simulated device does with a job, and what a simulated fleet may ask of this machine; without a broker."""

import json
import resource
from typing import Any

import pytest

from cloud_tools.errors import CloudError
from cloud_tools.rollout.jobs import form_document
from cloud_tools.simulate import limits
from cloud_tools.simulate.course import PATHS, TIMES_S, Behaviour, plan, read_times
from cloud_tools.simulate.models import Models
from cloud_tools.simulate.tally import End, Tally
from cloud_tools.simulate.things import names
from edge_agent.deployment import states
from edge_agent.errors import Code
from edge_agent.formats import JobDocument

INSTALL = form_document("install", [{"name": "unet", "version": "2"}])


def document(operation: str, **model: Any) -> JobDocument:
    return form_document(operation, [{"name": "unet", **model}])


@pytest.mark.parametrize("operation", list(states.PATHS))
def test_a_simulated_device_walks_the_states_of_a_real_one(operation: str) -> None:
    real = [state.value for state in states.PATHS[operation]]
    assert list(PATHS[operation]) == [state for state in real if state in TIMES_S]
    assert {state for path in states.PATHS.values() for state in path} == {
        states.State(state) for state in (*TIMES_S, "ACCEPTED", "COMMITTED", "REPORTED")
    }


def test_the_last_word_of_every_course_and_only_that_is_terminal() -> None:
    for operation, model in (("install", {"version": "2"}), ("rollback", {}), ("remove", {})):
        *steps, last = plan(Behaviour(), "press-1", document(operation, **model))
        assert (last.status, last.state) == ("SUCCEEDED", "COMMITTED")
        assert {step.status for step in steps} == {"IN_PROGRESS"}


def test_the_same_seed_is_the_same_fate_and_another_seed_another() -> None:
    fates = [
        [
            plan(Behaviour(bad=frozenset({"unet-2"}), fail_share=0.5, seed=seed), thing, INSTALL)
            for thing in names("x", 30)
        ]
        for seed in (1, 1, 2)
    ]
    assert fates[0] == fates[1] != fates[2]
    failed = [course[-1].status == "FAILED" for course in fates[0]]
    assert 5 < sum(failed) < 25


def test_only_a_bad_release_fails_and_where_it_was_told_to() -> None:
    behaviour = Behaviour(bad=frozenset({"unet-2"}), fail_in="TRIED", fail_code="GOLDEN_MISMATCH")
    *_, tried, last = plan(behaviour, "press-1", INSTALL)
    assert (tried.state, last.status, last.code) == ("TRIED", "FAILED", "GOLDEN_MISMATCH")
    assert plan(behaviour, "press-1", document("install", version="3"))[-1].status == "SUCCEEDED"
    assert plan(behaviour, "press-1", document("rollback", version="2"))[-1].status == "SUCCEEDED"


def test_a_release_that_fails_while_it_answers_is_rolled_back_first() -> None:
    steps = plan(Behaviour(bad=frozenset({"unet-2"})), "press-1", INSTALL)
    assert [step.state for step in steps[-3:]] == ["PROBATION", "ROLLING_BACK", "FAILED"]
    assert steps[-1].code == "PROBATION_REGRESSION"


def test_times_are_those_that_were_asked_for_give_or_take_a_half() -> None:
    times = read_times(["DOWNLOADING=100"])
    assert times == {**TIMES_S, "DOWNLOADING": 100.0}
    waits = [plan(Behaviour(times), thing, INSTALL)[3] for thing in names("x", 200)]
    assert {wait.state for wait in waits} == {"VERIFIED"}, "what follows the download is told after it"
    assert 90 < sum(wait.after_s for wait in waits) / 200 < 110


@pytest.mark.parametrize("word", ["DOWNLOADING", "DOWNLOADING=", "DOWNLOADING=x", "DOWNLOADING=nan", "NAPPING=1", "=1"])
def test_a_time_of_another_form_is_refused(word: str) -> None:
    with pytest.raises(CloudError, match="--time") as caught:
        read_times([word])
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_what_a_device_says_it_runs_follows_its_jobs() -> None:
    models = Models()

    def told() -> dict[str, Any]:
        running: dict[str, Any] = json.loads(models.shadow("", ""))["state"]["reported"]["models"]
        return {name: entry and (entry["version"], entry["previous"]) for name, entry in running.items()}

    models.commit(document("install", version="1"))
    models.commit(document("install", version="2"))
    assert told() == {"unet": ("2", "1")}
    models.commit(document("rollback"))
    assert told() == {"unet": ("1", "2")}
    assert models.details(INSTALL, "job", "CHECKING")["models"] == "unet 1 -> 2"
    models.commit(document("remove"))
    # A null takes it out of the shadow, as an agent's does.
    assert told() == {"unet": None}


def test_a_fleet_knows_when_half_and_nearly_all_were_through() -> None:
    tally = Tally()
    for number in range(100):
        tally.offered("job", f"press-{number}", 10.0)
        tally.ended("job", f"press-{number}", End("SUCCEEDED", "", 11.0 + number))
    assert tally.jobs()["job"] == {
        "offered": 100,
        "ended": 100,
        "more_than_once": 0,
        "statuses": {"SUCCEEDED": 100},
        "to_50_percent_s": 50.0,
        "to_99_percent_s": 99.0,
        "to_100_percent_s": 100.0,
    }
    tally.offered("job", "late", 12.0)
    tally.ended("job", "press-3", End("SUCCEEDED", "", 200.0))
    job = tally.jobs()["job"]
    assert (job["ended"], job["more_than_once"], job["to_100_percent_s"]) == (100, 1, None)


def test_messages_are_counted_by_kind_and_size_and_what_was_ignored_by_its_reason() -> None:
    tally = Tally()
    tally.sent("$aws/things/press-1/jobs/start-next", b"{}")
    tally.received("$aws/things/press-1/jobs/start-next/accepted", b"{}")
    tally.sent("$aws/things/press-1/shadow/update", b"{}")
    tally.ignored("RequestThrottled")
    counts = tally.counts()
    assert counts["messages"] == {"shadow update": 1, "start-next": 1, "start-next accepted": 1}
    assert (counts["messages_sent"], counts["bytes_sent"]) == (2, 35 + 33 + 4)
    assert counts["ignored"] == {"RequestThrottled": 1}


def test_more_devices_than_open_files_are_allowed_is_said_before_anything_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limit: raised.append(limit))
    with pytest.raises(CloudError, match=r"open files.*1024") as caught:
        limits.check(1000)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert not raised
    limits.check(500)
    assert raised == [(628, 1024)]


def test_a_machine_without_the_memory_is_told_how_much_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_free_kib", lambda: 1000)
    with pytest.raises(CloudError, match="MiB of free memory") as caught:
        limits.check(100)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("devices", [0, -1, 20_001])
def test_a_number_of_devices_that_cannot_be_is_refused(devices: int) -> None:
    with pytest.raises(CloudError, match="devices"):
        limits.check(devices)
