"""Similar parts on the page: what is said, and what is served."""

import pytest

from edge_agent.client import FrameContent
from edge_agent.dashboard.similar_view import bank_view, similar_view
from edge_agent.dashboard.words import read_languages
from edge_agent.formats import BankStatus, SimilarPart, SimilarParts
from tests.fakes.page_agent import a_capture, a_model
from tests.fakes.page_room import PageRoom

EN, DE = read_languages()["en"], read_languages()["de"]
JPEG = b"\xff\xd8\xff and so on"
LEARNT = SimilarPart(similarity=0.9993, captured=False, id="train/good/1.png", label="good", thumbnail=JPEG)
CAPTURED = SimilarPart(similarity=0.9, captured=True, id="c1", label="NG", verdict="OK", at=1000.0)
TOLD = SimilarParts(model="brick", version="3", distance=0.0007, limit=0.01, parts=(LEARNT, CAPTURED))


def test_a_part_is_told_with_where_it_comes_from_and_how_alike_it_is() -> None:
    view = similar_view(TOLD, "", lambda content: f"/kept/{len(content)}", EN)
    assert (view["trouble"], view["by"], view["tone"]) == ("", "Compared by brick 3.", "good")
    learnt, captured = view["parts"]
    assert (learnt["similarity"], learnt["what"], learnt["label"], learnt["name"]) == (
        "99.93 %", "Learnt from", "good", "train/good/1.png"
    )  # fmt: skip
    assert (learnt["picture"], learnt["verdict"]) == (f"/kept/{len(JPEG)}", None)
    assert (captured["what"], captured["word"], captured["picture"]) == ("Captured", "OK", "/captures/c1/thumbnail")
    assert similar_view(TOLD, "", str, DE)["parts"][0]["similarity"] == "99,93 %"


def test_a_part_far_from_what_was_learnt_is_said_to_be() -> None:
    view = similar_view(TOLD.model_copy(update={"far": True}), "", str, EN)
    assert (view["tone"], view["distance"].startswith("As a whole it is less like")) == ("bad", True)


@pytest.mark.parametrize(
    ("told", "trouble"),
    [
        (SimilarParts(message="none"), "None of the models here carries a memory of the parts that it learnt from."),
        (
            SimilarParts(model="brick", version="3", message="it is torn"),
            "brick 3 carries no memory of the parts that it learnt from; captured parts only. it is torn",
        ),
        (SimilarParts(model="brick", version="3", limit=0.1), "There is nothing to compare with yet."),
    ],
)
def test_a_page_with_nothing_to_show_says_why(told: SimilarParts, trouble: str) -> None:
    assert similar_view(told, "", str, EN)["trouble"] == trouble


def test_drift_is_told_in_plain_words() -> None:
    assert bank_view(None, EN)["word"] == "No memory"
    broken = bank_view(BankStatus(state="BROKEN", message="torn"), EN)
    assert (broken["word"], broken["tone"], broken["meaning"]) == ("Memory broken", "bad", "torn")
    waiting = bank_view(BankStatus(state="WAITING", seen=7, needed=100), EN)
    assert (waiting["word"], waiting["meaning"]) == ("Not known yet", "7 of 100 parts seen")
    drifted = bank_view(BankStatus(state="DRIFTED", seen=500, far_share=0.25, drift=0.5), EN)
    assert drifted["meaning"] == "25.0 % of the last 500 parts look unlike what was learnt; drift 0.50"
    assert (bank_view(BankStatus(state="STEADY"), DE)["word"], drifted["tone"]) == ("Wie gelernt", "bad")


def test_small_pictures_of_learnt_parts_are_served_as_pictures_and_others_are_not() -> None:
    room = PageRoom()
    room.agent.similar_parts["c1"] = TOLD
    view = room.browser.get("/similar/c1").get_json()
    picture = room.browser.get(view["parts"][0]["picture"])
    assert (picture.status_code, picture.content_type, picture.data) == (200, "image/jpeg", JPEG)
    assert room.browser.get("/similar/pictures/0123.jpg").status_code == 404
    assert room.browser.get("/similar/<b>").status_code == 404


def test_a_part_that_is_gone_and_an_agent_that_is_older_are_told() -> None:
    room = PageRoom()
    assert room.browser.get("/similar/gone").get_json()["trouble"] == "The agent no longer holds this part."
    room.agent.unserved.add("similar")
    assert room.browser.get("/similar/c1").get_json()["trouble"] == "This agent does not tell this yet."
    room.agent.go_away("it is away")
    assert room.browser.get("/similar/c1").get_json()["parts"] == []


def test_a_large_picture_is_no_small_one() -> None:
    room = PageRoom()
    large = LEARNT.model_copy(update={"thumbnail": JPEG + bytes(70_000)})
    room.agent.similar_parts["c1"] = TOLD.model_copy(update={"parts": (large,)})
    assert room.browser.get("/similar/c1").get_json()["parts"][0]["picture"] in (None, "")


def test_a_capture_says_why_it_was_captured() -> None:
    room = PageRoom()
    room.agent.capture_list = [a_capture("c1", reason="far"), a_capture("c2", reason="newer"), a_capture("c3")]
    page = room.browser.get("/captures?lang=en").text
    assert page.count('data-testid="why"') == 2
    assert "unlike what was learnt" in page
    assert ">newer<" in page
    assert "anders als das Gelernte" in room.browser.get("/captures?lang=de").text


def test_both_pages_offer_it_and_health_tells_drift() -> None:
    room = PageRoom()
    room.agent.models = {"unet": a_model("unet", "2", bank=BankStatus(state="DRIFTED", seen=100, far_share=1.0))}
    room.agent.capture_list = [a_capture("c1")]
    room.agent.capture_pictures["c1", "thumbnail"] = FrameContent(JPEG, "image/jpeg")
    room.look()
    for path in ("/", "/captures"):
        assert 'data-similar-parts="/similar/"' in room.browser.get(path).text
    health = room.browser.get("/health").text
    assert "Drifted" in health
    assert "100.0 % of the last 100 parts look unlike what was learnt" in health
