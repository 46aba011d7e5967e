"""Policies combine by "or", and what leaves the disk is the least that has to, of what may."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.policy import Policy, Sampling, reason
from edge_agent.capture.room import Kept, to_leave
from edge_agent.formats import InspectedFrame, Verdict
from tests.fakes.captures import frame, result

verdicts = st.sampled_from(list(Verdict))
samplings = st.builds(
    Sampling,
    doubt=st.booleans(),
    band=st.floats(0, 1),
    every=st.integers(0, 5),
    share=st.floats(0, 1),
)
policies: st.SearchStrategy[Policy] = st.sampled_from(["none", "ng", "all", "chosen"])
frames = st.builds(
    lambda verdict, score: frame("f", verdict, result(verdict=verdict).model_copy(update={"score": score})),
    verdicts,
    st.floats(0, 1),
)
kept = st.lists(
    st.builds(
        Kept, id=st.uuids().map(str), at=st.floats(0, 1e9), defective=st.booleans(), size_bytes=st.integers(1, 99)
    ),
    unique_by=lambda capture: capture.id,
    max_size=12,
)


@given(policies, samplings, frames, st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_a_frame_is_captured_if_and_only_if_one_of_the_wishes_alone_wants_it(
    policy: Policy, sampling: Sampling, inspected: InspectedFrame, number: int, chance: float
) -> None:
    alone = [Sampling(**{name: getattr(sampling, name)}) for name in Sampling._fields]
    wishes = [reason(policy, Sampling(), inspected, number=number, chance=chance)]
    if policy != "none":
        wishes += [reason("chosen", wish, inspected, number=number, chance=chance) for wish in alone]
    told = reason(policy, sampling, inspected, number=number, chance=chance)
    assert bool(told) == any(wishes)
    assert told in wishes


@given(kept, st.integers(-10, 1500))
def test_what_leaves_is_enough_and_not_one_too_many_the_defective_last(captures: list[Kept], excess: int) -> None:
    by_id = {capture.id: capture for capture in captures}
    leaving = [by_id[name] for name in to_leave(captures, excess)]
    freed = sum(capture.size_bytes for capture in leaving)
    assert freed >= excess or len(leaving) == len(captures)
    assert not leaving or freed - leaving[-1].size_bytes < excess
    staying = [capture for capture in captures if capture not in leaving]
    assert all((gone.defective, gone.at) <= (stays.defective, stays.at) for gone in leaving for stays in staying)
