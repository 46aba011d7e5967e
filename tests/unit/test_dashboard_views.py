"""What the page says: views of documents, in every language."""

import re
from typing import Any

import pytest

from edge_agent.dashboard.delivery_view import models_view, seconds, size, steps_view, tone
from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.presentation import now_view
from edge_agent.dashboard.words import read_languages
from edge_agent.formats import AgentStatus, Counts, DeploymentReport, StateReport, Verdict
from tests.fakes.page_agent import a_frame, a_model, a_report, a_result

LANGUAGES = read_languages()
EN, DE = LANGUAGES["en"], LANGUAGES["de"]
READY = AgentStatus(version="1", thing="line", uptime_s=1, state="READY", cloud="OFF")


def snapshot(**fields: Any) -> Snapshot:
    return Snapshot(agent=READY, away="", away_since=0.0)._replace(**fields)


def test_every_language_says_the_same_things_with_the_same_values() -> None:
    def fields(text: str) -> list[str]:
        return sorted(re.findall(r"{(\w+)}", text))

    assert set(LANGUAGES) >= {"en", "de"}
    for words in LANGUAGES.values():
        assert {key: fields(text) for key, text in words.texts.items()} == {
            key: fields(text) for key, text in EN.texts.items()
        }


def test_numbers_are_written_as_the_language_writes_them() -> None:
    assert (EN.number(1234.5, 1), DE.number(1234.5, 1)) == ("1,234.5", "1.234,5")


def test_now_tells_the_verdict_the_picture_and_each_models_part_in_it() -> None:
    frame = a_frame("f1", Verdict.NG, a_result("unet", "2", Verdict.NG, score=0.83, threshold=0.5, area=0.021), at=97.5)
    view = now_view(snapshot(frame=frame, models=(a_model("unet", "2"),)), EN, 100.0)
    assert (view["verdict"], view["word"], view["frame"]["age_s"]) == ("NG", "NG", 2.5)
    assert view["frame"]["overlays"] == [
        {"application": "image-segmentation-app", "src": "/frames/f1/overlay/image-segmentation-app.png"}
    ]
    (card,) = view["cards"]
    assert (card["model"], card["version"], card["score"], card["threshold"]) == ("unet", "2", "0.830", "0.50")
    assert (card["score_share"], card["threshold_share"]) == (83.0, 50.0)
    assert card["testid"] == "model-unet-version"
    assert card["answered"] == ""


def test_a_model_that_something_else_executes_than_wanted_says_so_on_both_pages() -> None:
    why = "expected CUDAExecutionProvider, it runs on CPUExecutionProvider: no GPU"
    model = a_model("unet", "2").model_copy(update={"state": "DEGRADED", "message": why})
    (shown,) = models_view(snapshot(models=(model,)), EN, 100.0)["models"]
    assert (shown["state"], shown["state_word"], shown["message"]) == ("DEGRADED", "Degraded", why)
    (card,) = now_view(snapshot(models=(model,)), DE, 100.0)["cards"]
    assert card["trouble"] == "Eingeschränkt"


def test_without_a_frame_the_page_waits_and_never_says_ok() -> None:
    view = now_view(snapshot(models=(a_model("unet", "1"),)), EN, 100.0)
    assert (view["verdict"], view["word"], view["frame"]) == ("NONE", "WAITING", None)
    assert [(card["model"], card["version"], card["word"]) for card in view["cards"]] == [("unet", "1", "WAITING")]


def test_a_picture_that_an_older_version_answered_says_so_beside_the_active_one() -> None:
    frame = a_frame("f1", Verdict.OK, a_result("unet", "1"))
    (card,) = now_view(snapshot(frame=frame, models=(a_model("unet", "2"),)), EN, 100.0)["cards"]
    assert card["version"] == "2"
    assert card["answered"] == "This picture was answered by version 1"


def test_a_model_without_result_shows_no_score_no_bar_and_no_overlay() -> None:
    silent = a_result("unet", "1", Verdict.NO_RESULT, message="UNAVAILABLE: ask again", score=0.0)
    view = now_view(snapshot(frame=a_frame("f1", Verdict.NO_RESULT, silent)), DE, 100.0)
    (card,) = view["cards"]
    assert (card["score_share"], card["threshold_share"], card["message"]) == (0.0, None, "UNAVAILABLE: ask again")
    assert view["word"] == "KEIN ERGEBNIS"
    assert view["frame"]["overlays"] == []


def test_where_nothing_is_marked_nothing_is_drawn() -> None:
    marked, plain = (a_result("unet", "2", area=area) for area in (0.01, 0.0))
    sources = [
        now_view(snapshot(frame=a_frame("f1", Verdict.OK, one)), EN, 1.0)["frame"]["overlays"][0]["src"]
        for one in (marked, plain)
    ]
    assert sources == ["/frames/f1/overlay/image-segmentation-app.png", "/static/nothing.png"]


def test_a_model_that_a_chain_did_not_need_is_not_asked_and_no_fault() -> None:
    skipped = a_result("unet", "", Verdict.NO_RESULT, message="skipped: app says OK", score=0.0)
    frame = a_frame("f1", Verdict.OK, skipped.model_copy(update={"skipped": True}))
    (card,) = now_view(snapshot(frame=frame), EN, 100.0)["cards"]
    assert (card["verdict"], card["word"], card["message"]) == ("NONE", "NOT ASKED", "skipped: app says OK")


