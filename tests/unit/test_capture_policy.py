import pytest

from edge_agent.capture.policy import Policy, urgent, wanted
from edge_agent.formats import InspectedFrame, Verdict
from tests.fakes.captures import frame, result

OK, NG, NO_RESULT = frame("a", Verdict.OK), frame("b", Verdict.NG), frame("c", Verdict.NO_RESULT)
NOBODY = frame("d", Verdict.NO_RESULT, result(version="", verdict=Verdict.NO_RESULT))


@pytest.mark.parametrize(
    ("policy", "captured"),
    [("none", []), ("ng", [NG]), ("all", [OK, NG, NO_RESULT])],
)
def test_the_policy_decides_what_is_captured(policy: Policy, captured: list[InspectedFrame]) -> None:
    assert [seen for seen in (OK, NG, NO_RESULT, NOBODY) if wanted(policy, seen)] == captured


def test_only_defects_are_urgent() -> None:
    assert [urgent(verdict) for verdict in (Verdict.OK, Verdict.NG, Verdict.NO_RESULT)] == [False, True, False]
