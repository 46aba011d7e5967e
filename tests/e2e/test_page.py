"""The page in a real browser, beside an agent that is faked behind real servers."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from edge_agent.formats import EncodedPicture, InspectedFrame, ModelStatus, ModelVersion
from tests.e2e.browser import DESKTOP, PATIENCE_MS, PHONE, TELEVISION, Window, browser, dashboard, fake_agent, window
from tests.fakes.agent_core import FakeCore, drawn_part, served

GOOD, BAD = 0, 2
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


class Line:
    """An agent in this process and a page beside it."""

    def __init__(self, core: FakeCore, address: str) -> None:
        self.core = core
        self.address = address

    def inspect(self, part: int, name: str = "part.jpg", source: str = "left") -> InspectedFrame:
        return self.core.inspect(
            EncodedPicture(drawn_part(part)),
            applications=(),
            source=source,
            frame_name=name,
            with_mask=False,
            frame_priority=True,
            timeout_s=10.0,
        )


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with served(tmp_path) as agent, dashboard(tmp_path) as address:
        yield Line(agent.core, address)


@pytest.fixture
def seen(chromium: Browser, line: Line) -> Iterator[Window]:
    with window(chromium, line.address) as opened:
        yield opened


def is_shown(seen: Window, frame: InspectedFrame) -> None:
    seen.until("document.querySelector('main').dataset.frame === it", frame.id)


def natural_width(seen: Window, testid: str) -> int:
    return int(seen.find(testid).evaluate("image => image.complete ? image.naturalWidth : 0"))


def test_the_operator_sees_verdict_picture_overlay_and_which_versions_answered(line: Line, seen: Window) -> None:
    seen.open()
    expect(seen.find("verdict")).to_have_text("WAITING")
    frame = line.inspect(BAD, "part-7.jpg")
    is_shown(seen, frame)
    expect(seen.find("verdict")).to_have_text("NG")
    expect(seen.find("frame")).to_be_visible()
    expect(seen.find("overlay")).to_be_visible()
    assert natural_width(seen, "frame") == natural_width(seen, "overlay") == 320
    expect(seen.find("frame-name")).to_have_text("part-7.jpg")
    expect(seen.find("model-img-classification-version")).to_have_text("2")
    expect(seen.find("model-unet-version")).to_have_text("2")
    line.inspect(GOOD)
    expect(seen.find("verdict")).to_have_text("OK")
    expect(seen.find("counts")).to_contain_text("2")


def test_the_operator_sees_a_new_version_without_a_reload(line: Line, seen: Window) -> None:
    line.inspect(GOOD)
    seen.open()
    seen.page.evaluate("window.stayed = true")
    expect(seen.find("model-unet-version")).to_have_text("2")
    line.core.install([ModelVersion("unet", "3.1")])
    expect(seen.find("model-unet-version")).to_have_text("3.1")
    expect(seen.find("model-img-classification-version")).to_have_text("2")
    expect(seen.page.get_by_text("This picture was answered by version 2")).to_be_visible()
    assert seen.page.evaluate("window.stayed") is True


def test_the_operator_watches_a_deployment_run_and_finds_it_in_the_history(line: Line, seen: Window) -> None:
    seen.open("/models")
    expect(seen.find("deployment")).to_contain_text("Nothing is being deployed")
    line.core.hold_at = "downloading"
    line.core.install([ModelVersion("unet", "3")])
    expect(seen.find("deployment")).to_contain_text("Install unet 2 → 3")
    expect(seen.find("deployment")).to_contain_text("5.0 MB of 10.0 MB")
    line.core.let_go.set()
    expect(seen.find("model-unet-version")).to_have_text("3")
    expect(seen.find("history")).to_contain_text("job-unet-3")


def test_nothing_that_the_pages_need_comes_from_elsewhere_and_the_console_stays_quiet(line: Line, seen: Window) -> None:
    for path in ("/", "/models", "/?lang=de&theme=dark", "/models"):
        seen.open(path)
        is_shown_anywhere = "document.fonts.ready.then(() => document.fonts.size > 0)"
        seen.until(is_shown_anywhere)
        if "models" not in path:
            is_shown(seen, line.inspect(BAD))
    assert any(url.endswith(".woff2") for url in seen.requests)
    assert any("/overlay/" in url for url in seen.requests)
    assert seen.foreign_requests() == []
    assert seen.complaints == []


def test_an_old_picture_is_grey_and_says_how_old_it_is(line: Line, seen: Window) -> None:
    seen.open()
    is_shown(seen, line.inspect(GOOD))
    colour = "getComputedStyle(document.querySelector('.judgement')).backgroundColor"
    green = "rgb(0, 115, 92)"
    seen.until(f"{colour} !== '{green}' && document.querySelector('main').dataset.fresh === 'stale'")
    expect(seen.page.get_by_text("Old verdict: not the part in front of the camera")).to_be_visible()
    expect(seen.find("age")).to_have_text(re.compile(r"^([2-9]\.\d|\d+) s$"))
    assert "grayscale(1)" in str(seen.find("frame").evaluate("image => getComputedStyle(image).filter"))
    expect(seen.find("verdict")).to_have_text("OK")
    line.inspect(GOOD)
    seen.until(f"{colour} === '{green}'")


def test_the_agent_dies_and_returns_while_the_page_is_open(chromium: Browser, tmp_path: Path) -> None:
    with dashboard(tmp_path) as address, window(chromium, address) as seen:
        with fake_agent(tmp_path, "--rate-hz", "5") as agent:
            seen.open()
            expect(seen.find("agent-away")).to_be_hidden()
            seen.until("document.querySelector('main').dataset.fresh === 'fresh'")
            agent.kill()
        expect(seen.find("agent-away")).to_be_visible()
        seen.until("document.querySelector('main').dataset.fresh === 'stale'")
        assert natural_width(seen, "frame") == 320
        assert seen.page.request.get(f"{address}/readyz").status == 503
        assert seen.page.request.get(f"{address}/healthz").status == 200
        with fake_agent(tmp_path, "--rate-hz", "5"):
            expect(seen.find("agent-away")).to_be_hidden()
            seen.until("document.querySelector('main').dataset.fresh === 'fresh'")
            assert seen.page.request.get(f"{address}/readyz").status == 200


def test_the_page_says_so_when_its_own_server_is_gone_and_recovers(chromium: Browser, tmp_path: Path) -> None:
    with served(tmp_path) as agent:
        line = Line(agent.core, "")
        with dashboard(tmp_path) as address:
            opened = window(chromium, address)
            seen = opened.__enter__()
            seen.open()
            is_shown(seen, line.inspect(GOOD))
        expect(seen.page.get_by_text("This page has lost its connection")).to_be_visible()
        with dashboard(tmp_path, listen=address.removeprefix("http://")):
            is_shown(seen, line.inspect(BAD))
            expect(seen.page.get_by_text("This page has lost its connection")).to_be_hidden()
            expect(seen.find("verdict")).to_have_text("NG")
        opened.__exit__(None, None, None)


def test_the_operator_rolls_back_with_a_reason(line: Line, seen: Window) -> None:
    seen.open("/models")
    card = seen.page.locator("article", has=seen.find("model-unet-version"))
    expect(seen.find("model-unet-version")).to_have_text("2")
    card.get_by_test_id("rollback").click()
    expect(seen.find("rollback-dialog")).to_contain_text("Take unet from 2 back to 1?")
    seen.find("rollback-reason").fill("too many good parts rejected")
    seen.find("rollback-confirm").click()
    expect(seen.find("notice")).to_contain_text("unet 2 → 1 is done")
    expect(seen.find("model-unet-version")).to_have_text("1")
    expect(seen.find("history")).to_contain_text("too many good parts rejected")
    assert seen.complaints == []


def test_a_rollback_without_a_reason_does_not_happen(line: Line, seen: Window) -> None:
    seen.open("/models")
    seen.find("rollback").first.click()
    for nothing in ("", "   "):
        seen.find("rollback-reason").fill(nothing)
        seen.find("rollback-confirm").click()
        expect(seen.find("rollback-dialog")).to_be_visible()
    seen.page.keyboard.press("Escape")
    expect(seen.find("rollback-dialog")).to_be_hidden()
    assert line.core.deployment_reports == []


def test_the_operator_rolls_back_with_the_keyboard_alone(line: Line, seen: Window) -> None:
    seen.open("/models")
    expect(seen.find("rollback").first).to_be_visible()
    seen.order_by_keyboard("rollback", "by hand")
    expect(seen.find("notice")).to_be_visible()
    assert [report.operation for report in line.core.deployment_reports] == ["rollback"]


class HostileCore(FakeCore):
    def model_statuses(self) -> tuple[ModelStatus, ...]:
        hostile = {"name": HOSTILE, "active": HOSTILE, "previous": HOSTILE, "applications": (HOSTILE,)}
        return tuple(model.model_copy(update=hostile) for model in super().model_statuses()[:1])


def test_hostile_names_stay_text(chromium: Browser, tmp_path: Path) -> None:
    with (
        served(tmp_path, core=HostileCore()) as agent,
        dashboard(tmp_path) as address,
        window(chromium, address) as seen,
    ):
        line = Line(agent.core, address)
        seen.open()
        is_shown(seen, line.inspect(BAD, HOSTILE, HOSTILE))
        expect(seen.find("frame-name")).to_have_text(HOSTILE)
        expect(seen.find("frame-source")).to_have_text(HOSTILE)
        expect(seen.find(f"model-{HOSTILE}-version")).to_have_text(HOSTILE)
        seen.open("/models")
        expect(seen.page.get_by_role("heading", name=HOSTILE)).to_be_visible()
        seen.find("rollback").click()
        expect(seen.find("rollback-dialog")).to_contain_text(HOSTILE)
        assert seen.page.locator("img[src=x]").count() == 0
        assert "owned" not in seen.page.title()
        assert seen.foreign_requests() == []
        assert seen.complaints == []


@pytest.mark.parametrize("size", [PHONE, DESKTOP, TELEVISION, {"width": 320, "height": 640}], ids=str)
def test_no_page_scrolls_sideways_on_any_screen(chromium: Browser, line: Line, size: dict[str, int]) -> None:
    line.core.install([ModelVersion("unet", "111111111.222222222.333333333.4")])
    with window(chromium, line.address, viewport=size) as seen:
        for path in ("/", "/models", "/?lang=de", "/models"):
            seen.open(path)
            if "models" not in path:
                is_shown(seen, line.inspect(BAD, "a-very-long-name-without-any-space" * 6, "camera" * 20))
            expect(seen.find("model-unet-version")).to_have_text("111111111.222222222.333333333.4")
            assert not seen.scrolls_sideways(), path


def test_on_a_television_the_whole_line_is_seen_without_scrolling(chromium: Browser, line: Line) -> None:
    with window(chromium, line.address, viewport=TELEVISION) as seen:
        seen.open()
        is_shown(seen, line.inspect(BAD))
        assert seen.page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        # To be read from five metres a word wants 25 mm: a tenth of such a screen's height.
        height = seen.find("verdict").evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
        assert height >= 1080 / 10


def test_verdict_name_and_picture_always_belong_to_one_part(line: Line, seen: Window) -> None:
    names = {}
    seen.open()
    first = line.inspect(GOOD, "part-first")
    is_shown(seen, first)
    seen.page.evaluate("""() => {
        window.sights = [];
        const look = () => {
            const text = id => document.querySelector(`[data-testid=${id}]`).textContent;
            const source = document.querySelector("[data-testid=frame]").getAttribute("src");
            window.sights.push([source, text("frame-name"), text("verdict").trim()]);
            requestAnimationFrame(look);
        };
        look();
    }""")
    for number in range(40):
        frame = line.inspect(number, f"part-{number}")
        names[f"/frames/{frame.id}.jpg"] = (frame.name, frame.verdict.value)
        time.sleep(0.01)  # a line faster than the browser, so that frames are skipped
    names[f"/frames/{first.id}.jpg"] = (first.name, first.verdict.value)
    seen.until("window.sights.some(([source]) => source.includes(it))", frame.id)
    sights = {tuple(sight) for sight in seen.page.evaluate("window.sights")}
    assert len(sights) > 1
    assert [sight for sight in sights if names[sight[0]] != sight[1:]] == []


def test_the_overlay_fades_and_each_application_can_be_switched_off(line: Line, seen: Window) -> None:
    seen.open()
    is_shown(seen, line.inspect(BAD))
    slider = seen.page.get_by_label("Opacity")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowLeft")
    assert seen.page.locator(".overlays").evaluate("element => getComputedStyle(element).opacity") == "0.6"
    seen.page.get_by_label("image-segmentation-app").uncheck()
    expect(seen.find("overlay")).to_be_hidden()
    is_shown(seen, line.inspect(5))
    expect(seen.find("overlay")).to_be_hidden()
    expect(seen.find("overlay-anomaly-detection-app")).to_be_visible()


def test_dark_and_light_follow_the_system_until_the_operator_chooses(chromium: Browser, line: Line) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    with window(chromium, line.address, color_scheme="dark") as seen:
        seen.open()
        dark = seen.page.evaluate(background)
        seen.page.get_by_role("button", name="Dark or light").click()
        light = seen.page.evaluate(background)
        assert dark != light
        seen.open("/models")
        assert seen.page.evaluate(background) == light


def test_a_german_operator_reads_german(chromium: Browser, line: Line) -> None:
    with window(chromium, line.address, locale="de-DE") as seen:
        seen.open()
        expect(seen.find("verdict")).to_have_text("WARTET")
        is_shown(seen, line.inspect(BAD))
        expect(seen.find("age")).to_have_text(re.compile(r"^(\d,\d|\d+) s$"))
        seen.page.get_by_title("English").click()
        expect(seen.page.get_by_role("link", name="Models")).to_be_visible()


def test_a_page_without_a_seat_asks_instead_and_stays_current(chromium: Browser, line: Line) -> None:
    with window(chromium, line.address) as seen:
        seen.page.route("**/events*", lambda route: route.fulfill(status=503, body="too many viewers"))
        seen.open()
        is_shown(seen, line.inspect(BAD))
        expect(seen.page.get_by_text("Too many viewers")).to_be_visible()
        expect(seen.find("verdict")).to_have_text("NG")


def test_a_page_that_nobody_looks_at_gives_its_seat_back_and_is_current_when_looked_at(
    line: Line, seen: Window
) -> None:
    hide = """hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    seen.open()
    is_shown(seen, line.inspect(GOOD))
    seen.page.evaluate(hide, arg=True)
    missed = line.inspect(BAD)
    expect(seen.page.get_by_text("This page has lost its connection")).to_be_visible()
    assert seen.page.locator("main").get_attribute("data-frame") != missed.id
    seen.page.evaluate(hide, arg=False)
    is_shown(seen, missed)
    expect(seen.page.get_by_text("This page has lost its connection")).to_be_hidden()
