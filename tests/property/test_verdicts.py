"""The verdict rule, alone and over time: doubt is never OK, and a defect that is certain is never let through."""

import math

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.formats import ModelResult, Verdict
from edge_agent.inspection.steadiness import History, Steadiness, count
from edge_agent.inspection.verdict import Combination, combine, form_verdict, form_weighted

OK, NG, NONE = Verdict.OK, Verdict.NG, Verdict.NO_RESULT
THRESHOLD = 0.5

VERDICTS = st.sampled_from(Verdict)
WEIGHTS = st.floats(1e-3, 1e3)
SHARES = st.floats(1e-3, 1.0)
WEIGHED = st.lists(st.tuples(VERDICTS, WEIGHTS), max_size=6)


def results_of(*scores: float | None, names: str = "abcdef") -> list[ModelResult]:
    """What models say whose threshold is 0.5; no score: no result."""
    return [
        ModelResult(application=name, model="m", verdict=NONE)
        if score is None
        else ModelResult(
            application=name, model="m", verdict=NG if score >= THRESHOLD else OK, score=score, threshold=THRESHOLD
        )
        for name, score in zip(names, scores, strict=False)
    ]


@given(WEIGHED, SHARES)
def test_of_weighted_models_none_that_is_missing_could_have_changed_what_is_certain(
    weighed: list[tuple[Verdict, float]], share: float
) -> None:
    verdict = form_weighted(weighed, share)
    if not weighed or any(each is NONE for each, _ in weighed):
        assert verdict is not OK
    if verdict is NG:
        best = [(OK if each is NONE else each, weight) for each, weight in weighed]
        assert form_weighted(best, share) is NG


@given(WEIGHED, SHARES)
def test_one_more_ng_never_makes_a_weighted_part_better(weighed: list[tuple[Verdict, float]], share: float) -> None:
    worse = [(NG, weight) for _, weight in weighed]
    assert not weighed or form_weighted(worse, share) is NG
    for index, (_, weight) in enumerate(weighed):
        changed = [*weighed[:index], (NG, weight), *weighed[index + 1 :]]
        if form_weighted(weighed, share) is NG:
            assert form_weighted(changed, share) is NG


@given(st.lists(VERDICTS, min_size=1, max_size=6))
def test_equal_weights_are_the_other_rules_at_their_ends(verdicts: list[Verdict]) -> None:
    weighed = [(verdict, 1.0) for verdict in verdicts]
    assert form_weighted(weighed, 1e-6) is form_verdict(verdicts, "any_ng")
    assert form_weighted(weighed, 1.0) is form_verdict(verdicts, "all_ng")


@given(st.lists(VERDICTS, min_size=1, max_size=12), st.data())
def test_n_of_m_says_ok_only_if_n_could_not_have_been_reached(seen: list[Verdict], data: st.DataObject) -> None:
    of_frames = data.draw(st.integers(len(seen), 12))
    ng_frames = data.draw(st.integers(1, of_frames))
    verdict = count(seen, ng_frames, of_frames)
    assert (verdict is NG) == (seen.count(NG) >= ng_frames)
    if verdict is OK:
        assert seen[-1] is not NONE
        assert seen.count(NG) + seen.count(NONE) < ng_frames


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=30), st.floats(0, 0.4))
def test_with_hysteresis_a_source_is_ng_from_the_threshold_until_below_the_margin(
    scores: list[float | None], margin: float
) -> None:
    history = History(Combination(), Steadiness({"a": margin}))
    held = False
    for score in scores:
        judged = history.judge("cam", results_of(score), 0.0)
        if score is None:
            assert judged.verdict is NONE
            continue
        held = score >= THRESHOLD or (held and score >= THRESHOLD - margin)
        assert judged.verdict is (NG if held else OK)
        assert bool(judged.remark) == (held and score < THRESHOLD)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=30))
def test_without_steadiness_history_changes_nothing(scores: list[float | None]) -> None:
    history = History(Combination(), Steadiness())
    for score in scores:
        results = results_of(score)
        assert history.judge("cam", results, 0.0) == (combine(results, Combination()), "")


@given(st.lists(st.text(max_size=3), max_size=50))
def test_only_so_many_sources_are_remembered_whatever_callers_call_themselves(sources: list[str]) -> None:
    history = History(Combination(), Steadiness(ng_frames=2, of_frames=3), limit=4)
    for source in sources:
        history.judge(source, results_of(0.9), 0.0)
        assert len(history) <= 4


def test_sources_do_not_meet_and_a_silent_one_begins_anew() -> None:
    history = History(Combination(), Steadiness({"a": 0.3}, forget_s=10.0))
    assert history.judge("one", results_of(0.9), 0.0).verdict is NG
    assert history.judge("two", results_of(0.4), 1.0).verdict is OK
    assert history.judge("one", results_of(0.4), 2.0).verdict is NG
    assert history.judge("", results_of(0.4), 2.0).verdict is OK
    assert history.judge("one", results_of(0.4), 12.1).verdict is OK


def test_a_source_that_begins_with_a_defect_is_in_doubt_until_enough_was_seen() -> None:
    history = History(Combination(), Steadiness(ng_frames=2, of_frames=3))
    scores = (0.9, 0.1, 0.1, 0.1, 0.9, 0.1, 0.9, None, 0.1, 0.1)
    judged = [history.judge("cam", results_of(score), 0.0) for score in scores]
    assert [each.verdict for each in judged] == [NONE, NONE, OK, OK, OK, OK, NG, NONE, NONE, OK]
    assert judged[0].remark == "1 of the last 1 frames of this source are NG, and too few others are known"
    assert judged[4].remark == "1 of the last 3 frames of this source are NG"


def test_what_a_chain_skipped_counts_for_nothing() -> None:
    (asked, skipped) = results_of(0.1, None)
    results = [asked, skipped.model_copy(update={"skipped": True})]
    for rule in ("any_ng", "all_ng", "weighted"):
        assert combine(results, Combination(rule)) is OK  # type: ignore[arg-type]
    assert math.isclose(sum([0.1] * 10), 1.0)
    tenths = [(NG, 0.1)] * 3 + [(OK, 0.1)] * 7
    assert form_weighted(tenths, 0.3) is NG
