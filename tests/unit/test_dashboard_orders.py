"""Thresholds, trials and the page Health, asked without a socket."""

import io
from typing import Any

import numpy as np
import pytest

from edge_agent.dashboard.trial_page import MAX_REQUEST_BYTES
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import ClockStatus, LogLine, Verdict
from edge_agent.vision import encode_jpeg, encode_png
from tests.fakes.page_agent import a_camera, a_frame, a_model, a_result
from tests.fakes.page_room import PageRoom

JPEG = encode_jpeg(np.zeros((8, 8, 3), np.uint8))


@pytest.fixture
def room() -> PageRoom:
    room = PageRoom()
    room.agent.models = {"unet": a_model("unet", "2", previous="1", threshold=0.6, signed_threshold=0.5)}
    for number, score in enumerate((0.2, 0.55, 0.9)):
        verdict = Verdict.NG if score >= 0.6 else Verdict.OK
        room.agent.show(a_frame(f"f{number}", verdict, a_result("unet", verdict=verdict, score=score)), b"jpeg")
    room.look()
    return room


def test_a_threshold_is_shown_with_the_parts_that_it_judges(room: PageRoom) -> None:
    unsure = a_result("unet", verdict=Verdict.NO_RESULT, score=0.7)
    room.agent.show(a_frame("f9", Verdict.NO_RESULT, unsure, a_result("img-classification")), b"jpeg")
    page = room.browser.get("/models/unet/threshold").text
    assert page.count("data-score=") == 3
    assert 'data-score="0.55" data-verdict="OK"' in page
    assert "Back to signed: 0.50" in page


@pytest.mark.parametrize(
    ("form", "threshold"), [({"threshold": "0.42"}, 0.42), ({"threshold": "0,42"}, 0.42), ({"as_signed": "yes"}, None)]
)
def test_a_threshold_goes_to_the_agent_with_reason_and_actor_and_its_outcome_is_told(
    room: PageRoom, form: dict[str, str], threshold: float | None
) -> None:
    answer = room.order("/models/unet/threshold", reason="fewer scratches", **form)
    assert answer.status_code == 303
    assert room.agent.orders == [("configure", "unet", threshold, "fewer scratches", "dashboard 127.0.0.1")]
    assert "is done: Committed." in room.browser.get(answer.location).text


@pytest.mark.parametrize("came", ["", "x", "nan", "inf", "-0.1", "1.01", "<b>"])
def test_a_threshold_that_is_none_changes_nothing(room: PageRoom, came: str) -> None:
    answer = room.order("/models/unet/threshold", reason="x", threshold=came)
    assert (answer.status_code, room.agent.orders) == (400, [])
    assert "Expected a threshold from 0 to 1" in answer.text


def test_a_threshold_without_a_reason_changes_nothing(room: PageRoom) -> None:
    answer = room.order("/models/unet/threshold", threshold="0.4", reason="")
    assert (answer.status_code, room.agent.orders) == (400, [])


def test_a_threshold_beyond_the_signed_range_tells_the_agents_reason(room: PageRoom) -> None:
    room.agent.refusal = InferenceError(Code.OUT_OF_RANGE, "expected 0.3 to 0.7, came 0.9")
    answer = room.order("/models/unet/threshold", threshold="0.9", reason="x")
    assert (answer.status_code, "expected 0.3 to 0.7, came 0.9" in answer.text) == (400, True)


def test_an_agent_without_recent_frames_still_takes_a_threshold(room: PageRoom) -> None:
    room.agent.unserved = {"frames"}
    assert "This agent does not tell this yet." in room.browser.get("/models/unet/threshold").text
    assert room.order("/models/unet/threshold", threshold="0.4", reason="x").status_code == 303


def test_the_threshold_of_a_model_that_is_not_there_is_not_found(room: PageRoom) -> None:
    assert room.browser.get("/models/nobody/threshold").status_code == 404
    assert room.order("/models/..%2Fx/threshold", threshold="0.4", reason="x").status_code == 404


def tried(room: PageRoom, content: bytes, name: str = "part.jpg") -> Any:
    mask = encode_png(np.full((8, 8), 255, np.uint8))
    room.agent.trial_answer = a_frame("t", Verdict.NG, a_result("unet", verdict=Verdict.NG, score=0.8, mask_png=mask))
    return room.order("/try", picture=(io.BytesIO(content), name))


