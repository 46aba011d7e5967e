"""Rollouts in stages: what is asked of whom, what stops them, and how they go on."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cloud_tools.errors import CloudError, Exit
from cloud_tools.rollout.decide import Create, Wait
from cloud_tools.rollout.ledger import Ledger
from cloud_tools.rollout.plan import STOP_CODES, read_plan
from cloud_tools.rollout.rollout_commands import list_
from cloud_tools.rollout.seen import Running, Shadow, outcomes
from cloud_tools.rollout.shadows import read_shadow
from cloud_tools.rollout.shares import divide
from cloud_tools.rollout.state import RolloutState
from cloud_tools.rollout.telling import drawn, follow, meaning, show
from cloud_tools.storage import DirectoryStorage
from edge_agent.errors import Code, DocumentError
from edge_agent.formats import parse
from tests.fakes.rollout_cloud import KilledError, World, plan

THINGS = [f"press-{number}" for number in range(20)]
CANARY = {"to": ["group/canary"]}
TWO = (("press-3", "press-7"),)
REST = {"percent": 100}


def test_a_good_release_goes_through_all_stages_and_asks_each_device_once(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, {"percent": 25}, {"percent": 50}, REST), THINGS, TWO)
    assert world.drive().phase == "COMPLETED"
    assert world.cloud.created == ["unet-3-s0", "unet-3-s1", "unet-3-s2", "unet-3-s3"]
    assert [len(world.cloud.things(job)) for job in world.cloud.created] == [2, 3, 5, 10]
    assert sorted(thing for job in world.cloud.created for thing in world.cloud.things(job)) == sorted(THINGS)


@pytest.mark.parametrize("code", STOP_CODES)
def test_one_device_with_a_code_that_speaks_of_the_release_stops_it_at_the_canary(tmp_path: Path, code: Code) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO, {"press-7": ("FAILED", code.value)})
    state = world.drive()
    assert (state.phase, world.cloud.created) == ("STOPPED", ["unet-3-s0"])
    assert f"press-7: {code.value}" in state.reason


def test_a_code_stops_it_although_few_failed_and_what_waits_is_taken_back(tmp_path: Path) -> None:
    world = World(tmp_path, plan(REST), THINGS, (), {"press-4": ("FAILED", "GOLDEN_MISMATCH")})
    world.cloud.asleep = set(THINGS) - {"press-4"}
    state = world.drive()
    assert state.phase == "STOPPED"
    job = world.cloud.jobs["unet-3-s0"]
    assert (job.status, job.comment) == ("CANCELED", "press-4: GOLDEN_MISMATCH")
    assert job.executions["press-5"].status == "CANCELED"


@pytest.mark.parametrize("status", ["FAILED", "REJECTED", "TIMED_OUT"])
def test_the_share_of_failures_stops_a_stage_and_less_does_not(tmp_path: Path, status: str) -> None:
    two = {"press-1": (status, "NO_SPACE"), "press-2": (status, "NO_SPACE")}
    world = World(tmp_path / "two", plan(REST), THINGS, (), two)
    assert world.drive().phase == "STOPPED"
    one = World(tmp_path / "one", plan(REST), THINGS, (), dict([*two.items()][:1]))
    assert one.drive().phase == "COMPLETED"


def test_the_share_is_looked_at_when_enough_have_ended_or_all_of_a_small_stage(tmp_path: Path) -> None:
    ends = {"press-3": ("FAILED", "NO_SPACE")}
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO, ends)
    world.cloud.asleep = {"press-7"}
    world.driver.carry_on("unet-3")
    world.wait()
    world.wait()
    assert isinstance(world.driver.carry_on("unet-3").next, Wait)
    world.cloud.asleep = set()
    assert world.drive().reason == "stage canary: 1 of 2 failed, the limit is 10 %"


def test_a_stage_is_watched_before_the_next_and_a_late_failure_stops_it(tmp_path: Path) -> None:
    soaked = {**CANARY, "soak_minutes": 30, "enough_percent": 50}
    world = World(tmp_path, plan(soaked, REST), THINGS, TWO, {"press-7": ("FAILED", "PROBATION_REGRESSION")})
    world.cloud.asleep = {"press-7"}
    world.driver.carry_on("unet-3")
    for _ in range(3):
        world.wait()
        standing = world.driver.carry_on("unet-3")
    assert isinstance(standing.next, Wait)
    assert "watches stage canary until" in standing.next.why
    world.cloud.asleep = set()
    state = world.drive()
    assert (state.phase, state.stage) == ("STOPPED", 0)


def test_devices_that_are_off_hold_a_stage_up_unless_enough_percent_says_otherwise(tmp_path: Path) -> None:
    world = World(tmp_path, plan({"percent": 50, "enough_percent": 80}, REST), THINGS)
    world.cloud.asleep = set(world.state.shares[0][:2])
    world.driver.carry_on("unet-3")
    world.wait()
    world.wait()
    world.driver.carry_on("unet-3")
    assert world.cloud.created == ["unet-3-s0", "unet-3-s1"]


@pytest.mark.parametrize(("enough", "phase"), [(100, "STOPPED"), (91, "STOPPED"), (90, "COMPLETED")])
def test_a_stage_of_which_enough_can_no_longer_succeed_stops_the_rollout(
    tmp_path: Path, enough: float, phase: str
) -> None:
    lenient = {"percent": 100, "enough_percent": enough, "failed_percent": 60}
    world = World(tmp_path, plan(lenient), THINGS[:10], ends={THINGS[0]: ("FAILED", "NO_SPACE")})
    # One that is switched off keeps nobody from seeing it.
    world.cloud.asleep = {THINGS[1]} if phase == "STOPPED" else set()
    state = world.drive()
    assert state.phase == phase
    said = f"stage 100%: 1 of 10 did not succeed, {enough} % (10) can no longer be reached"
    assert state.reason == (said if phase == "STOPPED" else "")


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("within_minutes: 0", "stages.0.within_minutes: input should be greater than 0, came 0"),
        ("within_minutes: true", "stages.0.within_minutes: input should be a valid number, came True"),
        ("within_minutes: ten", "stages.0.within_minutes: input should be a valid number, came 'ten'"),
        ("enough_percent: 0", "stages.0.enough_percent: input should be greater than 0, came 0"),
        ("enough_percent: 100.5", "stages.0.enough_percent: input should be less than or equal to 100, came 100.5"),
        ("enough_percent: .nan", "stages.0.enough_percent: input should be a finite number"),
        ("enough_percent: '90'", "stages.0.enough_percent: input should be a valid number, came '90'"),
    ],
)
def test_a_limit_that_cannot_be_one_is_named(tmp_path: Path, stage: str, told: str) -> None:
    file = tmp_path / "r.yaml"
    head = 'name: r\nmodels: [{name: unet, version: "3"}]\nto: [group/hall]\n'
    file.write_text(f"{head}stages: [{{percent: 100, {stage}}}]\n")
    with pytest.raises(DocumentError, match=re.escape(told)):
        read_plan(file)


def test_a_stage_that_takes_too_long_stops_the_rollout(tmp_path: Path) -> None:
    world = World(tmp_path, plan({"percent": 50, "within_minutes": 60}, REST), THINGS)
    world.cloud.asleep = set(THINGS)
    assert "have not ended within 60 min" in world.drive().reason
    assert world.cloud.created == ["unet-3-s0"]


def test_a_job_that_somebody_else_canceled_stops_the_rollout(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO)
    world.driver.carry_on("unet-3")
    world.cloud.cancel("unet-3-s0", "wrong one", force=False)
    assert world.drive().reason == "job unet-3-s0 was canceled: wrong one"


def test_a_pause_begins_no_further_stage_and_resume_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO)
    world.driver.carry_on("unet-3")
    world.driver.change("unet-3", lambda state, now: state.paused("lunch", now))
    for _ in range(5):
        world.wait()
        world.driver.carry_on("unet-3")
    assert world.cloud.created == ["unet-3-s0"]
    world.driver.change("unet-3", lambda state, now: state.resumed(now))
    assert world.drive().phase == "COMPLETED"


def test_a_paused_rollout_stops_when_a_device_of_its_stage_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO, {"press-3": ("FAILED", "QUARANTINED")})
    world.driver.carry_on("unet-3")
    world.driver.change("unet-3", lambda state, now: state.paused("lunch", now))
    world.wait()
    world.wait()
    world.driver.carry_on("unet-3")
    assert world.state.phase == "STOPPED"


def test_after_a_stop_only_who_did_not_succeed_is_asked_again(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO, {"press-7": ("FAILED", "GOLDEN_MISMATCH")})
    world.drive()
    world.driver.change("unet-3", lambda state, now: state.resumed(now))
    assert world.drive().phase == "STOPPED"
    world.cloud.ends = {}
    world.driver.ask_again("unet-3", accept=False)
    assert world.drive().phase == "COMPLETED"
    assert world.cloud.created == ["unet-3-s0", "unet-3-s0-r1", "unet-3-s1"]
    assert world.cloud.things("unet-3-s0-r1") == ["press-7"]


def test_a_second_failure_stops_it_a_second_time(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO, {"press-7": ("FAILED", "GOLDEN_MISMATCH")})
    world.drive()
    world.driver.ask_again("unet-3", accept=False)
    assert world.drive().phase == "STOPPED"
    assert world.cloud.created == ["unet-3-s0", "unet-3-s0-r1"]


def test_an_accepted_failure_is_left_alone_and_counts_no_more(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO, {"press-7": ("FAILED", "GOLDEN_MISMATCH")})
    world.drive()
    world.driver.ask_again("unet-3", accept=True)
    assert world.drive().phase == "COMPLETED"
    assert world.cloud.created == ["unet-3-s0", "unet-3-s1"]


def test_after_the_end_those_that_failed_are_asked_again(tmp_path: Path) -> None:
    world = World(tmp_path, plan(REST), THINGS, (), {"press-7": ("FAILED", "NO_SPACE")})
    assert world.drive().phase == "COMPLETED"
    world.cloud.ends = {}
    world.driver.ask_again("unet-3", accept=False)
    world.drive()
    assert world.cloud.things("unet-3-s0-r1") == ["press-7"]
    with pytest.raises(CloudError, match="nobody failed"):
        world.driver.ask_again("unet-3", accept=False)


def test_a_canary_that_is_asked_again_holds_up_the_stages_after_it_and_the_end(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, {"percent": 50}, REST), THINGS, TWO)
    while "unet-3-s1" not in world.cloud.created:
        world.driver.carry_on("unet-3")
        world.wait()
    world.cloud.runs = {"press-7": Running("2", world.now)}
    assert (world.drive().phase, world.state.stage) == ("STOPPED", 1)
    world.cloud.runs, world.cloud.asleep = {}, {"press-7"}
    world.driver.ask_again("unet-3", accept=False)
    for _ in range(5):
        standing = world.driver.carry_on("unet-3")
        world.wait()
    assert standing.next == Wait("0 at work, 1 not begun")
    assert world.cloud.created[-1] == "unet-3-s1-r1", "the canary was asked again, and nothing followed"
    world.cloud.asleep = set()
    assert world.drive().phase == "COMPLETED"


def test_a_rollout_whose_canary_is_asked_again_after_its_end_has_ended_when_the_canary_has(tmp_path: Path) -> None:
    lenient = {**CANARY, "failed_percent": 60}
    world = World(tmp_path, plan(lenient, REST), THINGS, TWO, {"press-7": ("FAILED", "NO_SPACE")})
    assert world.drive().phase == "COMPLETED"
    world.cloud.ends, world.cloud.asleep = {}, {"press-7"}
    world.driver.ask_again("unet-3", accept=False)
    for _ in range(3):
        assert isinstance(world.driver.carry_on("unet-3").next, Wait)
        world.wait()
    world.cloud.asleep = set()
    world.drive()
    assert world.cloud.jobs["unet-3-s1-r1"].executions["press-7"].status == "SUCCEEDED"


def test_an_abort_takes_jobs_back_and_is_for_good(tmp_path: Path) -> None:
    world = World(tmp_path, plan(REST), THINGS)
    world.driver.carry_on("unet-3")
    world.driver.change("unet-3", lambda state, now: state.aborted("wrong", now, force=False, undo=False))
    assert world.drive().phase == "ABORTED"
    assert world.cloud.jobs["unet-3-s0"].status == "CANCELED"
    world.driver.change("unet-3", lambda state, now: state.resumed(now))
    assert world.state.phase == "ABORTED"
    with pytest.raises(CloudError, match="it is ABORTED: wrong"):
        world.driver.change("unet-3", lambda state, now: state.paused("", now))
    with pytest.raises(CloudError, match="it is ABORTED: wrong"):
        world.driver.ask_again("unet-3", accept=False)


def test_an_abort_while_a_job_is_being_made_takes_that_one_back_too(tmp_path: Path) -> None:
    world = World(tmp_path, plan(REST), THINGS)
    create, seen = world.cloud.create, []

    def late(state: Any, part: Any) -> tuple[str, ...]:
        if not seen:
            world.driver.change("unet-3", lambda state, now: state.aborted("stop", now, force=False, undo=False))
            seen.append(world.driver.carry_on("unet-3"))
        return create(state, part)

    world.cloud.create = late  # type: ignore[method-assign]
    assert world.drive().phase == "ABORTED"
    assert [job.status for job in world.cloud.jobs.values()] == ["CANCELED"]


def test_with_on_stop_rollback_only_who_succeeded_goes_back(tmp_path: Path) -> None:
    asked = plan(CANARY, REST, on_stop="rollback")
    world = World(tmp_path, asked, THINGS, TWO, {"press-7": ("FAILED", "SHADOW_REGRESSION")})
    state = world.drive()
    assert state.phase == "STOPPED"
    assert world.cloud.created == ["unet-3-s0", "unet-3-rollback"]
    assert world.cloud.things("unet-3-rollback") == ["press-3"]
    document = world.cloud.asked["unet-3-rollback"]["document"]
    assert '"operation":"rollback"' in document
    assert '"version":"3"' in document
    with pytest.raises(CloudError, match="not rolled back"):
        world.driver.ask_again("unet-3", accept=False)


def test_who_still_works_at_the_stop_goes_back_when_it_has_succeeded(tmp_path: Path) -> None:
    asked = plan(REST, on_stop="rollback")
    world = World(tmp_path, asked, ["a", "b", "c"], (), {"a": ("FAILED", "QUARANTINED")})
    world.driver.carry_on("unet-3")
    world.cloud.step("unet-3-s0", "b")
    world.cloud.step("unet-3-s0", "a")
    world.cloud.step("unet-3-s0", "a")
    standing = world.driver.carry_on("unet-3")
    assert isinstance(standing.next, Wait)
    assert outcomes(standing.state, standing.seen)["c"].execution.status == "CANCELED"
    world.drive()
    assert world.cloud.things("unet-3-rollback") == ["b"]


def test_a_device_that_is_gone_is_left_out_and_a_stage_without_any_stops_it(tmp_path: Path) -> None:
    world = World(tmp_path / "one", plan(CANARY, REST), THINGS, TWO)
    world.cloud.deleted = {"press-3", "press-11"}
    assert world.drive().gone == ("press-11", "press-3")
    assert len(world.cloud.things("unet-3-s1")) == 17
    world = World(tmp_path / "all", plan(CANARY, REST), THINGS, TWO)
    world.cloud.deleted = {"press-3", "press-7"}
    assert "none of its devices is there any more" in world.drive().reason
    assert world.cloud.created == []


def test_a_large_stage_is_several_jobs_of_a_hundred_that_share_its_rate(tmp_path: Path) -> None:
    things = [f"line-{number}" for number in range(250)]
    world = World(tmp_path, plan(REST, per_minute=60), things)
    assert world.drive().phase == "COMPLETED"
    assert world.cloud.created == ["unet-3-s0", "unet-3-s0-1", "unet-3-s0-2"]
    assert {len(world.cloud.things(job)) for job in world.cloud.created} == {100, 50}
    rates = {job["jobExecutionsRolloutConfig"]["maximumPerMinute"] for job in world.cloud.asked.values()}
    assert rates == {20}


def test_a_rate_that_the_jobs_of_a_stage_would_exceed_is_refused() -> None:
    things = [f"line-{number}" for number in range(450)]
    assert len(divide(plan(REST, per_minute=5), things, [()])[0]) == 450
    with pytest.raises(CloudError, match=r"expected 5 or more for a stage of 450 devices, 100 to a job.*came 4"):
        divide(plan(REST, per_minute=4), things, [()])
    halves = plan({"percent": 50}, REST, per_minute=4)
    assert [len(share) for share in divide(halves, things, [(), ()])] == [225, 225]


def test_who_is_gone_from_a_large_stage_moves_nobody_into_a_second_job(tmp_path: Path) -> None:
    things = [f"line-{number}" for number in range(250)]
    world = World(tmp_path, plan(REST), things)
    world.cloud.deleted = set(world.state.shares[0][120:140:5])
    assert world.drive().phase == "COMPLETED"
    asked = [thing for job in world.cloud.created for thing in world.cloud.things(job)]
    assert sorted(asked) == sorted(set(things) - world.cloud.deleted)


def test_who_was_never_asked_before_a_stop_is_asked_once_after_it(tmp_path: Path) -> None:
    world = World(tmp_path, plan({"percent": 100, "within_minutes": 10}), THINGS)
    world.driver.step("unet-3")
    world.now += 3600.0
    assert world.drive().phase == "STOPPED"
    assert world.cloud.created == []
    world.driver.ask_again("unet-3", accept=True)
    assert world.drive().phase == "COMPLETED"
    assert world.cloud.created == ["unet-3-s0-r1"]


def test_a_device_that_goes_back_after_its_success_stops_the_rollout_before_the_next_stage(tmp_path: Path) -> None:
    world = World(tmp_path, plan({**CANARY, "soak_minutes": 30}, REST, on_stop="rollback"), THINGS, TWO)
    world.cloud.runs = {"press-3": Running("3", 5.0), "press-7": Running("2", 5.0)}
    state = world.drive()
    assert (state.phase, state.stage) == ("STOPPED", 0)
    assert state.reason == "press-7: ROLLED_BACK, it had succeeded with unet 3, its shadow says 2"
    assert world.cloud.things("unet-3-rollback") == ["press-3"]


def test_a_device_that_went_back_is_asked_again_or_accepted(tmp_path: Path) -> None:
    for accept, jobs in ((True, ["s0", "s1"]), (False, ["s0", "s0-r1", "s1"])):
        world = World(tmp_path / str(accept), plan(CANARY, REST), THINGS, TWO)
        world.cloud.runs = {"press-7": Running("2", 5.0)}
        assert world.drive().phase == "STOPPED"
        world.driver.ask_again("unet-3", accept=accept)
        world.cloud.runs = {"press-7": Running("2" if accept else "3", 6.0)}
        assert world.drive().phase == "COMPLETED"
        assert world.cloud.created == [f"unet-3-{job}" for job in jobs]


@pytest.mark.parametrize("runs", [{}, {"press-7": Running("3", 9.0)}, {"press-7": Running("2", 0.0)}])
def test_a_shadow_that_lacks_agrees_or_is_older_than_the_success_stops_nothing(
    tmp_path: Path, runs: dict[str, Running]
) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO)
    world.cloud.runs = runs
    assert world.drive().phase == "COMPLETED"


@pytest.mark.parametrize(("told_at", "phase"), [(5.0, "STOPPED"), (0.0, "COMPLETED")])
def test_a_device_whose_shadow_no_longer_names_the_model_has_failed_and_one_that_said_nothing_since_has_not(
    tmp_path: Path, told_at: float, phase: str
) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO)
    world.cloud.removed = {"press-7": told_at}
    state = world.drive()
    assert state.phase == phase
    said = "press-7: ROLLED_BACK, it had succeeded with unet 3, its shadow no longer names it"
    assert state.reason == (said if phase == "STOPPED" else "")


def test_shadows_are_not_looked_at_where_the_file_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST, stop={"other_version": False}), THINGS, TWO)
    world.cloud.runs = {"press-7": Running("2", 5.0)}
    assert world.drive().phase == "COMPLETED"


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b'{"state": {"reported": {"models": 3}}}', b'{"state": {"reported": {}}}']
)
def test_a_shadow_of_another_form_tells_nothing(payload: bytes) -> None:
    assert read_shadow(payload) == Shadow({})


def test_limits_of_the_file_become_limits_of_aws(tmp_path: Path) -> None:
    asked = plan({"percent": 50, "failed_percent": 0.001}, REST, per_minute=50, timeout_minutes=90)
    world = World(tmp_path, asked, THINGS)
    world.drive()
    first, second = (world.cloud.asked[job] for job in ("unet-3-s0", "unet-3-s1"))
    assert first["timeoutConfig"] == {"inProgressTimeoutInMinutes": 90}
    assert first["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 50}
    (rule,) = first["abortConfig"]["criteriaList"]
    assert rule == {
        "failureType": "ALL",
        "action": "CANCEL",
        "thresholdPercentage": 0.01,
        "minNumberOfExecutedThings": 10,
    }
    assert second["abortConfig"]["criteriaList"][0]["thresholdPercentage"] == 10.0


def test_a_stage_names_only_devices_of_the_rollout_and_the_draw_is_always_the_same() -> None:
    asked = plan(CANARY, {"percent": 50}, REST)
    shares = divide(asked, THINGS, [("press-3", "elsewhere"), (), ()])
    assert shares[0] == ("press-3",)
    assert shares == divide(asked, reversed(THINGS), [("elsewhere", "press-3"), (), ()])
    assert [len(share) for share in shares] == [1, 9, 10]
    with pytest.raises(CloudError, match="expected devices of the rollout"):
        divide(asked, THINGS, [("elsewhere",), (), ()])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("ends", [{}, {"press-7": ("FAILED", "GOLDEN_MISMATCH")}], ids=["good", "bad"])
def test_a_driver_killed_at_any_call_is_made_up_for_by_the_next(
    tmp_path: Path, after: bool, ends: dict[str, tuple[str, str]]
) -> None:
    asked = plan(CANARY, {"percent": 50}, REST, on_stop="rollback")
    whole = World(tmp_path / "whole", asked, THINGS, TWO, ends)
    whole.drive()
    for dies_at in range(1, 200):
        world = World(tmp_path / str(dies_at), asked, THINGS, TWO, ends)
        try:
            for _ in world.mortal(dies_at, after=after).drive("unet-3", world.stay()):
                pass
        except KilledError:
            world.drive()
            assert world.state.phase == whole.state.phase
            assert world.cloud.created == whole.cloud.created
            assert world.cloud.asked == whole.cloud.asked
        else:
            return
    pytest.fail("expected the driver to outlive 200 calls")


def test_a_cloud_that_is_away_for_a_while_is_asked_again_but_not_at_the_first_time(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO)
    look, left = world.cloud.look, [0]

    def away(state: Any, known: Any) -> Any:
        left[0] += 1
        if left[0] in {5, 6}:
            raise CloudError(Code.UNAVAILABLE, "iot describe_job: no answer")
        return look(state, known)

    world.cloud.look = away  # type: ignore[method-assign]
    assert world.drive().phase == "COMPLETED"
    assert [trouble.code for trouble in world.troubles] == [Code.UNAVAILABLE] * 2
    left[0] = 4
    with pytest.raises(CloudError, match="no answer"):
        world.drive()


def test_a_file_that_is_no_rollout_hides_no_other_in_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    World(tmp_path, plan(REST), THINGS).drive()
    (tmp_path / "newer.json").write_text('{"schema": "edge-agent/rollout-state/9"}')
    (tmp_path / "hand made.json").write_text("{}")
    list_(str(tmp_path), as_json=True)
    newer, good = json.loads(capsys.readouterr().out)
    assert good == {"rollout": "unet-3", "phase": "COMPLETED", "reason": ""}
    assert (newer["rollout"], newer["phase"]) == ("newer", "UNREADABLE")
    assert "newer.json" in newer["reason"]


def test_two_drivers_make_each_job_once(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, {"percent": 50}, REST), THINGS, TWO)
    both = [world.driver.drive("unet-3", world.stay()) for _ in range(2)]
    while both:
        both = [driving for driving in both if next(driving, None) is not None]
    assert world.cloud.created == ["unet-3-s0", "unet-3-s1", "unet-3-s2"]
    assert world.state.phase == "COMPLETED"


def test_the_next_job_is_made_only_after_its_stage_is_written_down(tmp_path: Path) -> None:
    world = World(tmp_path, plan(REST), THINGS)
    world.driver.step("unet-3")
    assert (len(world.state.waves), world.cloud.created) == (1, [])
    assert isinstance(world.driver.look("unet-3").next, Create)


@pytest.mark.parametrize(
    ("ends", "wish", "code"),
    [
        ({}, None, Exit.OK),
        ({"press-1": ("FAILED", "NO_SPACE")}, None, Exit.PARTLY_FAILED),
        ({"press-1": ("FAILED", "LOAD_FAILED")}, None, Exit.FAILED),
        ({}, lambda state, now: state.paused("", now), Exit.CONFLICT),
        ({}, lambda state, now: state.aborted("", now, force=False, undo=False), Exit.FAILED),
    ],
)
def test_the_exit_code_says_how_a_rollout_ended(tmp_path: Path, ends: Any, wish: Any, code: Exit) -> None:
    world = World(tmp_path, plan(REST), THINGS, (), ends)
    if wish:
        world.driver.change("unet-3", wish)
    world.drive()
    assert meaning(world.driver.look("unet-3")) is code


def test_what_a_device_says_is_drawn_and_never_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO, {"press-7": ("FAILED", "LOAD_FAILED")})
    step = world.cloud.step

    def say(job_id: str, thing: str) -> bool:
        moved, job = step(job_id, thing), world.cloud.jobs[job_id]
        said = {name: each._replace(message="[red]no\x1b[2J") for name, each in job.executions.items()}
        world.cloud.jobs[job_id] = job._replace(executions=said)
        return moved

    world.cloud.step = say  # type: ignore[method-assign]
    last = follow(world.driver.drive("unet-3", world.stay()), as_json=False)
    show(last, as_json=False)
    told = capsys.readouterr().out
    console = Console(file=StringIO(), width=200, force_terminal=True)
    console.print(drawn(last))
    for text in (told, str(console.file.getvalue())):  # type: ignore[attr-defined]
        assert "press-7" in text
        assert "[red]no" in text
        assert "\x1b[2J" not in text


def test_a_look_that_finds_something_to_do_says_that_nobody_may_be_driving(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, plan(CANARY, REST), THINGS, TWO)
    show(world.driver.look("unet-3"), as_json=False)
    assert "edge-cloud rollout resume unet-3 goes on" in capsys.readouterr().err
    world.driver.carry_on("unet-3")
    show(world.driver.look("unet-3"), as_json=False)
    assert capsys.readouterr().err == ""


def test_what_is_written_down_is_read_the_same_and_named(tmp_path: Path) -> None:
    world = World(tmp_path, plan(CANARY, REST, policy={"probation": {"max_seconds": 5}}), THINGS, TWO)
    state = world.drive()
    assert parse(RolloutState, state.to_json(), what="state") == state
    assert world.ledger.names() == ["unet-3"]
    assert Ledger(DirectoryStorage(tmp_path / "nowhere")).names() == []
    with pytest.raises(CloudError, match="there is none"):
        world.ledger.read("unet-4")
    with pytest.raises(CloudError, match="letters, digits and dashes"):
        world.ledger.read("../unet-3")
