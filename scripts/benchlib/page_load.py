"""What the first load of the page *Now* costs: bytes over the wire, and time to the first paint."""

import statistics
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, CDPSession, ViewportSize

from tests.e2e.browser import DESKTOP, PATIENCE_MS

Figures = dict[str, Any]
LOADS = 5
_FRAMES = "/frames/"
_KILO = 1024

# Once the browser has painted; the observer also tells what was painted before it looked.
_PAINTS = """() => new Promise((resolve) => {
  const times = {};
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) times[entry.name] = entry.startTime;
    if (times["first-paint"] !== undefined && times["first-contentful-paint"] !== undefined) resolve(times);
  }).observe({ type: "paint", buffered: true });
})"""


def opened(chromium: Browser) -> BrowserContext:
    """Return a window of somebody who reads English and was never here before: nothing is cached."""
    context = chromium.new_context(
        viewport=ViewportSize(width=DESKTOP["width"], height=DESKTOP["height"]), locale="en-US"
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


class Wire:
    """Bytes as they came over the wire, headers included, by address.

    Args:
        session: of Chromium's own protocol, to one page.
    """

    def __init__(self, session: CDPSession) -> None:
        self.size_bytes: dict[str, int] = {}
        self._asked: dict[str, str] = {}
        session.on("Network.requestWillBeSent", self._begin)
        session.on("Network.loadingFinished", self._end)
        session.send("Network.enable")

    def _begin(self, event: dict[str, Any]) -> None:
        self._asked[event["requestId"]] = event["request"]["url"]

    def _end(self, event: dict[str, Any]) -> None:
        address = self._asked.get(event["requestId"], "")
        self.size_bytes[address] = self.size_bytes.get(address, 0) + int(event["encodedDataLength"])


def page_bytes(size_bytes: dict[str, int]) -> int:
    """Return the bytes of a load without pictures of the line, by path."""
    return sum(size for address, size in size_bytes.items() if not urlsplit(address).path.startswith(_FRAMES))


def measure_load(chromium: Browser, address: str, loads: int = LOADS) -> Figures:
    """Return the figures of so many first loads, each with an empty cache; the medians."""
    found = [_load(chromium, address) for _ in range(loads)]
    paints = [paint for _, paint in found]
    return {
        "page_kb": round(statistics.median(page_bytes(sizes) for sizes, _ in found) / _KILO, 1),
        "page_files": len([1 for path in found[0][0] if not urlsplit(path).path.startswith(_FRAMES)]),
        "first_paint_ms": round(statistics.median(paint["first-paint"] for paint in paints), 1),
        "first_contentful_paint_ms": round(statistics.median(paint["first-contentful-paint"] for paint in paints), 1),
    }


def _load(chromium: Browser, address: str) -> tuple[dict[str, int], dict[str, float]]:
    context = opened(chromium)
    try:
        page = context.new_page()
        wire = Wire(context.new_cdp_session(page))
        page.goto(address, wait_until="load")
        page.evaluate("document.fonts.ready.then(() => true)")
        paints: dict[str, float] = page.evaluate(_PAINTS)
        return wire.size_bytes, paints
    finally:
        context.close()
