"""The page Captures: filters, paging, pictures, labels and pauses."""

import pytest

from edge_agent.client import FrameContent
from edge_agent.dashboard.captures_page import PAGE, find
from edge_agent.dashboard.captures_view import Filter
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import CaptureReport, CaptureStatus
from tests.fakes.page_agent import PageAgent, a_capture
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
        captures, before = find(agent, Filter(before=before))
        seen += [capture.id for capture in captures]
        if not before:
            break
    assert seen == [f"c{n}" for n in range(60)]


def test_a_page_that_is_just_full_has_no_next_one() -> None:
    agent = PageAgent()
    agent.capture_list = many(PAGE)
    captures, before = find(agent, Filter())
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
    captures, _ = find(agent, chosen)
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


def test_a_label_goes_to_the_agent_and_the_reader_stays_on_the_page(room: PageRoom) -> None:
    answer = room.order("/captures/c4/label", label=" scratch ", verdict="NG", labels="none", before="997.0")
    assert answer.location == "/captures?verdict=NG&labels=none&before=997.0&done=label"
    assert room.agent.orders == [("label_capture", "c4", "scratch", "dashboard 127.0.0.1")]


def test_a_label_can_be_taken_back(room: PageRoom) -> None:
    assert room.order("/captures/c4/label", label="").status_code == 303
    assert room.agent.orders == [("label_capture", "c4", "", "dashboard 127.0.0.1")]


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
