"""Policies and what is judged by them: whatever is merged, nobody gets less than each asked for."""

import math

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.deployment.watching import comparison, guards
from edge_agent.deployment.watching.comparison import Comparison
from edge_agent.deployment.watching.watches import Answers, Beside, Compared, Sketch, Watch
from edge_agent.errors import ActivationError
from edge_agent.formats import Policy, ProbationPolicy, ShadowPolicy, parse

shares = st.none() | st.floats(0, 1)
ratios = st.none() | st.floats(0.1, 100)
lengths = {
    "min_requests": st.integers(0, 1000),
    "max_seconds": st.one_of(st.just(0.0), st.floats(0, 604_800)),
}
shadows = st.builds(
    ShadowPolicy,
    **lengths,
    min_agreement=shares,
    max_score_distance=shares,
    min_mask_iou=shares,
    max_latency_ratio=ratios,
)
probations = st.builds(
    ProbationPolicy, **lengths, max_error_rate=shares, max_latency_ratio=ratios, max_verdict_rate_change=shares
)
values = st.lists(st.floats(0, 1e6), max_size=50)
comparisons = st.lists(
    st.builds(
        Comparison,
        agreed=st.booleans(),
        score_distance=st.none() | st.floats(0, 1),
        overlap=st.integers(0, 100),
        union=st.integers(100, 200),
        live_ms=st.floats(0.01, 1000),
        candidate_ms=st.floats(0.01, 1000),
    ),
    max_size=40,
)


@given(shadows, shadows, st.integers(0, 2000), st.floats(0, 700_000))
def test_a_merged_stage_is_not_over_before_each_of_both_is(
    a: ShadowPolicy, b: ShadowPolicy, requests: int, seconds: float
) -> None:
    if a.strictest(b).is_over(requests, seconds):
        assert a.is_over(requests, seconds)
        assert b.is_over(requests, seconds)


@given(shadows, shadows, shadows)
def test_the_strictest_depends_on_no_order_and_says_the_same_twice(
    a: ShadowPolicy, b: ShadowPolicy, c: ShadowPolicy
) -> None:
    assert a.strictest(b) == b.strictest(a)
    assert a.strictest(b).strictest(c) == a.strictest(b.strictest(c))
    assert a.strictest(b).strictest(b) == a.strictest(b)
    assert a.strictest(a) == a.strictest(None)


@given(probations, probations, probations)
def test_the_strictest_probation_depends_on_no_order_either(
    a: ProbationPolicy, b: ProbationPolicy, c: ProbationPolicy
) -> None:
    assert a.strictest(b) == b.strictest(a)
    assert a.strictest(b).strictest(c) == a.strictest(b.strictest(c))
    assert a.strictest(b).strictest(b) == a.strictest(b)


@given(shadows, shadows, comparisons, st.integers(0, 1))
def test_what_a_merged_shadow_lets_pass_passes_each(
    a: ShadowPolicy, b: ShadowPolicy, seen: list[Comparison], failed: int
) -> None:
    compared = comparison.grown(Compared(failed=failed), seen)
    beside = Beside(seconds=1, models={"unet": compared})
    if passes_shadow(beside, a.strictest(b)):
        assert passes_shadow(beside, a)
        assert passes_shadow(beside, b)
        assert not failed


@given(probations, probations, st.integers(0, 100), st.integers(0, 100), st.integers(0, 30), st.integers(0, 30))
def test_what_a_merged_probation_lets_pass_at_its_end_passes_each(
    a: ProbationPolicy, b: ProbationPolicy, requests: int, failures: int, ng: int, ng_before: int
) -> None:
    answers = Answers(requests=30, judged=30, ng=ng, took_ms=Sketch().plus([2.0] * 30))
    before = Answers(requests=30, judged=30, ng=ng_before, took_ms=Sketch().plus([1.0] * 30))
    watch = Watch(requests=requests, failures=failures, models={"unet": answers}, before={"unet": before})
    if passes_probation(watch, a.strictest(b)):
        assert passes_probation(watch, a)
        assert passes_probation(watch, b)


@given(shadows, probations, st.lists(st.builds(Policy, shadow=st.none() | shadows, probation=st.none() | probations)))
def test_the_device_is_never_satisfied_with_less_than_it_says(
    shadow: ShadowPolicy, probation: ProbationPolicy, others: list[Policy]
) -> None:
    merged = guards.merged(Policy(), others, shadow=shadow, probation=probation)
    assert merged.shadow is not None
    assert merged.probation is not None
    assert merged.shadow.strictest(shadow) == merged.shadow
    assert merged.probation.strictest(probation) == merged.probation


@given(values, values)
def test_a_sketch_tells_quantiles_within_its_precision_in_whatever_parts_it_came(
    first: list[float], second: list[float]
) -> None:
    sketch = Sketch().plus(first).plus(second)
    assert sketch == Sketch().plus([*second, *first])
    assert parse(Sketch, sketch.to_json(), what="sketch") == sketch
    ordered = sorted([*first, *second])
    assert sketch.count == len(ordered)
    for share in (0.5, 0.95, 1.0):
        found = sketch.quantile(share)
        if not ordered:
            assert found is None
            continue
        exact = ordered[max(1, math.ceil(share * len(ordered))) - 1]
        assert found is not None
        assert math.isclose(found, exact, rel_tol=0.025, abs_tol=1e-6)


@given(comparisons, comparisons)
def test_counters_that_were_kept_go_on_as_if_nothing_had_happened(
    first: list[Comparison], second: list[Comparison]
) -> None:
    kept = parse(Beside, Beside(models={"m": comparison.grown(Compared(), first)}).to_json(), what="record")
    resumed = comparison.grown(kept.of("m"), second)
    assert resumed == comparison.grown(Compared(), [*first, *second])
    assert resumed.compared == len(first) + len(second)
    assert resumed.agreement is None or 0 <= resumed.agreement <= 1
    assert resumed.mask_iou is None or 0 <= resumed.mask_iou <= 1


def passes_shadow(seen: Beside, policy: ShadowPolicy) -> bool:
    try:
        guards.check_shadow(seen, policy)
    except ActivationError:
        return False
    return True


def passes_probation(seen: Watch, policy: ProbationPolicy) -> bool:
    try:
        guards.check_probation(seen, policy, over=True)
    except ActivationError:
        return False
    return True
