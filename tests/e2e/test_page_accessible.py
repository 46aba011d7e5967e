"""axe-core looks at every page in both themes: nothing serious, nothing critical."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser

from edge_agent.formats import CaptureStatus, GoldenCheck, GoldenPart, Verdict
from tests.e2e.browser import PHONE, browser, window
from tests.e2e.test_operator_page import PART, a_line
from tests.fakes.cheap_users import users_file
from tests.fakes.page_agent import PageAgent, a_camera, a_report
from tests.fakes.page_line import page_beside

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
PAGES = ("/", "/today", "/models", "/models/unet/threshold", "/captures", "/try", "/health", "/nowhere")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def a_troubled_line() -> PageAgent:
    """Everything that has a colour of its own is there to be looked at."""
    agent = a_line()
    agent.cameras["right"] = a_camera("right", "CAMERA_AWAY", message="unplugged")
    parts = (GoldenPart(name="scratch.png", expected=Verdict.NG, verdict=Verdict.OK),)
    agent.golden = GoldenCheck(state="FAILED", at=1.0, message="1 of 1", parts=parts)
    agent.capture_status = CaptureStatus(pending=3, failed=1, dropped=2, upload_paused=True, quota_bytes=10, bytes=5)
    agent.history = [a_report(state="FAILED", code="LOAD_FAILED", message="worker ended", ended=1.0)]
    return agent


def findings(page: Any) -> list[str]:
    """Return what is serious or critical, with where it is."""
    page.evaluate(AXE)
    report = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    grave = [one for one in report["violations"] if one["impact"] in {"serious", "critical"}]
    assert report["passes"], "axe looked at nothing"
    return [f"{one['id']}: {json.dumps([node['html'][:160] for node in one['nodes'][:3]])}" for one in grave]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE], ids=["tablet", "phone"])
def test_no_page_has_a_serious_fault(
    chromium: Browser, theme: Literal["light", "dark"], viewport: dict[str, int]
) -> None:
    context = {"color_scheme": theme, "viewport": viewport, "reduced_motion": "reduce"}
    with page_beside(a_troubled_line()) as address, window(chromium, address, **context) as seen:
        for path in PAGES:
            seen.open(path)
            seen.page.locator("main").wait_for()
            assert findings(seen.page) == [], path
        seen.open("/")
        seen.until("document.querySelector('main').dataset.fresh === 'stale'")
        assert findings(seen.page) == [], "what is old is grey, and still read"


def test_dialogs_trials_and_the_login_have_no_serious_fault(chromium: Browser, tmp_path: Path) -> None:
    agent = a_troubled_line()
    with page_beside(agent) as address, window(chromium, address) as seen:
        for path, opener, dialog in (
            ("/models", "rollback", "rollback-dialog"),
            ("/today", "reset", "reset-dialog"),
        ):
            seen.open(path)
            seen.find(opener).first.click()
            seen.find(dialog).wait_for()
            assert findings(seen.page) == [], path
        seen.open("/captures")
        seen.find("capture").last.get_by_text("Class, or other").click()
        seen.find("capture").last.get_by_test_id("label-class").first.click()
        seen.find("undo").wait_for()
        assert findings(seen.page) == []
        seen.find("capture").first.locator(".thumbnail").click()
        seen.find("capture-dialog").wait_for()
        assert findings(seen.page) == []
        seen.open("/try")
        part = {"name": "part.jpg", "mimeType": "image/jpeg", "buffer": PART}
        seen.find("try-file").set_input_files(files=[part])  # type: ignore[list-item]  # playwright's FilePayload
        seen.find("try-send").click()
        seen.find("trial").wait_for()
        assert findings(seen.page) == []
    users = users_file(tmp_path / "users.json")
    with page_beside(agent, users=users, transport="plain") as address, window(chromium, address) as seen:
        seen.open("/login")
        assert findings(seen.page) == []
