"""The page's answers, asked without a socket: pages, pictures, probes and who may ask."""

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge_agent.client import FrameContent
from edge_agent.config import Dashboard
from edge_agent.dashboard.pictures import RecentPictures
from edge_agent.dashboard.security import checked_address, host_name
from edge_agent.errors import ConfigError, InferenceError
from edge_agent.formats import AnomalyMap, Verdict
from edge_agent.vision import decode
from tests.fakes.page_agent import PageAgent, a_frame, a_model, a_report, a_result
from tests.fakes.page_room import PageRoom

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
MAP = AnomalyMap(np.full((3, 5), 9, np.float32).tobytes(), 3, 5, 0.5, 40, 24)


class Room(PageRoom):
    """On Models, whose forms these tests fill in."""

    def token(self, path: str = "/models") -> str:
        return super().token(path)


@pytest.fixture
def room() -> Room:
    room = Room()
    room.agent.models = {"unet": a_model("unet", "2", previous="1")}
    room.agent.show(a_frame("f1", Verdict.NG), b"jpeg bytes", image_segmentation_app=MAP)
    room.look()
    return room


def test_now_is_complete_before_any_script_runs(room: Room) -> None:
    page = room.browser.get("/").text
    assert re.search(r'data-testid="verdict".*?<b data-text="word">NG</b>', page, re.DOTALL)
    assert 'src="/frames/f1.jpg"' in page
    assert 'src="/frames/f1/overlay/image-segmentation-app.png" data-testid="overlay"' in page
    assert re.search(r'data-testid="model-unet-version"[^>]*>2<', page)


def test_models_is_complete_before_any_script_runs(room: Room) -> None:
    room.agent.tell(a_report(state="FAILED", code="LOAD_FAILED", message="worker ended", ended=time.time()))
    room.look()
    page = room.browser.get("/models").text
    assert re.search(r'data-testid="model-unet-version"[^>]*>2<', page)
    assert re.search(r'data-testid="rollback"[^>]*>Roll back to 1<', page, re.DOTALL)
    assert "LOAD_FAILED" in page
    assert "worker ended" in page


def test_hostile_names_stay_text_wherever_they_come_from(room: Room) -> None:
    room.agent.models = {HOSTILE: a_model(HOSTILE, HOSTILE, previous=HOSTILE, applications=(HOSTILE,))}
    result = a_result("unet", HOSTILE, application=HOSTILE, label=HOSTILE, message=HOSTILE)
    frame = a_frame("f2", Verdict.NG, result, source=HOSTILE, name=HOSTILE, message=HOSTILE)
    room.agent.show(frame, b"jpeg")
    room.agent.tell(a_report(HOSTILE, HOSTILE, HOSTILE, HOSTILE, code=HOSTILE, message=HOSTILE, ended=1.0))
    room.hub.put(deployment=room.agent.history[0])
    room.look()
    for path in ("/", "/models", "/models?lang=de", f"/models?done={HOSTILE}"):
        page = room.browser.get(path).text
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert HOSTILE not in page


def test_no_page_holds_script_or_style_of_its_own(room: Room) -> None:
    for path in ("/", "/models", "/nowhere"):
        answer = room.browser.get(path, headers={"Accept": "text/html"})
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=|javascript:", answer.text)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", "/models", "/events", "/frames/f1.jpg", "/static/page.css", "/healthz", "/no"])
def test_every_answer_forbids_framing_and_guessing_types(room: Room, path: str) -> None:
    with room.browser.get(path, buffered=False) as answer:
        headers = answer.headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "localhost:1:2"]
)
@pytest.mark.parametrize("path", ["/", "/healthz", "/events", "/frames/f1.jpg", "/static/page.css"])
def test_another_host_name_is_misdirected(room: Room, host: str, path: str) -> None:
    answer = room.browser.get(path, headers={"Host": host})
    assert answer.status_code == 421
    assert "unet" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "localhost."])
def test_the_allowed_host_names_are_served(room: Room, host: str) -> None:
    assert room.browser.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_host_header_with_an_address_of_version_6_is_understood() -> None:
    assert [host_name(value) for value in ("[::1]:8080", "[::1]", "::1")] == ["::1"] * 3


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "192.168.1.5:8080", "[::]:8080", "line.example:80"])
def test_listening_beyond_loopback_is_refused_until_somebody_says_that_it_goes_in_the_clear(listen: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(listen)):
        Room(listen=listen, users="/etc/edge-agent/users.json")


@pytest.mark.parametrize("room", [{"listen": "0.0.0.0:80", "transport": "plain"}, {"transport": "proxy"}], ids=str)
def test_whoever_others_can_ask_needs_users(room: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="a file of users"):
        Room(**room)


