"""The page Captures: filters, paging, pictures, labels and pauses."""

import re

import pytest
from werkzeug.test import TestResponse

from edge_agent.client import FrameContent
from edge_agent.dashboard.captures_page import PAGE, find
from edge_agent.dashboard.captures_view import Filter, differs
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import CaptureReport, CaptureStatus
from tests.fakes.page_agent import PageAgent, a_capture, a_model
from tests.fakes.page_room import PageRoom


def many(count: int, label_every: int = 0) -> list[CaptureReport]:
    return [
        a_capture(
            f"c{n}", "OK" if n % 2 else "NG", at=1000.0 - n, label="OK" if label_every and n % label_every == 0 else ""
        )
        for n in range(count)
    ]


@pytest.fixture
def room() -> PageRoom:
    room = PageRoom()
    room.agent.capture_list = many(60)
    room.agent.capture_pictures["c0", "thumbnail"] = FrameContent(b"jpeg", "image/jpeg")
    room.agent.capture_status = CaptureStatus(pending=60, failed=2, bytes=1_500_000, oldest_s=90, quota_bytes=10**9)
    room.look()
    return room


def test_turning_the_pages_shows_every_capture_once() -> None:
    agent, seen, before = PageAgent(), list[str](), 0.0
    agent.capture_list = many(60)
    while True:
        captures, before = find(agent, Filter(before=before), ())
        seen += [capture.id for capture in captures]
        if not before:
            break
    assert seen == [f"c{n}" for n in range(60)]


def test_a_page_that_is_just_full_has_no_next_one() -> None:
    agent = PageAgent()
    agent.capture_list = many(PAGE)
    captures, before = find(agent, Filter(), ())
    assert (len(captures), before) == (PAGE, 0.0)


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        (Filter(labels="any"), ["c0", "c10", "c20", "c30", "c40", "c50"]),
        (Filter("OK", "any"), []),
        (Filter("NG", "other"), ["c0", "c10", "c20", "c30", "c40", "c50"]),
    ],
    ids=str,
)
def test_a_label_is_looked_for_beyond_one_page(chosen: Filter, ids: list[str]) -> None:
    agent = PageAgent()
    agent.capture_list = many(60, label_every=10)
    captures, _ = find(agent, chosen, ())
    assert [capture.id for capture in captures] == ids


def test_a_filter_that_nobody_knows_counts_as_not_said() -> None:
    assert Filter.read("<b>", "x", "nan") == Filter.read("", "", "inf") == Filter.read("", "", "-1") == Filter()
    assert Filter.read("NG", "none", "12.5") == Filter("NG", "none", 12.5)


def test_the_queue_and_the_captures_are_told(room: PageRoom) -> None:
    page = room.browser.get("/captures?verdict=NG").text
    assert "1.5 MB of 1.0 GB" in page
    assert page.count('data-testid="capture"') == PAGE
    assert "/captures/c0/thumbnail" in page
    assert 'href="/captures?verdict=NG&amp;before=' in page
    assert 'data-testid="similar-parts"' in page


def test_a_thumbnail_is_a_file_and_others_are_not_found(room: PageRoom) -> None:
    assert room.browser.get("/captures/c0/thumbnail").data == b"jpeg"
    for path in (
        "/captures/c1/thumbnail",
        "/captures/c0/secrets",
        "/captures/..%2F..%2Fetc/picture",
        "/captures/%3Cb%3E/mask",
    ):
        assert room.browser.get(path).status_code == 404


def test_a_mask_that_is_no_picture_is_no_answer(room: PageRoom) -> None:
    room.agent.capture_pictures["c0", "mask"] = FrameContent(b"no png", "image/png")
    assert room.browser.get("/captures/c0/mask").status_code == 404


def test_a_label_goes_to_the_agent_and_the_reader_comes_back_to_the_part(room: PageRoom) -> None:
    answer = room.order("/captures/c4/label", label=" scratch ", verdict="NG", labels="none", before="997.0")
    assert answer.location == "/captures?verdict=NG&labels=none&before=997.0&done=label#c-c4"
    assert room.agent.orders == [("label_capture", "c4", "scratch", "dashboard 127.0.0.1", "known")]


