"""What people do on every page but the live picture, in a real browser; the agent behind the page is faked."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from edge_agent.client import FrameContent
from edge_agent.formats import AnomalyMap, CaptureStatus, Counts, GoldenCheck, GoldenPart, LogLine, Verdict
from edge_agent.vision import encode_jpeg, encode_png
from tests.e2e.browser import ARGUMENTS, CHROMIUM, PATIENCE_MS, PHONE, Window, browser, window
from tests.fakes.agent_core import drawn_part
from tests.fakes.cheap_users import PASSWORD, users_file
from tests.fakes.page_agent import PageAgent, a_camera, a_capture, a_frame, a_model, a_result, a_shift
from tests.fakes.page_line import page_beside

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PART = drawn_part(2)

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def a_line() -> PageAgent:
    agent = PageAgent()
    classes = {"labels": ("good", "scratch", "dent"), "normal_labels": ("good",)}
    agent.models = {"unet": a_model("unet", "2", previous="1", threshold=0.5, signed_threshold=0.5, **classes)}
    agent.cameras = {"left": a_camera("left"), "right": a_camera("right")}
    agent.shift_list = [a_shift("Early", 940, 60), a_shift("Night", 70, 30, running=False)]
    agent.counts = agent.shift_list[0].counts
    for number, score in enumerate((0.1, 0.2, 0.3, 0.55, 0.9)):
        inspect(agent, f"f{number}", score)
        capture = a_capture(f"c{number}", "NG" if score >= 0.5 else "OK", at=1000.0 + number, has_mask=True)
        agent.capture_list.append(capture)
        for part in ("picture", "thumbnail"):
            agent.capture_pictures[capture.id, part] = FrameContent(PART, "image/jpeg")
        agent.capture_pictures[capture.id, "mask"] = FrameContent(a_mask(), "image/png")
    agent.log_lines = [LogLine(at=1.0, level="INFO", message="the agent serves")]
    agent.trial_answer = a_frame("t", Verdict.NG, a_result("unet", verdict=Verdict.NG, score=0.8, mask_png=a_mask()))
    return agent


def a_mask() -> bytes:
    mask = np.zeros((240, 320), np.uint8)
    mask[100:140, 100:160] = 255
    return encode_png(mask)


def inspect(agent: PageAgent, frame_id: str, score: float, source: str = "left") -> None:
    verdict = Verdict.NG if score >= 0.5 else Verdict.OK
    agent.show(
        a_frame(frame_id, verdict, a_result("unet", verdict=verdict, score=score), source=source),
        PART,
        image_segmentation_app=AnomalyMap(np.full((2, 2), -9, np.float32).tobytes(), 2, 2, 0.5, 320, 240),
    )


@pytest.fixture
def agent() -> PageAgent:
    return a_line()


@pytest.fixture
def seen(chromium: Browser, agent: PageAgent) -> Iterator[Window]:
    with page_beside(agent) as address, window(chromium, address) as opened:
        yield opened
        assert opened.foreign_requests() == []
        assert opened.complaints == []


def shown(seen: Window, frame_id: str) -> None:
    seen.until("document.querySelector('main').dataset.frame === it", frame_id)


def test_a_supervisor_moves_a_threshold_sees_what_would_change_and_sets_it(agent: PageAgent, seen: Window) -> None:
    seen.open("/models")
    seen.find("tune").click()
    expect(seen.find("preview")).to_have_text("None of the 5 recent parts would be judged otherwise.")
    seen.find("threshold-slider").fill("0.6")
    expect(seen.find("preview")).to_contain_text("1 of 5 recent parts would be judged otherwise")
    expect(seen.find("preview")).to_contain_text("NG → OK: 1")
    changed = seen.find("changed").locator("li:visible")
    expect(changed).to_have_count(1)
    expect(changed).to_contain_text("NG → OK")
    seen.until("[...document.querySelectorAll('li:not([hidden]) img')].every(image => image.naturalWidth === 320)")
    seen.find("threshold-number").fill("0.15")
    expect(seen.find("preview")).to_contain_text("OK → NG: 2, NG → OK: 0")
    seen.find("threshold-reason").fill("stricter until the tool is changed")
    seen.find("threshold-confirm").click()
    expect(seen.find("notice")).to_contain_text("unet 2 ≥ 0.15 is done")
    expect(seen.find("history")).to_contain_text("stricter until the tool is changed")
    assert agent.orders[0][:4] == ("configure", "unet", 0.15, "stricter until the tool is changed")


def test_a_supervisor_takes_a_threshold_back_to_what_was_signed(agent: PageAgent, seen: Window) -> None:
    agent.models["unet"] = agent.models["unet"].model_copy(update={"threshold": 0.7})
    seen.open("/models")
    expect(seen.page.get_by_text("signed 0.50")).to_be_visible()
    seen.open("/models/unet/threshold")
    seen.find("threshold-reason").fill("the tool is changed")
    seen.find("as-signed").click()
    expect(seen.find("notice")).to_be_visible()
    assert agent.orders[0][:3] == ("configure", "unet", None)


def test_a_shift_ends_while_the_page_is_open(agent: PageAgent, seen: Window) -> None:
    seen.open("/today")
    expect(seen.find("yield")).to_have_text("94.0 %")
    expect(seen.find("earlier").locator("tr")).to_have_count(1)
    over = agent.shift_list[0].model_copy(update={"running": False, "scores": (), "latency": ()})
    agent.shift_list = [a_shift("Late", 10, 0, scores=()), over, agent.shift_list[1]]
    expect(seen.find("shift")).to_contain_text("Late")
    expect(seen.find("yield")).to_have_text("100.0 %")
    expect(seen.find("earlier")).to_contain_text("Early")
    expect(seen.find("earlier")).to_contain_text("94.0 %")
    expect(seen.page.get_by_text("No part was scored in this shift yet")).to_be_visible()


def test_an_operator_resets_the_counts_with_a_reason(agent: PageAgent, seen: Window) -> None:
    seen.open("/today")
    seen.find("reset").click()
    seen.find("reset-confirm").click()
    expect(seen.find("reset-dialog")).to_be_visible()
    assert agent.orders == []
    seen.find("reset-reason").fill("set-up parts")
    seen.find("reset-confirm").click()
    expect(seen.find("notice")).to_have_text("The counts begin anew.")
    expect(seen.find("count-ok")).to_have_text("0")
    expect(seen.find("shift")).to_contain_text("Counted anew by dashboard 127.0.0.1")


def test_an_operator_checks_the_golden_parts_and_everyone_sees_that_they_fail(agent: PageAgent, seen: Window) -> None:
    wrong = GoldenPart(name="scratch.png", expected=Verdict.NG, verdict=Verdict.OK)
    agent.golden_outcome = GoldenCheck(state="FAILED", at=time.time(), parts=(wrong,))
    seen.open("/today")
    seen.find("check-golden").click()
    expect(seen.find("golden")).to_contain_text("WRONG")
    seen.open("/")
    expect(seen.find("golden")).to_contain_text("GOLDEN PARTS FAILED")
    agent.tell_golden(GoldenCheck(state="PASSED", at=time.time()))
    expect(seen.find("golden").locator("a")).to_be_hidden()


def test_a_camera_is_unplugged_and_comes_back_while_the_page_is_open(agent: PageAgent, seen: Window) -> None:
    seen.open("/")
    camera = seen.find("cameras").locator("li", has_text="right")
    expect(camera).to_contain_text("Watching")
    agent.tell_camera(a_camera("right", "CAMERA_AWAY", message="no picture for 4 s"))
    expect(camera).to_contain_text("CAMERA AWAY")
    expect(camera).to_contain_text("no picture for 4 s")
    red = "rgb(196, 18, 31)"
    assert camera.evaluate("element => getComputedStyle(element).backgroundColor") == red
    agent.tell_camera(a_camera("right", "SILENT"))
    expect(camera).to_contain_text("STATION SILENT")
    agent.tell_camera(a_camera("right"))
    expect(camera).to_contain_text("Watching")
    assert camera.evaluate("element => getComputedStyle(element).backgroundColor") != red


def test_a_screen_above_one_camera_shows_that_camera_alone(agent: PageAgent, seen: Window) -> None:
    seen.open("/")
    seen.find("sources").get_by_text("right").click()
    expect(seen.find("verdict")).to_have_text("WAITING")
    inspect(agent, "r1", 0.9, "right")
    shown(seen, "r1")
    inspect(agent, "l1", 0.1, "left")
    inspect(agent, "r2", 0.1, "right")
    shown(seen, "r2")
    expect(seen.find("frame-source")).to_have_text("right")
    seen.find("sources").get_by_text("All").click()
    inspect(agent, "l2", 0.9, "left")
    shown(seen, "l2")


def test_the_agent_dies_and_returns_while_other_pages_are_open(agent: PageAgent, seen: Window) -> None:
    for path in ("/today", "/captures", "/health"):
        seen.open(path)
        expect(seen.find("agent-away")).to_be_hidden()
        agent.go_away()
        expect(seen.find("agent-away")).to_be_visible()
        agent.come_back()
        expect(seen.find("agent-away")).to_be_hidden()
    agent.go_away()
    seen.open("/captures")
    expect(seen.find("trouble")).to_have_text("The agent does not answer just now.")


def test_an_operator_pauses_the_upload_and_lets_it_go_on(agent: PageAgent, seen: Window) -> None:
    agent.capture_status = CaptureStatus(pending=3, bytes=1_500_000, quota_bytes=10**9)
    seen.open("/captures")
    seen.find("pause-upload").click()
    expect(seen.find("paused")).to_have_text("Upload is paused: captures wait here.")
    expect(seen.find("pause-upload")).to_have_text("Resume upload")
    expect(seen.find("pause-capture")).to_have_text("Pause capture")
    seen.find("pause-upload").click()
    expect(seen.find("paused")).to_be_hidden()
    assert [order[:3] for order in agent.orders] == [("pause_captures", None, True), ("pause_captures", None, False)]


def test_an_operator_looks_at_a_capture_and_says_what_it_is(agent: PageAgent, seen: Window) -> None:
    seen.open("/captures?verdict=NG")
    expect(seen.find("capture")).to_have_count(2)
    seen.find("capture").first.locator(".thumbnail").click()
    dialog = seen.find("capture-dialog")
    expect(dialog).to_contain_text("c4.jpg")
    widths = "[...document.querySelectorAll('#capture img')].every(image => image.naturalWidth === 320)"
    seen.until(widths)
    dialog.get_by_test_id("label-OK").click()
    expect(seen.find("undo")).to_contain_text("Kept: OK.")
    expect(dialog.get_by_test_id("label-OK")).to_have_attribute("aria-pressed", "true")
    seen.page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("c3.jpg")
    dialog.get_by_test_id("label-other").fill("dust")
    dialog.get_by_test_id("label-other").press("Enter")
    expect(seen.find("undo")).to_contain_text("Kept: dust.")
    seen.page.keyboard.press("Escape")
    expect(seen.find("capture").first.get_by_test_id("label")).to_contain_text("OK")
    expect(seen.find("capture").last.get_by_test_id("label")).to_contain_text("dust")
    assert [order[1:3] for order in agent.orders] == [("c4", "OK"), ("c3", "dust")]
    seen.page.get_by_role("link", name="Differs").click()
    expect(seen.find("capture")).to_have_count(1)


def test_an_operator_labels_in_place_and_takes_the_last_label_back(agent: PageAgent, seen: Window) -> None:
    seen.page.set_viewport_size(PHONE)
    seen.open("/captures")
    part = seen.find("capture").last
    part.get_by_text("Class, or other").click()
    part.get_by_test_id("label-class").nth(1).click()
    expect(part.get_by_test_id("label")).to_contain_text("scratch")
    expect(part.get_by_test_id("label")).to_contain_text("differs from the verdict")
    assert seen.page.evaluate("scrollY") > 0, "the page stays where it was"
    assert not seen.scrolls_sideways()
    heights = "[...document.querySelectorAll('.say .button, .undo .button')].filter(b => b.checkVisibility())"
    assert seen.page.evaluate(f"{heights}.every(b => b.getBoundingClientRect().height >= 48)"), "for gloves"
    seen.find("undo").get_by_role("button").click()
    expect(part.get_by_test_id("label")).to_be_hidden()
    expect(seen.find("undo").get_by_role("button")).to_be_hidden()
    part.get_by_test_id("label-NG").focus()
    seen.page.keyboard.press("Enter")
    expect(part.get_by_test_id("label-NG")).to_have_attribute("aria-pressed", "true")
    seen.page.keyboard.press("Control+z")
    expect(part.get_by_test_id("label-NG")).to_have_attribute("aria-pressed", "false")
    assert [order[1:3] for order in agent.orders] == [("c0", "scratch"), ("c0", ""), ("c0", "NG"), ("c0", "")]


def test_without_scripts_a_label_leads_back_to_the_part_it_was_given(agent: PageAgent, chromium: Browser) -> None:
    with page_beside(agent) as address, window(chromium, address, java_script_enabled=False) as seen:
        seen.open("/captures")
        seen.find("capture").last.get_by_test_id("label-NG").click()
        expect(seen.page).to_have_url(f"{address}/captures?done=label#c-c0")
        expect(seen.find("capture").last.get_by_test_id("label")).to_contain_text("NG")
        seen.find("undo").get_by_role("button").click()
        expect(seen.find("notice")).to_have_text("The last label is taken back.")
        assert [order[1:3] for order in agent.orders] == [("c0", "NG"), ("c0", "")]


def test_an_operator_tries_a_picture_from_a_file(agent: PageAgent, seen: Window) -> None:
    seen.open("/try")
    part = {"name": "part.jpg", "mimeType": "image/jpeg", "buffer": PART}
    seen.find("try-file").set_input_files(files=[part])  # type: ignore[list-item]  # playwright's FilePayload
    seen.find("try-send").click()
    expect(seen.find("trial-verdict")).to_have_text("NG")
    expect(seen.find("trial")).to_contain_text("part.jpg")
    seen.until("[...document.querySelectorAll('.plate img')].length === 2")
    seen.until("[...document.querySelectorAll('.plate img')].every(image => image.naturalWidth === 320)")
    assert agent.orders[0][2]["trial"] is True


def test_a_file_that_is_no_picture_is_answered_calmly(agent: PageAgent, chromium: Browser) -> None:
    with page_beside(agent) as address, window(chromium, address) as seen:
        seen.open("/try")
        text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
        seen.find("try-file").set_input_files(files=[text])  # type: ignore[list-item]  # playwright's FilePayload
        seen.find("try-send").click()
        expect(seen.find("notice")).to_have_text("This file is neither JPEG nor PNG. Nothing was inspected.")
        assert agent.orders == []


def test_an_operator_tries_a_picture_of_the_tablets_own_camera(agent: PageAgent, chromium: Browser) -> None:
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with (
        chromium.browser_type.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *camera]) as tablet,
        page_beside(agent) as address,
        window(tablet, address, permissions=["camera"]) as seen,
    ):
        seen.open("/try")
        seen.find("try-camera").click()
        expect(seen.find("try-shoot")).to_be_visible()
        seen.until("document.querySelector('video').videoWidth > 0")
        seen.find("try-shoot").click()
        expect(seen.find("trial-verdict")).to_have_text("NG")
        expect(seen.find("trial")).to_contain_text("camera.jpg")
        assert seen.complaints == []
    assert agent.orders[0][1] > 1000


def test_a_technician_reads_the_log_by_level_and_new_lines_come_by_themselves(agent: PageAgent, seen: Window) -> None:
    seen.open("/health")
    expect(seen.find("log")).to_contain_text("the agent serves")
    agent.log_lines.append(LogLine(at=2.0, level="ERROR", message="the disk is full"))
    expect(seen.find("log").locator("tr").first).to_contain_text("the disk is full")
    seen.page.get_by_role("link", name="ERROR").click()
    expect(seen.find("log").locator("tr")).to_have_count(1)
    expect(seen.find("log")).not_to_contain_text("the agent serves")


def test_an_agent_of_before_is_shown_as_far_as_it_tells(agent: PageAgent, seen: Window) -> None:
    agent.unserved = {"shifts", "captures", "frames", "logs"}
    agent.counts = Counts(ok=3, ng=1)
    for path in ("/today", "/captures", "/models/unet/threshold"):
        seen.open(path)
        expect(seen.find("trouble")).to_have_text("This agent does not tell this yet.")
    seen.open("/health")
    expect(seen.find("unread")).to_have_text("This agent does not tell this yet.")
    expect(seen.find("health-models")).to_contain_text("unet")


def test_an_operator_logs_in_acts_and_logs_out(agent: PageAgent, chromium: Browser, tmp_path: Path) -> None:
    users = users_file(tmp_path / "users.json")
    with page_beside(agent, users=users, transport="plain") as address, window(chromium, address) as seen:
        seen.open("/today")
        expect(seen.page).to_have_url(re.compile(r"/login\?next="))
        seen.find("login-name").fill("otto")
        seen.find("login-password").fill("wrong password")
        seen.find("login").click()
        expect(seen.find("notice")).to_have_text("Name or password is wrong.")
        seen.find("login-name").fill("otto")
        seen.find("login-password").fill(PASSWORD)
        seen.page.keyboard.press("Enter")
        expect(seen.page).to_have_url(f"{address}/today")
        expect(seen.find("person")).to_contain_text("otto operator")
        seen.open("/models/unet/threshold")
        expect(seen.find("threshold-confirm")).to_have_count(0)
        seen.open("/today")
        seen.find("reset").click()
        seen.find("reset-reason").fill("set-up parts")
        seen.find("reset-confirm").click()
        expect(seen.find("notice")).to_be_visible()
        seen.find("logout").click()
        expect(seen.page).to_have_url(re.compile("/login"))
        assert agent.orders == [("reset_counts", "set-up parts", "dashboard otto 127.0.0.1")]


COUNT_BEEPS = """
window.beeps = 0;
const make = AudioContext.prototype.createOscillator;
AudioContext.prototype.createOscillator = function () { window.beeps += 1; return make.call(this); };
"""


def test_who_wants_it_hears_each_ng_and_nobody_else_does(agent: PageAgent, seen: Window) -> None:
    def inspected(frame_id: str, score: float) -> int:
        inspect(agent, frame_id, score)
        shown(seen, frame_id)
        return int(seen.page.evaluate("window.beeps"))

    seen.page.add_init_script(COUNT_BEEPS)
    seen.open("/")
    seen.until("document.body.dataset.link === 'open'")
    horn = seen.find("horn")
    expect(horn).to_have_attribute("aria-pressed", "false")
    assert inspected("g1", 0.9) == 0, "off until somebody wants it"
    horn.click()
    expect(horn).to_have_attribute("aria-pressed", "true")
    expect(horn).to_have_text("Sound on NG")  # it says otherwise until the browser lets it sound
    assert inspected("g2", 0.1) == 0
    assert inspected("g3", 0.9) == 1
    seen.page.reload()
    expect(horn).to_have_attribute("aria-pressed", "true")
    seen.until("document.body.dataset.link === 'open'")
    seen.page.keyboard.press("Shift")
    expect(horn).to_have_text("Sound on NG")
    assert inspected("g4", 0.9) == 1, "the browser remembers"
    horn.click()
    expect(horn).to_have_attribute("aria-pressed", "false")
    assert inspected("g5", 0.9) == 1
    horn.click()
    expect(horn).to_have_attribute("aria-pressed", "true")
    inspect(agent, "g6", 0.9, source="right")
    assert inspected("g7", 0.1) == 2, "the good part right behind it silences nothing"


def test_a_shift_is_handed_over_on_one_printed_page(agent: PageAgent, chromium: Browser) -> None:
    parts = (
        GoldenPart(name="scratch.png", expected=Verdict.NG, verdict=Verdict.OK),
        *(GoldenPart(name=f"good-{n}.png", expected=Verdict.OK, verdict=Verdict.OK) for n in range(40)),
    )
    agent.golden = GoldenCheck(state="FAILED", at=time.time(), message="1 of 41", parts=parts)
    agent.models["unet"] = a_model("unet", "2", threshold=0.6, signed_threshold=0.5)
    agent.shift_list += [a_shift(f"Day {n}", 900, 10, running=False) for n in range(20)]
    with page_beside(agent) as address, window(chromium, address, color_scheme="dark") as seen:
        seen.open("/today")
        expect(seen.find("report-models")).to_be_hidden()
        seen.page.evaluate("window.print = () => { document.title = 'printed' }")
        seen.find("print").click()
        expect(seen.page).to_have_title("printed")
        assert len(re.findall(rb"/Type\s*/Page\b", seen.page.pdf(prefer_css_page_size=True))) == 1
        seen.page.emulate_media(media="print")
        expect(seen.page.get_by_text("Shift report · press-line-4")).to_be_visible()
        expect(seen.find("report-models")).to_contain_text("unet image-segmentation-app 2 0.60 (signed 0.50) Ready")
        expect(seen.find("yield")).to_be_visible()
        expect(seen.find("golden")).to_contain_text("scratch.png")
        for hidden in (
            seen.page.get_by_text("good-7.png"),
            seen.find("reset"),
            seen.find("earlier"),
            seen.find("latency"),
        ):
            expect(hidden).to_be_hidden()
        paper = "getComputedStyle(document.querySelector('h1')).color"
        assert seen.page.evaluate(paper) == "rgb(20, 24, 29)", "on white paper, whatever the screen's theme"


def test_the_counts_are_reset_with_the_keyboard_alone(agent: PageAgent, seen: Window) -> None:
    seen.open("/today")
    seen.order_by_keyboard("reset", "by hand")
    expect(seen.find("notice")).to_have_text("The counts begin anew.")
    assert agent.orders[0][1] == "by hand"


def test_hostile_names_stay_text_where_scripts_fill_them_in(agent: PageAgent, seen: Window) -> None:
    agent.capture_list = [a_capture("c0", "NG", source=HOSTILE, name=HOSTILE, label=HOSTILE, labelled_by=HOSTILE)]
    for path, testid in (("/", "cameras"), ("/today", "shift"), ("/health", "log")):
        seen.open(path)
        seen.until("document.body.dataset.link === 'open'")
        agent.tell_camera(a_camera(HOSTILE, HOSTILE, message=HOSTILE))
        agent.shift_list = [a_shift(HOSTILE, reset_by=HOSTILE)]
        agent.log_lines = [LogLine(at=1.0, level="ERROR", message=HOSTILE, logger=HOSTILE, fields={HOSTILE: HOSTILE})]
        expect(seen.find(testid)).to_contain_text(HOSTILE)
    seen.open("/captures")
    seen.find("capture").locator(".thumbnail").click()
    expect(seen.find("capture-dialog")).to_contain_text(HOSTILE)
    assert seen.page.locator("img[src=x]").count() == 0
    assert "owned" not in seen.page.title()


def test_no_page_scrolls_sideways_on_a_phone_and_every_button_is_large_enough_for_gloves(
    agent: PageAgent, chromium: Browser
) -> None:
    small = """() => [...document.querySelectorAll("main button, main .button, main .chip, .bar > nav a")]
        .map(element => [element.textContent.trim(), element.getBoundingClientRect()])
        .filter(([, box]) => box.width && box.height < 44).map(([text]) => text)"""
    agent.cameras["right"] = a_camera("right", "CAMERA_AWAY", message="rtsp://camera/" + "x" * 80)
    with page_beside(agent) as address, window(chromium, address, viewport=PHONE, locale="de-DE") as seen:
        for path in ("/", "/today", "/models", "/models/unet/threshold", "/captures", "/try", "/health"):
            seen.open(path)
            expect(seen.page.locator("main")).to_be_visible()
            assert not seen.scrolls_sideways(), path
            assert seen.page.evaluate(small) == [], path


def test_a_page_is_light_and_painted_at_once(agent: PageAgent, chromium: Browser) -> None:
    weight = "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
    with page_beside(agent) as address:
        for path in ("/", "/today", "/captures", "/health"):
            with window(chromium, address) as seen:
                seen.open(path)
                seen.until("document.fonts.ready.then(() => document.fonts.size > 0)")
                seen.until("performance.getEntriesByName('first-contentful-paint').length > 0")
                pictures = "/(frames|captures)\\/[^?]*\\.?(jpg|png|thumbnail)$/"
                entries = f"{weight}.filter(entry => !{pictures}.test(entry.name))"
                size = seen.page.evaluate(f"{entries}.reduce((sum, entry) => sum + entry.transferSize, 0)")
                assert 10_000 < size <= 300_000, path


def test_pictures_of_a_bomb_never_come_back_to_the_browser(agent: PageAgent, seen: Window) -> None:
    agent.capture_pictures["c0", "mask"] = FrameContent(encode_jpeg(np.zeros((4, 4, 3), np.uint8))[:50], "image/png")
    answer = seen.page.request.get(f"{seen.address}/captures/c0/mask")
    assert answer.status == 404