def test_behind_a_proxy_the_page_stays_on_loopback() -> None:
    with pytest.raises(ConfigError, match=re.escape("0.0.0.0:80")):
        Room(listen="0.0.0.0:80", transport="proxy", users="users.json")


def test_loopback_is_taken_in_all_its_forms() -> None:
    for listen, address in (
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
    ):
        assert checked_address(Dashboard(listen=listen)) == address


def test_pictures_come_by_id_and_are_asked_for_once(room: Room) -> None:
    for _ in range(3):
        answer = room.browser.get("/frames/f1.jpg")
        assert (answer.data, answer.mimetype) == (b"jpeg bytes", "image/jpeg")
        assert "immutable" in answer.headers["Cache-Control"]
    overlay = room.browser.get("/frames/f1/overlay/image-segmentation-app.png")
    assert overlay.mimetype == "image/png"
    assert decode(overlay.data).shape == (24, 40, 3)
    assert room.agent.asked == [("f1", "picture", ""), ("f1", "map", "image-segmentation-app")]


def test_the_overlay_of_a_large_picture_is_drawn_no_larger_than_a_page_shows_it(room: Room) -> None:
    room.agent.maps["f1", "large"] = MAP._replace(width=4096, height=3000)
    assert decode(room.browser.get("/frames/f1/overlay/large.png").data).shape == (703, 960, 3)


def test_an_application_with_a_slash_in_its_name_has_an_overlay_too(room: Room) -> None:
    room.agent.maps["f1", "left/top"] = MAP
    assert room.browser.get("/frames/f1/overlay/left%2Ftop.png").data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "path", ["/frames/nothing.jpg", "/frames/..%2F..%2Fetc.jpg", "/frames/%3Cscript%3E.jpg", "/frames/f1/overlay/x.png"]
)
def test_an_unknown_or_bad_frame_is_not_found(room: Room, path: str) -> None:
    answer = room.browser.get(path)
    assert answer.status_code == 404
    assert "<script>" not in answer.text


def test_a_picture_that_is_no_picture_is_not_passed_on(room: Room) -> None:
    room.agent.pictures["f9", "picture", ""] = FrameContent(b"<html>", "text/html")
    assert room.browser.get("/frames/f9.jpg").status_code == 502


def test_pictures_that_were_seen_outlive_the_agent(room: Room) -> None:
    room.browser.get("/frames/f1.jpg")
    room.agent.go_away()
    assert room.browser.get("/frames/f1.jpg").status_code == 200
    assert room.browser.get("/frames/f2.jpg").status_code == 503


def test_recent_pictures_are_bounded_by_count_and_by_bytes() -> None:
    agent = PageAgent()
    for number in range(6):
        agent.pictures[f"f{number}", "picture", ""] = FrameContent(bytes(10), "image/jpeg")
    few = RecentPictures(agent, count=2, size_bytes=1000)
    small = RecentPictures(agent, count=100, size_bytes=35)
    for number in range(6):
        few.get(f"f{number}")
        small.get(f"f{number}")
    assert len(few._kept) == 2
    assert len(small._kept) == 3
    agent.go_away()
    assert small.get("f5").content == bytes(10)
    with pytest.raises(InferenceError):
        small.get("f0")


def test_the_agent_is_asked_once_for_what_several_viewers_want_at_a_time() -> None:
    agent, first_asks, go_on = PageAgent(), threading.Event(), threading.Event()
    plain = agent.frame
    agent.pictures["f1", "picture", ""] = FrameContent(b"x", "image/jpeg")

    def slow(*key: str, **_: float) -> FrameContent:
        first_asks.set()
        assert go_on.wait(60)
        return plain(*key)

    agent.frame = slow  # type: ignore[method-assign]
    pictures = RecentPictures(agent)
    with ThreadPoolExecutor(8) as viewers:
        answers = [viewers.submit(pictures.get, name) for name in ("f1", "gone") for _ in range(4)]
        assert first_asks.wait(60)
        go_on.set()
        assert [answer.result().content for answer in answers[:4]] == [b"x"] * 4
        for answer in answers[4:]:
            with pytest.raises(InferenceError, match="expected a recent frame, came gone"):
                answer.result()
    assert agent.asked.count(("f1", "picture", "")) == 1


def test_a_fault_of_the_pages_own_leaves_no_viewer_waiting() -> None:
    agent = PageAgent()
    agent.frame = None  # type: ignore[assignment]
    pictures = RecentPictures(agent)
    for _ in range(2):
        with pytest.raises(TypeError):
            pictures.get("f1")
    assert not pictures._asked


def test_probes_tell_the_process_from_the_agent(room: Room) -> None:
    assert room.browser.get("/healthz").status_code == 200
    assert room.browser.get("/readyz").status_code == 200
    room.hub.put_away("no answer")
    assert room.browser.get("/healthz").status_code == 200
    away = room.browser.get("/readyz")
    assert (away.status_code, "no answer" in away.text) == (503, True)


