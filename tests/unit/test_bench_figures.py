"""What the benches make of what they measured."""

from collections.abc import Mapping, Sequence

import pytest

from scripts.benchlib.chorus import Heard, told
from scripts.benchlib.peers import beside

Times = Mapping[str, Mapping[str, Sequence[float]]]


def _heard(began: float, ended: float, *, wrong: str = "", word: str = "") -> Heard:
    return Heard("a protocol", began, ended, wrong, f"{word}: its worker ended" if word else "", word)


def test_only_what_was_under_way_at_a_kill_counts_as_killed() -> None:
    during, after, other = (
        _heard(10.0, 11.0, word="UNAVAILABLE"),
        _heard(14.0, 15.0, word="UNAVAILABLE"),
        _heard(10.0, 11.0, word="INTERNAL"),
    )

    figures = told([during, after, other, _heard(10.0, 11.0)], kills=[10.5])

    assert (figures["requests"], figures["killed_requests"], figures["failed_requests"]) == (4, 1, 2)
    assert figures["first_failure"] == "a protocol: UNAVAILABLE: its worker ended"


def test_a_wrong_answer_is_told_with_what_was_expected() -> None:
    figures = told([_heard(0.0, 1.0, wrong="expected 1, came 2"), _heard(0.0, 1.0)], kills=[])

    assert figures["wrong_answers"] == 1
    assert figures["first_wrong"] == "a protocol: expected 1, came 2"


def _times(**milliseconds: float) -> Times:
    return {name: {callers: [value] * 3 for callers in ("1", "2", "8")} for name, value in milliseconds.items()}


def test_each_server_is_compared_with_ours_and_with_executing_in_process() -> None:
    figures = beside._compared(_times(in_process=8.0, ours=10.0, triton=20.0), {})

    assert figures["triton"]["8"] == {
        "ms": 20.0,
        "served_over_in_process": 2.5,
        "served_over_in_process_p10": 2.5,
        "ours_over_theirs": 0.5,
        "ours_over_theirs_p10": 0.5,
    }
    assert figures["ours"]["1"] == {"ms": 10.0, "served_over_in_process": 1.25, "served_over_in_process_p10": 1.25}


def test_a_server_that_did_not_answer_is_null_and_the_reason_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    figures = beside._compared(_times(in_process=8.0, ours=10.0), {"kserve": "connection refused"})

    assert figures["kserve"] is None
    assert figures["mlserver"] is None
    assert "kserve is not measured, connection refused" in capsys.readouterr().err
