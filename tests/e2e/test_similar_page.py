"""Similar parts in a real browser: from a capture, from the live picture, and where there is no memory."""

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from edge_agent.client import FrameContent
from edge_agent.formats import AnomalyMap, BankStatus, SimilarPart, SimilarParts, Verdict
from edge_agent.vision import encode_jpeg
from tests.e2e.browser import PATIENCE_MS, PHONE, Window, browser, window
from tests.fakes.agent_core import drawn_part
from tests.fakes.page_agent import PageAgent, a_capture, a_frame, a_model, a_result
from tests.fakes.page_line import page_beside

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
PART = drawn_part(2)

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def small(shade: int) -> bytes:
    return encode_jpeg(np.full((72, 96, 3), (shade, 120, 160), np.uint8))


def alike() -> SimilarParts:
    told = {"captured": False, "label": HOSTILE}
    learnt = [
        SimilarPart(similarity=0.999 - n / 100, id=f"train/{HOSTILE}/{n}.png", thumbnail=small(25 * n), **told)
        for n in range(8)
    ]
    captured = SimilarPart(similarity=0.97, captured=True, id="c2", label="NG", verdict="OK", at=1000.0)
    blind = SimilarPart(similarity=0.5, captured=False, id="train/good/blind.png")
    return SimilarParts(model="unet", version="2", distance=0.2, limit=0.1, far=True, parts=(*learnt, captured, blind))


def show(agent: PageAgent, frame_id: str) -> None:
    nothing = AnomalyMap(np.full((2, 2), -9, np.float32).tobytes(), 2, 2, 0.5, 320, 240)
    agent.show(a_frame(frame_id, Verdict.OK, a_result("unet")), PART, image_segmentation_app=nothing)


@pytest.fixture
def agent() -> PageAgent:
    agent = PageAgent()
    agent.models = {"unet": a_model("unet", "2", bank=BankStatus(state="STEADY", seen=500, parts=40, far_share=0.012))}
    for name in ("c1", "c2"):
        agent.capture_list.append(a_capture(name, at=1000.0 + int(name[1])))
        for part in ("picture", "thumbnail"):
            agent.capture_pictures[name, part] = FrameContent(PART, "image/jpeg")
    agent.similar_parts = {"c1": alike(), "c2": SimilarParts(message="none"), "f1": alike()}
    show(agent, "f1")
    return agent


@pytest.fixture
def seen(chromium: Browser, agent: PageAgent) -> Iterator[Window]:
    with page_beside(agent) as address, window(chromium, address) as opened:
        yield opened
        assert opened.foreign_requests() == []
        assert opened.complaints == []


def look_at(seen: Window, capture: str) -> None:
    seen.page.locator(f"[data-id={capture}] [data-capture]").click()


def pictures_are_there(seen: Window) -> None:
    seen.until("[...document.querySelectorAll('.alike img:not([hidden])')].every(image => image.naturalWidth > 0)")


def test_an_engineer_sees_what_a_capture_looks_like(seen: Window) -> None:
    seen.open("/captures")
    look_at(seen, "c1")
    seen.find("find-similar").click()
    parts = seen.find("similar-list").locator("li")
    expect(parts).to_have_count(10)
    expect(parts.nth(0)).to_contain_text("99.90 %")
    expect(parts.nth(0)).to_contain_text("Learnt from")
    # What a file or a label is called is text, whatever it looks like.
    expect(parts.nth(0)).to_contain_text(HOSTILE)
    expect(parts.nth(8)).to_contain_text("Captured")
    expect(parts.nth(8)).to_contain_text("OK")
    expect(parts.nth(9).locator(".no-picture")).to_be_visible()
    expect(seen.find("similar-distance")).to_contain_text("less like what was learnt")
    pictures_are_there(seen)
    assert seen.page.title() != "owned"


def test_another_capture_shows_nothing_of_the_one_before(seen: Window) -> None:
    seen.open("/captures")
    look_at(seen, "c1")
    seen.find("find-similar").click()
    expect(seen.find("similar-list").locator("li")).to_have_count(10)
    seen.page.keyboard.press("Escape")
    look_at(seen, "c2")
    expect(seen.find("similar-list")).to_be_hidden()
    seen.find("find-similar").click()
    expect(seen.find("similar-trouble")).to_contain_text("None of the models here carries a memory")
    expect(seen.find("similar-list").locator("li")).to_have_count(0)


def test_the_part_on_the_live_picture_is_compared_while_the_line_goes_on(agent: PageAgent, seen: Window) -> None:
    seen.open("/?lang=de")
    seen.until("document.querySelector('main').dataset.frame === 'f1'")
    seen.find("look-similar").click()
    expect(seen.find("similar-list").locator("li")).to_have_count(10)
    expect(seen.find("similar-parts")).to_contain_text("Ähnliche Teile")
    show(agent, "f2")
    seen.until("document.querySelector('main').dataset.frame === 'f2'")
    expect(seen.find("similar-list").locator("li")).to_have_count(10)
    expect(seen.find("similar-dialog").locator("h2")).to_have_text("f1.jpg")
    pictures_are_there(seen)


def test_health_tells_whether_parts_look_as_they_did_at_training(seen: Window) -> None:
    seen.open("/health")
    expect(seen.find("health-models")).to_contain_text("As learnt")
    expect(seen.find("health-models")).to_contain_text("1.2 % of the last 500 parts look unlike what was learnt")


def test_similar_parts_fit_on_a_phone(chromium: Browser, agent: PageAgent) -> None:
    with page_beside(agent) as address, window(chromium, address, viewport=PHONE) as phone:
        phone.open("/captures")
        look_at(phone, "c1")
        phone.find("find-similar").click()
        expect(phone.find("similar-list").locator("li")).to_have_count(10)
        assert not phone.scrolls_sideways()
        assert not phone.page.evaluate("(d => d.scrollWidth > d.clientWidth)(document.getElementById('capture'))")
