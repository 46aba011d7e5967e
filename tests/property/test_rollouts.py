"""Rollouts of any fleet, by drivers that die anywhere: nothing is asked twice, nothing goes past a stop."""

import contextlib
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_tools.rollout.decide import End
from cloud_tools.rollout.jobs import ENDED
from cloud_tools.rollout.plan import STOP_CODES, RolloutPlan
from cloud_tools.rollout.seen import FAILURES
from cloud_tools.rollout.shares import divide
from tests.fakes.rollout_cloud import KilledError, World, plan

STOPPING = {code.value for code in STOP_CODES}
END = st.sampled_from(
    [("SUCCEEDED", "")] * 6 + [("FAILED", "NO_SPACE"), ("REJECTED", "WRONG_HARDWARE"), ("TIMED_OUT", "")]
    + [("FAILED", "GOLDEN_MISMATCH"), ("FAILED", "PROBATION_REGRESSION")]
)  # fmt: skip
PERCENTAGES = st.lists(st.integers(1, 100), min_size=1, max_size=4, unique=True).map(sorted)
ACTS = ["drive"] * 5 + ["device"] * 5 + ["clock"] * 3 + ["die", "devices"]
NAMES = st.lists(st.integers(0, 40).map("press-{}".format), min_size=1, max_size=25, unique=True)


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[RolloutPlan, list[str], list[list[str]], dict[str, tuple[str, str]]]:
    """Draw a rollout, its devices, whom each stage names, and how each device ends."""
    things = draw(NAMES)
    canaries = draw(st.lists(st.sampled_from(things), max_size=3, unique=True))
    stages: list[dict[str, Any]] = [{"percent": each} for each in draw(PERCENTAGES)]
    if canaries:
        stages.insert(0, {"to": ["group/canary"]})
    for stage in stages:
        stage["soak_minutes"] = draw(st.sampled_from([0, 5]))
        stage["enough_percent"] = draw(st.sampled_from([None, 40]))
    fields = {
        "stop": {"failed_percent": draw(st.sampled_from([1, 20, 50, 100])), "min_ended": draw(st.integers(1, 12))},
        "on_stop": draw(st.sampled_from(["keep", "rollback"])),
    }
    asked = plan(*stages, **fields)
    named = [canaries if stage.to else [] for stage in asked.stages]
    return asked, things, named, {thing: draw(END) for thing in things}


@settings(deadline=None)
@given(rollouts())
def test_shares_grow_with_the_percentages_and_hold_each_device_once(drawn: Any) -> None:
    asked, things, named, _ = drawn
    shares = divide(asked, things, named)
    members = [thing for share in shares for thing in share]
    assert len(members) == len(set(members))
    assert set(members) <= set(things)
    total = 0
    for stage, share in zip(asked.stages, shares, strict=True):
        before, total = total, total + len(share)
        if stage.percent is not None:
            assert total == max(before, math.ceil(len(things) * stage.percent / 100))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rollouts(), st.data())
def test_whoever_drives_and_dies_nothing_is_asked_twice_and_nothing_goes_past_a_stop(
    drawn: Any, data: st.DataObject
) -> None:
    asked, things, named, ends = drawn
    with TemporaryDirectory() as directory:
        world = World(Path(directory), asked, things, named, ends)
        for _ in range(400):
            begun, said = world.state.stage, has_reason_to_stop(world)
            act = data.draw(st.sampled_from(ACTS))
            if act == "drive":
                standing = world.driver.step(world.name)
                if isinstance(standing.next, End):
                    break
                assert not (said and world.state.stage > begun)
            elif act == "die":
                driver = world.mortal(data.draw(st.integers(1, 6)), after=data.draw(st.booleans()))
                with contextlib.suppress(KilledError):
                    driver.carry_on(world.name)
                assert not (said and world.state.stage > begun)
            elif act == "devices":
                world.cloud.turn()
            elif act == "device" and world.cloud.jobs:
                job_id = data.draw(st.sampled_from(sorted(world.cloud.jobs)))
                world.cloud.step(job_id, data.draw(st.sampled_from(world.cloud.things(job_id))))
            elif act == "clock":
                world.now += 150.0
            check(world)
        world.drive()
        check(world)
        assert world.state.phase in {"COMPLETED", "STOPPED"}
        check_end(world)


def has_reason_to_stop(world: World) -> bool:
    return any(each.code in STOPPING for job in world.cloud.jobs.values() for each in job.executions.values())


def check(world: World) -> None:
    """Check what holds at every moment."""
    state, cloud = world.state, world.cloud
    written = [part.job_id for part in state.all_parts()]
    # A job is there only if it was written down, and the same devices were.
    assert set(cloud.created) <= set(written)
    assert len(cloud.created) == len(set(cloud.created))
    for part in state.all_parts():
        if part.job_id in cloud.asked:
            assert cloud.things(part.job_id) == sorted(part.things)
    asked = [thing for wave in state.asking for thing in wave.things]
    assert len(asked) == len(set(asked))
    assert set(asked) <= {thing for share in state.shares for thing in share}


def check_end(world: World) -> None:
    """Check what follows from how the devices ended."""
    state, cloud = world.state, world.cloud
    ended = {
        thing: cloud.jobs[part.job_id].executions[thing]
        for wave in state.asking
        for part in state.parts(wave)
        for thing in part.things
        if part.job_id in cloud.jobs
    }
    said = {thing for thing, each in ended.items() if each.code in STOPPING}
    if said:
        assert state.phase == "STOPPED"
        assert all(each.status in ENDED | {"IN_PROGRESS"} for each in ended.values())
    if state.phase == "STOPPED":
        assert not any(cloud.jobs[part.job_id].live for wave in state.asking for part in state.parts(wave)
                       if part.job_id in cloud.jobs)  # fmt: skip
    back = {thing for wave in state.waves if wave.undo for thing in wave.things}
    good = {thing for thing, each in ended.items() if each.status == "SUCCEEDED"}
    assert back == (good if state.phase == "STOPPED" and state.plan.on_stop == "rollback" else set())
    if state.phase == "COMPLETED":
        assert not {each.code for each in ended.values() if each.status in FAILURES} & STOPPING


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 30), st.sampled_from(sorted(STOPPING)), st.integers(0, 5))
def test_no_job_is_made_after_the_canaries_when_one_has_a_reason_to_stop(
    canaries: int, others: int, code: str, bad: int
) -> None:
    things = [f"press-{number}" for number in range(canaries + others)]
    first = things[:canaries]
    asked = plan({"to": ["group/canary"]}, {"percent": 50}, {"percent": 100})
    with TemporaryDirectory() as directory:
        world = World(Path(directory), asked, things, [first], {first[bad % canaries]: ("FAILED", code)})
        assert world.drive().phase == "STOPPED"
        assert world.cloud.created == ["unet-3-s0"]
        assert world.cloud.things("unet-3-s0") == sorted(first)
