"""The page Today and its orders; charts."""

import pytest

from edge_agent.dashboard import charts
from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.today_view import histogram_view, latency_view, today_view, yield_text
from edge_agent.dashboard.words import read_languages
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Counts, GoldenCheck, GoldenPart, LatencyPoint, ScoreHistogram, Verdict
from tests.fakes.page_agent import a_model, a_shift
from tests.fakes.page_room import PageRoom

EN = read_languages()["en"]


@pytest.fixture
def room() -> PageRoom:
    room = PageRoom()
    room.agent.models = {"unet": a_model("unet", "2", previous="1")}
    room.agent.shift_list = [a_shift("Early", 940, 60), a_shift("Night", 70, 30, running=False, reset_by="anna")]
    room.look()
    return room


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        (Counts(ok=940, ng=60, no_result=500), "94.0 %"),
        (Counts(), "\N{EN DASH}"),
        (Counts(no_result=4), "\N{EN DASH}"),
        (Counts(ok=99_999, ng=1), "99.9 %"),
        (Counts(ok=5), "100.0 %"),
    ],
)
def test_yield_is_the_share_of_ok_among_parts_with_a_verdict_and_never_rounded_up_to_all(
    counts: Counts, told: str
) -> None:
    assert yield_text(counts, EN) == told


def test_a_histogram_is_parted_at_the_threshold_and_drawn_to_the_highest_bin() -> None:
    scores = ScoreHistogram(application="app", model="unet", threshold=0.5, bins=(10, 5, 0, 1))
    view = histogram_view(scores, EN)
    assert view["below"].count("M") == 2
    assert view["beyond"].count("M") == 1
    assert "V0.00" in view["below"]
    assert view["threshold_x"] == 50.0
    assert view["summary"] == "Histogram of unet: 1 of 16 parts at or above the threshold 0.50"


def test_what_was_seen_once_among_thousands_is_still_drawn() -> None:
    assert "V98.50" in charts.bars((1, 100_000), 0, 2)


def test_charts_of_nothing_are_empty() -> None:
    assert charts.bars((), 0, 0) == charts.bars((0, 0), 0, 2) == charts.line(()) == charts.band((), ()) == ""


@pytest.mark.parametrize(("value", "top"), [(0.3, 1), (3, 5), (5, 5), (41, 50), (101, 200), (201, 500)])
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert charts.nice_top(value) == top


def test_latency_is_drawn_over_time_and_its_newest_told() -> None:
    points = [LatencyPoint(at=0, p50_ms=10, p95_ms=50, count=5), LatencyPoint(at=60, p50_ms=25, p95_ms=40, count=5)]
    view = latency_view([*points, LatencyPoint(at=120)], EN)
    assert view is not None
    assert (view["p50"], view["p95"], view["top"]) == ("25 ms", "40 ms", "50 ms")
    assert view["p95_path"] == "M0.00 0.00L100.00 20.00"
    assert view["band"] == "M0.00 0.00L100.00 20.00L100.00 50.00L0.00 80.00z"
    assert latency_view([LatencyPoint(at=120)], EN) is None


def test_the_page_is_complete_before_any_script_runs(room: PageRoom) -> None:
    page = room.browser.get("/today").text
    for told in ("Early", "94.0 %", "Night", "70.0 %", "anna", "Histogram of unet", "Reset counts"):
        assert told in page


def test_an_agent_that_does_not_tell_shifts_yet_is_said_calmly_and_its_counts_are_shown(room: PageRoom) -> None:
    room.agent.unserved = {"shifts"}
    room.agent.counts = Counts(ok=7, ng=1)
    room.look()
    answer = room.browser.get("/today")
    assert answer.status_code == 200
    assert "This agent does not tell this yet." in answer.text
    assert "87.5 %" in answer.text


def test_an_agent_that_is_away_is_said_calmly(room: PageRoom) -> None:
    room.agent.go_away()
    answer = room.browser.get("/today")
    assert (answer.status_code, "The agent does not answer just now." in answer.text) == (200, True)


def test_a_reset_goes_to_the_agent_with_its_reason_and_is_told(room: PageRoom) -> None:
    answer = room.order("/today/reset", reason=" set-up \n parts ")
    assert answer.status_code == 303
    assert room.agent.orders == [("reset_counts", "set-up parts", "dashboard 127.0.0.1")]
    assert "The counts begin anew." in room.browser.get(answer.location).text


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_reset_without_a_fitting_reason_changes_nothing(room: PageRoom, reason: str) -> None:
    answer = room.order("/today/reset", reason=reason)
    assert (answer.status_code, room.agent.orders) == (400, [])
    assert "A reason is needed" in answer.text


def test_a_golden_check_that_fails_says_so_and_which_part(room: PageRoom) -> None:
    wrong = GoldenPart(name="scratch.png", expected=Verdict.NG, verdict=Verdict.OK, score=0.4)
    room.agent.golden_outcome = GoldenCheck(state="FAILED", at=1.0, message="1 of 1", parts=(wrong,))
    answer = room.order("/today/golden")
    page = room.browser.get(answer.location).text
    assert "the check did not pass" in page
    assert "scratch.png" in page
    assert "WRONG" in page
    now = room.browser.get("/").text
    assert "GOLDEN PARTS FAILED" in now


def test_a_golden_check_without_golden_parts_tells_the_agents_reason(room: PageRoom) -> None:
    room.agent.refusal = InferenceError(Code.FAILED_PRECONDITION, "expected golden parts, there are none")
    answer = room.order("/today/golden")
    assert answer.status_code == 409
    assert "expected golden parts, there are none" in answer.text


def test_the_view_for_the_script_is_the_one_of_the_template(room: PageRoom) -> None:
    view = room.browser.get("/today/view?lang=de").get_json()
    assert view["shift"]["yield"] == "94,0 %"
    assert [shift["name"] for shift in view["earlier"]] == ["Night"]
    assert today_view(Snapshot(), [], "", EN, 1.0)["earlier"] == []
