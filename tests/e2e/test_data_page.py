"""A data scientist looks through a data set in a browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from tests.e2e.browser import DESKTOP, PHONE, Window, browser, window
from tests.fakes import layouts

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    layouts.mvtec(root / "bolts" / "long")
    layouts.mvtec(root / "bolts" / "short")
    (root / "bolts" / "short" / "ground_truth" / "cut" / "002_mask.png").unlink()
    out = root / "page.html"
    result = CliRunner().invoke(build_app(), ["data", "explore", "--data", str(root / "bolts"), "--out", str(out)])
    assert result.exit_code == 0
    return out


@pytest.fixture(params=[("light", DESKTOP), ("dark", PHONE)], ids=["light", "dark-phone"])
def opened(chromium: Browser, page: Path, request: pytest.FixtureRequest) -> Iterator[Window]:
    scheme: Literal["light", "dark"]
    scheme, viewport = request.param
    with window(chromium, page.as_uri(), color_scheme=scheme, viewport=viewport) as shown:
        shown.open("")
        yield shown


def test_pictures_outlines_and_findings_are_seen_and_nothing_is_asked_for(opened: Window, page: Path) -> None:
    assert opened.find("picture").count() == 62
    opened.until("[...document.images].filter(one => one.complete && one.naturalWidth > 0).length > 0")
    assert not opened.scrolls_sideways()
    outlines = opened.page.locator(".outline")
    assert outlines.first.is_visible()
    opened.page.get_by_label("Outline what masks mark").uncheck()
    assert outlines.first.is_hidden()
    (finding,) = opened.find("finding").all()
    assert "masks" in finding.inner_text()
    finding.get_by_role("link").first.click()
    opened.until("document.querySelector('figure:target figcaption').textContent.includes('002.png')")
    assert opened.requests[:1] == [page.as_uri()]
    assert opened.foreign_requests() == []
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium: Browser, page: Path, scheme: Literal["light", "dark"]) -> None:
    # axe comes in by the door that the page's own policy closes.
    with window(chromium, page.as_uri(), color_scheme=scheme, bypass_csp=True) as shown:
        shown.open("")
        shown.page.evaluate(AXE)
        found = shown.page.evaluate("axe.run()")
    wrong = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert not wrong, json.dumps(wrong, indent=1)[:3000]