def test_a_class_that_no_model_knows_is_said_to_be_one(room: PageRoom) -> None:
    assert room.order("/captures/c4/label", label="dust  grain", other="yes").status_code == 303
    assert room.agent.orders == [("label_capture", "c4", "dust grain", "dashboard 127.0.0.1", "other")]


def test_a_label_can_be_taken_back(room: PageRoom) -> None:
    assert room.order("/captures/c4/label", label="").status_code == 303
    assert room.agent.orders == [("label_capture", "c4", "", "dashboard 127.0.0.1", "known")]


def test_the_last_label_can_be_undone_once_by_the_browser_that_gave_it(room: PageRoom) -> None:
    room.order("/captures/c4/label", label="NG", was="scratch")
    room.order("/captures/c6/label", label="OK", was="NG")
    assert "Last label: OK" in room.browser.get("/captures").text
    stranger = room.app.test_client()
    assert "Last label" not in stranger.get("/captures").text
    assert room.order("/captures/undo").location == "/captures?done=undone#c-c6"
    assert room.agent.orders[-1] == ("label_capture", "c6", "NG", "dashboard 127.0.0.1", "other")
    assert room.order("/captures/undo").status_code == 400
    assert len(room.agent.orders) == 3


def test_a_label_that_was_tapped_twice_is_undone_to_what_stood_before_both(room: PageRoom) -> None:
    room.order("/captures/c4/label", label="OK", was="scratch")
    room.order("/captures/c4/label", label="OK", was="OK")
    room.order("/captures/undo")
    assert room.agent.orders[-1][:3] == ("label_capture", "c4", "scratch")


def test_an_undo_leaves_alone_what_a_colleague_said_since(room: PageRoom) -> None:
    room.order("/captures/c4/label", label="NG", was="")
    room.agent.label_capture("c4", "OK", actor="a colleague")
    answer = room.order("/captures/undo")
    assert (answer.status_code, "somebody else has judged the part since" in answer.text) == (400, True)
    assert next(one.label for one in room.agent.capture_list if one.id == "c4") == "OK"
    assert "Last label" not in room.browser.get("/captures").text


def test_an_undo_that_failed_can_be_tried_again(room: PageRoom) -> None:
    room.order("/captures/c4/label", label="NG")
    room.agent.refusal = InferenceError(Code.UNAVAILABLE, "busy")
    assert room.order("/captures/undo").status_code == 503
    room.agent.refusal = None
    assert room.order("/captures/undo").status_code == 303
    assert room.agent.orders[-1][:3] == ("label_capture", "c4", "")


def by_script(room: PageRoom, path: str, **form: str) -> TestResponse:
    sent = {"token": room.token("/try"), **form}
    return room.browser.post(path, data=sent, headers={"Accept": "application/json"})


def test_a_script_is_answered_with_the_card_alone(room: PageRoom) -> None:
    answer = by_script(room, "/captures/c4/label", label="OK", was="")
    card = answer.get_json()["card"]
    assert (answer.status_code, answer.get_json()["notice"]) == (200, "Kept: OK.")
    assert (card["id"], card["label"], card["differs"]) == ("c4", "OK", "differs from the verdict")
    assert by_script(room, "/captures/undo").get_json()["card"]["label"] == ""


def test_a_script_is_told_why_nothing_was_done(room: PageRoom) -> None:
    assert by_script(room, "/captures/undo").get_json() == {"notice": "There is no label to take back."}
    room.agent.refusal = InferenceError(Code.INVALID_ARGUMENT, "<b>expected OK</b>")
    answer = by_script(room, "/captures/c4/label", label="perhaps")
    assert (answer.status_code, answer.mimetype) == (400, "application/json")
    assert answer.get_json() == {"notice": "Not done. INVALID_ARGUMENT: <b>expected OK</b>"}


CLASSES = {"labels": ("good", "scratch", "OK", "dent"), "normal_labels": ("good",)}


