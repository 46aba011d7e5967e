"""From the verdicts of models to that of a part."""

import itertools

import pytest

from edge_agent.formats import Verdict
from edge_agent.inspection import FrameIds, Rule, form_verdict
from edge_agent.inspection.chain import Step, steps_of

OK, NG, NONE = Verdict.OK, Verdict.NG, Verdict.NO_RESULT


@pytest.mark.parametrize(
    ("rule", "verdicts", "expected"),
    [
        ("any_ng", [OK, OK], OK),
        ("any_ng", [OK, NG], NG),
        ("any_ng", [NG, NONE], NG),
        ("any_ng", [OK, NONE], NONE),
        ("any_ng", [], NONE),
        ("all_ng", [OK, NG], OK),
        ("all_ng", [NG, NG], NG),
        ("all_ng", [NG, NONE], NONE),
        ("all_ng", [OK, NONE], NONE),
        ("all_ng", [], NONE),
    ],
)
def test_the_rule_makes_one_verdict_of_many(rule: Rule, verdicts: list[Verdict], expected: Verdict) -> None:
    assert form_verdict(verdicts, rule) is expected


@pytest.mark.parametrize("rule", ["any_ng", "all_ng"])
def test_doubt_is_never_ok_in_whatever_order(rule: Rule) -> None:
    for count in (1, 2, 3):
        for verdicts in itertools.product((OK, NG, NONE), repeat=count):
            verdict = form_verdict(verdicts, rule)
            assert verdict is form_verdict(verdicts[::-1], rule)
            if NONE in verdicts:
                assert verdict is not OK


def test_applications_are_asked_in_the_order_of_the_mappings() -> None:
    mappings = {"b": "one", "a": "two", "c": "one"}
    assert steps_of(mappings, (), {}) == [Step("b", "one"), Step("a", "two"), Step("c", "one")]
    assert steps_of(mappings, ["c", "b"], {}) == [Step("b", "one"), Step("c", "one")]
    assert steps_of(mappings, ["x", "a", "x"], {}) == [Step("a", "two"), Step("x", None)]
    assert steps_of({}, (), {}) == []


def test_in_a_chain_an_application_comes_behind_the_one_that_it_waits_for() -> None:
    mappings = {"a": "one", "b": "two", "c": "three"}
    chain = {"a": "c", "c": "b"}
    assert steps_of(mappings, (), chain) == [Step("b", "two"), Step("c", "three", "b"), Step("a", "one", "c")]
    assert steps_of(mappings, ["a", "c"], chain) == [Step("c", "three"), Step("a", "one", "c")]
    assert steps_of(mappings, ["a"], chain) == [Step("a", "one")]
    assert steps_of({"a": "one"}, (), {"a": "gone"}) == [Step("a", "one")]


def test_frame_ids_sort_as_the_frames_came_though_the_clock_is_set_back() -> None:
    ids = FrameIds()
    given = [ids.next(now) for now in (1e9, 1e9, 5e8, 1e9 + 1, 0.0)]
    assert given == sorted(given)
    assert len(set(given)) == len(given)
    assert given[0] != FrameIds().next(1e9)
