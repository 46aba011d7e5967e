"""The report and the explorer as files in a real browser: no network, no mouse needed, every picture found."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.browser import DESKTOP, PATIENCE_MS, PHONE, browser
from tests.e2e.test_page_accessible import findings
from tests.fakes.evaluated import Evaluated


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@contextmanager
def opened(chromium: Browser, evaluated: Evaluated, file: str, **context: Any) -> Iterator[Page]:
    """Open one of the report's files; nothing but files is asked for, and nothing is complained about."""
    window = chromium.new_context(**({"viewport": DESKTOP} | context))
    try:
        page = window.new_page()
        page.set_default_timeout(PATIENCE_MS)
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((evaluated.out / file).as_uri())
        yield page
        assert {urlsplit(url).scheme for url in asked} <= {"file", "data"}
        assert complaints == []
    finally:
        window.close()


def count(page: Page) -> str:
    return page.get_by_test_id("count").inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_both_pages_fit_and_have_no_serious_fault(
    chromium: Browser, evaluated: Evaluated, theme: Literal["light", "dark"], viewport: Any
) -> None:
    for file in ("report.html", "explorer.html"):
        with opened(chromium, evaluated, file, color_scheme=theme, viewport=viewport) as page:
            assert findings(page) == [], file
            wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert page.evaluate(wider) is False, file


def test_a_data_scientist_reads_the_report_and_follows_a_mistake_to_its_picture(
    chromium: Browser, evaluated: Evaluated
) -> None:
    with opened(chromium, evaluated, "report.html") as page:
        assert page.get_by_test_id("remark").filter(has_text="hygiene gate would stop").count() >= 1
        assert page.get_by_test_id("category").count() == 2
        assert page.get_by_test_id("panel").count() == 4
        mistake = page.get_by_test_id("mistake").first
        file = mistake.locator("a").get_attribute("title")
        mistake.locator("a").click()
        page.get_by_test_id("detail").wait_for()
        assert page.locator("#detail-name").inner_text() == file


def test_filters_leave_what_was_asked_for(chromium: Browser, evaluated: Evaluated) -> None:
    rows: Any = evaluated.answer["methods"]
    with opened(chromium, evaluated, "explorer.html") as page:
        assert count(page) == "44 of 44 pictures"
        page.get_by_label("Split").select_option("test")
        assert count(page) == "20 of 44 pictures"
        page.get_by_label("Class").select_option("hole")
        assert count(page) == "10 of 44 pictures"
        page.get_by_label("Class").select_option("")
        page.get_by_label("Category").select_option("brick")
        page.get_by_label("by model").select_option("padim")
        page.get_by_text("Wrong", exact=True).click()
        wrong = round((1 - rows[0]["accuracy"]) * 10)
        assert count(page) == f"{wrong} of 44 pictures"
        assert page.get_by_test_id("card").count() == wrong
        assert page.locator(".card .chip.wrong").filter(has_text="padim").count() == wrong
        page.get_by_label("File name").fill("no such file")
        assert count(page) == "0 of 44 pictures"
        assert page.get_by_text("No picture fits.").is_visible()


def test_sorting_by_a_models_score_puts_its_highest_first(chromium: Browser, evaluated: Evaluated) -> None:
    with opened(chromium, evaluated, "explorer.html") as page:
        page.get_by_label("Sort by").select_option("dfm: high score first")
        chips = page.locator(".card .chip").filter(has_text="dfm").all_text_contents()
        scores = [float(text.removesuffix(" wrong").split()[-1]) for text in chips]
        assert len(scores) == 44
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > scores[-1]


def test_every_picture_is_reached_without_a_mouse(chromium: Browser, evaluated: Evaluated) -> None:
    with opened(chromium, evaluated, "explorer.html") as page:
        page.get_by_label("Class").select_option("hole")
        cards = page.locator(".card button")
        cards.first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        detail = page.get_by_test_id("detail")
        detail.wait_for()
        assert "2 of 10" in detail.inner_text()
        assert findings(page) == []
        heat = detail.locator("img.heat").first
        # A heat map is there, is a picture, and gives way to a key.
        page.wait_for_function("document.querySelector('img.heat').naturalWidth > 0", timeout=PATIENCE_MS)
        assert heat.is_visible()
        page.keyboard.press("h")
        assert heat.is_hidden()
        page.keyboard.press("ArrowRight")
        assert "3 of 10" in detail.inner_text()
        page.keyboard.press("Escape")
        detail.wait_for(state="hidden")
        # A dialog tells of its end in a task of its own.
        back = "document.activeElement === document.querySelectorAll('.card button')[2]"
        page.wait_for_function(back, timeout=PATIENCE_MS)