def test_what_the_model_knows_is_offered_for_each_part_and_the_label_that_it_has_is_marked(room: PageRoom) -> None:
    room.agent.activate(a_model("unet", "2", **CLASSES))
    room.agent.capture_list = [a_capture("c0", label="dent"), a_capture("c1", model="another")]
    room.look()
    page = room.browser.get("/captures").text
    said = re.findall(r'name="label" value="([^"]+)" data-verdict="(OK|NG)" aria-pressed="(true|false)"', page)
    classes = [("good", "OK", "false"), ("scratch", "NG", "false"), ("dent", "NG", "true")]
    both = [("OK", "OK", "false"), ("NG", "NG", "false")]
    assert said in ([*both, *classes, *both], [*both, *both, *classes])


def test_many_classes_are_a_list_to_write_into(room: PageRoom) -> None:
    names = tuple(f"class {n}" for n in range(300))
    room.agent.activate(a_model("unet", "2", labels=names))
    room.look()
    page = room.browser.get("/captures").text
    assert page.count('<option value="class 299">') == 1
    assert page.count('list="classes-unet"') == PAGE
    assert 'data-testid="label-class"' not in page


@pytest.mark.parametrize(
    ("verdict", "label", "contradicts"),
    [
        ("NG", "", False),
        ("NG", "NG", False),
        ("NG", "OK", True),
        ("NG", "scratch", False),
        ("NG", "good", True),
        ("OK", "good", False),
        ("OK", "scratch", True),
        ("OK", "never seen", True),
        ("NO_RESULT", "scratch", False),
    ],
)
def test_a_label_contradicts_by_what_it_means_and_not_by_its_word(verdict: str, label: str, contradicts: bool) -> None:
    models = [a_model("other", labels=("scratch",), normal_labels=("scratch",)), a_model("unet", **CLASSES)]
    assert differs(a_capture("c", verdict, label=label), models) is contradicts


def test_a_capture_of_a_model_that_is_gone_is_judged_by_what_the_others_call_normal() -> None:
    assert not differs(a_capture("c", "OK", model="gone", label="good"), [a_model("unet", **CLASSES)])


def test_a_device_that_sends_nothing_says_that_captures_are_kept_here(room: PageRoom) -> None:
    assert '· <span data-text="state_word">waiting</span>' in room.browser.get("/captures").text
    room.agent.capture_status = CaptureStatus(pending=60, kept_here=True)
    room.look()
    page = room.browser.get("/captures").text
    assert ("kept here" in page, ">waiting<" in page) == (True, False)


def test_a_label_that_the_agent_refuses_or_that_is_too_long_is_told(room: PageRoom) -> None:
    assert room.order("/captures/c4/label", label="x" * 65).status_code == 400
    room.agent.refusal = InferenceError(Code.INVALID_ARGUMENT, "expected OK, NG or a class, came perhaps")
    answer = room.order("/captures/c4/label", label="perhaps")
    assert (answer.status_code, "came perhaps" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("what", "pause", "order"),
    [("capture", "yes", (True, None)), ("capture", "no", (False, None)), ("upload", "yes", (None, True))],
)
def test_capture_and_upload_are_paused_apart(
    room: PageRoom, what: str, pause: str, order: tuple[bool | None, bool | None]
) -> None:
    answer = room.order("/captures/pause", what=what, pause=pause)
    assert answer.status_code == 303
    assert room.agent.orders == [("pause_captures", *order, "dashboard 127.0.0.1")]


def test_a_pause_of_nothing_that_there_is_changes_nothing(room: PageRoom) -> None:
    for form in ({"what": "line", "pause": "yes"}, {"what": "capture", "pause": "perhaps"}, {}):
        assert room.order("/captures/pause", **form).status_code == 400
    assert room.agent.orders == []


def test_an_agent_that_does_not_list_captures_yet_is_said_calmly(room: PageRoom) -> None:
    room.agent.unserved = {"captures"}
    answer = room.browser.get("/captures")
    assert (answer.status_code, "This agent does not tell this yet." in answer.text) == (200, True)