def test_a_rollback_goes_to_the_agent_with_reason_and_actor_and_its_outcome_is_told(room: Room) -> None:
    form = {"token": room.token(), "reason": "  too many\n good parts rejected "}
    answer = room.browser.post("/models/unet/rollback", data=form)
    assert answer.status_code == 303
    assert room.agent.rolled_back == [("unet", "too many good parts rejected", "dashboard 127.0.0.1")]
    page = room.browser.get(answer.location).text
    assert "unet 2 → 1 is done: Committed." in page


@pytest.mark.parametrize("reason", ["", " \n ", "x" * 501])
def test_a_rollback_without_a_fitting_reason_changes_nothing(room: Room, reason: str) -> None:
    answer = room.browser.post("/models/unet/rollback", data={"token": room.token(), "reason": reason})
    assert answer.status_code == 400
    assert "A reason is needed" in answer.text
    assert room.agent.rolled_back == []


def test_a_rollback_without_our_own_form_changes_nothing(room: Room) -> None:
    token = room.token()
    stranger = room.app.test_client()
    attempts = [
        room.browser.post("/models/unet/rollback", data={"reason": "x"}),
        room.browser.post("/models/unet/rollback", data={"reason": "x", "token": "0" * 64}),
        room.browser.post("/models/unet/rollback", data={"reason": "x", "token": "ü"}),
        stranger.post("/models/unet/rollback", data={"reason": "x", "token": token}),
        room.browser.post(
            "/models/unet/rollback", data={"reason": "x", "token": token}, headers={"Sec-Fetch-Site": "cross-site"}
        ),
    ]
    assert [answer.status_code for answer in attempts] == [403] * 5
    assert room.agent.rolled_back == []


def test_a_rollback_by_a_link_is_not_possible(room: Room) -> None:
    assert room.browser.get("/models/unet/rollback").status_code == 405


@pytest.mark.parametrize(("model", "status"), [("nobody", 404), ("-bad-", 404), ("a%2Fb", 404), ("%3Cb%3E", 404)])
def test_a_rollback_of_an_unknown_model_is_not_found(room: Room, model: str, status: int) -> None:
    answer = room.browser.post(f"/models/{model}/rollback", data={"token": room.token(), "reason": "x"})
    assert answer.status_code == status


def test_a_refused_rollback_tells_the_agents_reason(room: Room) -> None:
    room.agent.models["unet"] = a_model("unet", "2")
    answer = room.browser.post("/models/unet/rollback", data={"token": room.token(), "reason": "x"})
    assert answer.status_code == 409
    assert "NO_PREVIOUS: unet has no previous version" in answer.text


def test_a_rollback_that_nobody_answered_does_not_pretend_to_know(room: Room) -> None:
    token = room.token()
    room.agent.go_away()
    answer = room.browser.post("/models/unet/rollback", data={"token": token, "reason": "x"})
    assert answer.status_code == 503
    assert "Whether it was done, this page will tell." in answer.text


@pytest.mark.parametrize(
    ("headers", "query", "language"),
    [
        ({}, "", "en"),
        ({"Accept-Language": "de-DE,de;q=0.9"}, "", "de"),
        ({"Accept-Language": "fr"}, "", "en"),
        ({"Accept-Language": "de"}, "?lang=en", "en"),
        ({"Accept-Language": "de"}, "?lang=../../etc", "de"),
    ],
)
def test_the_language_is_asked_for_or_accepted_or_english(
    room: Room, headers: dict[str, str], query: str, language: str
) -> None:
    assert f'<html lang="{language}"' in room.browser.get(f"/{query}", headers=headers).text


def test_a_chosen_language_and_theme_stay_chosen(room: Room) -> None:
    room.browser.get("/?lang=de&theme=dark")
    page = room.browser.get("/models").text
    assert '<html lang="de" data-theme="dark">' in page


def test_a_stream_beyond_the_cap_is_sent_away_and_a_freed_seat_is_given_again(room: Room) -> None:
    first, second = (room.browser.get("/events", buffered=False) for _ in range(2))
    assert room.browser.get("/events").status_code == 503
    first.close()
    third = room.browser.get("/events", buffered=False)
    assert third.status_code == 200
    second.close()
    third.close()


def test_a_snapshot_is_the_stream_in_one_answer(room: Room) -> None:
    views = json.loads(room.browser.get("/snapshot").data)
    assert views["now"]["frame"]["id"] == "f1"
    assert [model["name"] for model in views["models"]["models"]] == ["unet"]


def test_a_form_that_is_too_large_is_refused_unread(room: Room) -> None:
    answer = room.browser.post("/models/unet/rollback", data={"token": room.token(), "reason": "x" * 100_000})
    assert answer.status_code == 413
    assert room.agent.rolled_back == []