def test_two_applications_of_one_model_share_one_name_to_look_for() -> None:
    model = a_model("unet", "1", applications=("left", "right"))
    cards = now_view(snapshot(models=(model,)), EN, 1.0)["cards"]
    assert [card["testid"] for card in cards] == ["model-unet-version", ""]


def test_scores_beyond_their_range_or_not_numbers_stay_inside_the_bar() -> None:
    for score in (-1.0, 7.0, float("nan"), float("inf")):
        frame = a_frame("f1", Verdict.NG, a_result("unet", "1", Verdict.NG, score=score))
        (card,) = now_view(snapshot(frame=frame), EN, 1.0)["cards"]
        assert 0.0 <= card["score_share"] <= 100.0


def test_a_clock_that_went_back_makes_no_picture_younger_than_new() -> None:
    assert now_view(snapshot(frame=a_frame("f1", at=200.0)), EN, 100.0)["frame"]["age_s"] == 0.0


def test_counts_fill_their_bar_and_an_empty_one_is_empty() -> None:
    counts = now_view(snapshot(counts=Counts(ok=6, ng=3, no_result=1)), EN, 1.0)["counts"]
    assert (counts["ok_share"], counts["ng_start"], counts["ng_share"], counts["no_result_start"]) == (60, 60, 30, 90)
    assert now_view(snapshot(), EN, 1.0)["counts"]["ok_share"] == 0.0


def test_an_agent_that_is_away_is_told_with_the_reason_and_for_how_long() -> None:
    agent = now_view(snapshot(away="no answer", away_since=90.0), EN, 100.0)["agent"]
    assert (agent["state"], agent["word"], agent["why"], agent["away_s"]) == ("AWAY", "Away", "no answer", 10.0)
    assert agent["cloud"] == "UNKNOWN"


def running(*states: str, **fields: Any) -> DeploymentReport:
    passed = tuple(StateReport(state=state, at=1.0, seconds=1.5) for state in states)
    return a_report(state=states[-1], **({"states": passed} | fields))


def marks(report: DeploymentReport) -> dict[str, str]:
    return {step["state"]: step["mark"] for step in steps_view(report, EN)}


def test_a_running_deployment_shows_what_is_done_what_is_now_and_what_comes() -> None:
    shown = marks(running("ACCEPTED", "REFRESHING", "CHECKING", "DOWNLOADING"))
    assert list(shown)[-1] == "COMMITTED"
    assert [shown[state] for state in ("CHECKING", "DOWNLOADING", "VERIFIED")] == ["done", "now", "todo"]


def test_a_rollback_has_its_own_shorter_way() -> None:
    assert "DOWNLOADING" not in marks(running("ACCEPTED", operation="rollback"))


def test_a_failed_deployment_ends_where_it_broke() -> None:
    report = running("ACCEPTED", "REFRESHING", "FAILED", code="TRANSFER_FAILED", ended=9.0)
    assert marks(report) == {"ACCEPTED": "done", "REFRESHING": "done", "FAILED": "bad"}
    assert tone(report) == "bad"


def test_reporting_to_the_cloud_is_no_step_of_the_work() -> None:
    report = running("ACCEPTED", "COMMITTED", "REPORTED", ended=9.0).model_copy(update={"state": "COMMITTED"})
    assert marks(report) == {"ACCEPTED": "done", "COMMITTED": "done"}
    assert tone(report) == "good"


@pytest.mark.parametrize(
    ("state", "fields", "expected"),
    [
        ("DOWNLOADING", {}, "running"),
        ("ROLLING_BACK", {}, "bad"),
        ("CANCELLED", {"ended": 2.0, "code": "CANCELLED"}, "neutral"),
        ("REFUSED", {"ended": 2.0, "code": "WRONG_HARDWARE"}, "bad"),
        ("COMMITTED", {"ended": 2.0}, "good"),
    ],
)
def test_each_outcome_has_its_tone(state: str, fields: dict[str, Any], expected: str) -> None:
    assert tone(a_report(state=state, **fields)) == expected


def test_models_tell_versions_bytes_and_history_with_reasons() -> None:
    done = a_report(operation="rollback", state="COMMITTED", reason="bad light", started=10.0, ended=13.5, id="d0")
    view = models_view(
        snapshot(
            models=(a_model("unet", "2", previous="1", staged="3"), a_model("img-classification", "1")),
            deployment=a_report(bytes_done=42_100_000, bytes_total=98_000_000),
            history=(done,),
        ),
        EN,
        20.0,
    )
    unet, classification = view["models"]
    assert (unet["previous"], unet["active"], unet["staged"]) == ("1", "2", "3")
    assert unet["roll_back"] == "Roll back to 1"
    assert (classification["previous"], classification["roll_back"]) == ("\N{EN DASH}", "")
    assert (view["deployment"]["bytes"], view["deployment"]["share"]) == ("42.1 MB of 98.0 MB", 43.0)
    (line,) = view["history"]
    assert (line["reason"], line["lasted"], line["state_word"]) == ("Reason: bad light", "3.5 s", "Committed")


def test_without_a_deployment_the_page_says_so() -> None:
    deployment = models_view(snapshot(), EN, 1.0)["deployment"]
    assert (deployment["title"], deployment["steps"]) == ("Nothing is being deployed", [])


def test_durations_and_sizes_read_as_a_person_says_them() -> None:
    assert [seconds(value, EN) for value in (0.42, 12.2, 61, 3725)] == ["0.4 s", "12 s", "1 min 1 s", "1 h 2 min"]
    assert [size(value, EN) for value in (0, 12, 4200, 4_200_000)] == ["", "12 B", "4 kB", "4.2 MB"]
