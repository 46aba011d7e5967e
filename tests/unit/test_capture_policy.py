import pytest

from edge_agent.capture.policy import Policy, Reason, Sampling, far_reason, reason, urgent
from edge_agent.formats import InspectedFrame, Verdict
from tests.fakes.captures import frame, result

OK, NG, NO_RESULT = frame("a", Verdict.OK), frame("b", Verdict.NG), frame("c", Verdict.NO_RESULT)
NOBODY = frame("d", Verdict.NO_RESULT, result(version="", verdict=Verdict.NO_RESULT))
OFF = Sampling()


def why(
    inspected: InspectedFrame, sampling: Sampling, policy: Policy = "chosen", number: int = 1, chance: float = 0.999
) -> Reason:
    return reason(policy, sampling, inspected, number=number, chance=chance)


def scored(score: float, verdict: Verdict = Verdict.OK) -> InspectedFrame:
    return frame("s", verdict, result(verdict=verdict).model_copy(update={"score": score}))


@pytest.mark.parametrize(
    ("policy", "captured"),
    [("none", []), ("ng", [NG]), ("all", [OK, NG, NO_RESULT]), ("chosen", [])],
)
def test_the_policy_decides_what_is_captured(policy: Policy, captured: list[InspectedFrame]) -> None:
    assert [seen for seen in (OK, NG, NO_RESULT, NOBODY) if why(seen, OFF, policy)] == captured


def test_doubts_are_captured_where_they_are_asked_for() -> None:
    asked = Sampling(doubt=True)
    assert [why(seen, asked) for seen in (OK, NG, NO_RESULT, NOBODY)] == ["", "", "doubt", ""]


@pytest.mark.parametrize(("score", "told"), [(0.39, ""), (0.41, "band"), (0.5, "band"), (0.59, "band"), (0.61, "")])
def test_scores_near_their_threshold_are_captured_on_either_side(score: float, told: Reason) -> None:
    assert why(scored(score), Sampling(band=0.1)) == told


def test_a_model_without_a_result_has_no_score_that_is_near() -> None:
    assert why(scored(0.5, Verdict.NO_RESULT), Sampling(band=1)) == ""


def test_every_so_manieth_inspection_is_captured() -> None:
    told = [why(OK, Sampling(every=3), number=number) for number in range(1, 8)]
    assert told == ["", "", "every", "", "", "every", ""]


@pytest.mark.parametrize(("chance", "told"), [(0.0, "share"), (0.24, "share"), (0.25, ""), (0.9, "")])
def test_a_share_is_captured_by_the_chance_that_was_drawn(chance: float, told: Reason) -> None:
    assert why(OK, Sampling(share=0.25), chance=chance) == told


def test_only_defects_are_urgent() -> None:
    assert [urgent(verdict) for verdict in (Verdict.OK, Verdict.NG, Verdict.NO_RESULT)] == [False, True, False]


def test_parts_far_from_what_was_learnt_are_captured_where_they_are_asked_for() -> None:
    wanted = Sampling(far=True)
    policies: tuple[Policy, ...] = ("none", "ng", "all", "chosen")
    assert [far_reason(policy, wanted) for policy in policies] == ["", "far", "far", "far"]
    assert far_reason("ng", OFF) == ""
    # It is known only after the inspection: then and there it is no reason.
    assert why(OK, wanted) == ""