def test_an_image_is_tried_without_being_counted_and_shown_with_its_mask(room: PageRoom) -> None:
    answer = tried(room, JPEG)
    assert answer.status_code == 303
    ((call, size, asked),) = room.agent.orders
    assert (call, size, asked["trial"], asked["with_mask"]) == ("inspect", len(JPEG), True, True)
    page = room.browser.get(answer.location).text
    assert 'data-testid="trial-verdict"' in page
    assert "part.jpg" in page
    assert room.browser.get(f"{answer.location}/picture").data == JPEG
    assert room.browser.get(f"{answer.location}/mask/0").data.startswith(b"\x89PNG")
    assert room.browser.get(f"{answer.location}/mask/7").status_code == 404


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg onload=alert(1)>", b"%PDF"])
def test_what_is_neither_jpeg_nor_png_never_reaches_the_agent(room: PageRoom, content: bytes) -> None:
    answer = tried(room, content)
    assert (answer.status_code, room.agent.orders) == (400, [])


def test_a_picture_with_too_many_bytes_is_refused_with_a_calm_page(room: PageRoom) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="large.jpg"\r\n\r\n'
    body = head + JPEG + bytes(MAX_REQUEST_BYTES) + b"\r\n--b--\r\n"
    form = "multipart/form-data; boundary=b"
    answer = room.browser.post("/try", data=body, content_type=form, headers={"Accept": "text/html"})
    assert (answer.status_code, room.agent.orders) == (413, [])
    assert "A picture has at most 16 MB." in answer.text


def test_a_picture_with_too_many_pixels_is_refused_by_the_agent_and_that_is_told(room: PageRoom) -> None:
    room.agent.refusal = InferenceError(Code.INVALID_ARGUMENT, "expected at most 50000000 pixels, came 65000 x 65000")
    answer = tried(room, JPEG)
    assert (answer.status_code, "came 65000 x 65000" in answer.text) == (400, True)


def test_a_trial_is_known_to_its_author_alone_and_not_for_ever(room: PageRoom) -> None:
    first = tried(room, JPEG).location
    for _ in range(4):
        tried(room, JPEG)
    assert "no longer kept" in room.browser.get(first).text
    assert room.browser.get(f"{first}/picture").status_code == 404
    assert room.browser.get("/try/..%2Fetc/picture").status_code == 404


def test_only_the_page_that_needs_it_may_use_the_browsers_camera(room: PageRoom) -> None:
    assert "camera=(self)" in room.browser.get("/try").headers["Permissions-Policy"]
    assert "camera=()" in room.browser.get("/").headers["Permissions-Policy"]


def test_health_tells_cameras_models_memory_clock_and_the_newest_line_first(room: PageRoom) -> None:
    room.agent.cameras = {"left": a_camera("left", "SILENT", message="no word for 12 s")}
    room.agent.clock = ClockStatus(trusted=False, now=1.0, floor=2.0)
    room.agent.models["unet"] = a_model("unet", "2", memory_bytes=90_000_000)
    room.agent.log_lines = [
        LogLine(at=1.0, level="INFO", message="oldest"),
        LogLine(at=2.0, level="ERROR", message="second", fields={"camera": "left"}),
    ]
    page = room.browser.get("/health").text
    for told in ("STATION SILENT", "no word for 12 s", "90.0 MB", "CONTRADICTS WHAT WAS SIGNED", "camera=left"):
        assert told in page
    assert page.index("second") < page.index("oldest")
    assert "oldest" not in room.browser.get("/health?level=ERROR").text
    assert room.browser.get("/health/view?level=<b>").get_json()["lines"][0]["message"] == "second"


def test_health_of_an_agent_that_is_away_or_old_is_said_calmly(room: PageRoom) -> None:
    room.agent.unserved = {"logs"}
    assert "This agent does not tell this yet." in room.browser.get("/health").text
    room.agent.go_away()
    answer = room.browser.get("/health")
    assert (answer.status_code, "The agent does not answer just now." in answer.text) == (200, True)


def test_now_follows_one_camera_when_that_is_chosen(room: PageRoom) -> None:
    room.agent.cameras = {"left": a_camera("left"), "right": a_camera("right", "CAMERA_AWAY", message="unplugged")}
    room.agent.show(a_frame("r1", Verdict.NG, source="right"), b"jpeg")
    room.hub.put(frame=room.agent.kept_frames[-2])
    room.hub.put(frame=room.agent.kept_frames[-1])
    room.look()
    assert 'src="/frames/r1.jpg"' in room.browser.get("/").text
    left = room.browser.get("/?source=left").text
    assert 'src="/frames/f2.jpg"' in left
    assert "source=left" in left
    assert "CAMERA AWAY" in left
    views = room.browser.get("/snapshot?source=left").get_json()
    assert views["now"]["frame"]["id"] == "f2"
    assert room.browser.get("/snapshot?source=nobody").get_json()["now"]["frame"] is None
