"""The fleet's page as a file in a real browser: no network, by day and night, on a phone, and names that are names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser

from cloud_tools.fleet.device import Device
from cloud_tools.fleet.lagging import Execution, behind, lags, spreads
from cloud_tools.fleet.page import page
from tests.e2e.browser import DESKTOP, PATIENCE_MS, PHONE, browser
from tests.e2e.test_page_accessible import findings

EVIL = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
FACTS = {
    "agent": {"version": "0.1.0", "state": "DEGRADED"},
    "alarms": {"count": 1, "kinds": "camera-gone"},
    "shift": {"ok": 941, "ng": 12, "no_result": 1},
    "disk": {"free_bytes": 41 << 30},
    "at": 1.8e9,
}


def device(number: int, version: str, **more: Any) -> Device:
    models = {"unet": {"version": version, "release_seq": int(version)}, EVIL: {"version": EVIL}}
    return Device(
        f"press-{number}", "east", ("east",), number % 3 > 0, 1.8e9, reported={**FACTS, "models": models, **more}
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    failed = {"deployment": {"state": "FAILED", "code": "NO_SPACE", "message": EVIL}}
    devices = [device(number, "3") for number in range(9)] + [device(9, "2", **failed), Device(EVIL, EVIL)]
    models = spreads(devices, {})
    unet = next(one for one in models if one.model == "unet")
    late = lags(behind(devices, unet), unet, {"press-9": Execution(EVIL, "FAILED", "", EVIL, EVIL)})
    file = tmp_path_factory.mktemp("report") / "fleet.html"
    file.write_text(page(devices, models, late, [EVIL], 1.8e9))
    return file


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_a_cloud_operator_sees_who_is_behind_and_no_name_becomes_a_page(
    chromium: Browser, report: Path, theme: Literal["light", "dark"], viewport: Any
) -> None:
    window = chromium.new_context(viewport=viewport, color_scheme=theme)
    try:
        shown = window.new_page()
        shown.set_default_timeout(PATIENCE_MS)
        asked: list[str] = []
        complaints: list[str] = []
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: complaints.append(message.text))
        shown.goto(report.as_uri())
        assert shown.title() == "Fleet"
        assert shown.locator("img, script").count() == 0
        assert shown.get_by_test_id("device").count() == 11
        assert shown.get_by_test_id("lag").count() == 1
        assert "job <img" in shown.get_by_test_id("lag").inner_text()
        assert dict(one.split("\n") for one in shown.get_by_test_id("fact").all_inner_texts()) == {
            "Devices": "11",
            "Offline": "4",
            "With alarms": "10",
            "Behind": "1",
            "Never told anything": "1",
        }
        assert shown.locator(".share .count").all_inner_texts() == ["10 (100 %)", "9 (90 %)", "1 (10 %)"]
        bad = shown.evaluate("getComputedStyle(document.querySelector('dd.bad')).color")
        failed = shown.get_by_test_id("device").filter(has_text="NO_SPACE").locator("td", has_text="FAILED")
        assert failed.evaluate("cell => getComputedStyle(cell).color") == bad
        if viewport == DESKTOP:
            fits = "table => table.scrollWidth <= table.parentElement.clientWidth"
            assert shown.locator("table").first.evaluate(fits), "reasons are read without scrolling"
        assert findings(shown) == []
        wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert shown.evaluate(wider) is False
        assert all(url.startswith(("file:", "data:")) for url in asked)
        assert complaints == []
    finally:
        window.close()
