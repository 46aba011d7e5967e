"""A line that never pauses, with a known verdict for each part: ``scripts/bench soak --frames N``.

Two cameras of one ``edge-agent station`` take N parts together, as fast as they can, while two browser pages look at
them. Each part has a name of its own, so that the agent's counts must equal those of the same models executed in this
process: not one more, not one less, for each verdict. Memory is compared after a fifth of the parts and at their end,
descriptors and segments at rest before and after.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from edge_agent.formats import Counts
from scripts.benchlib.held import Everyone, growth, held, more, settled
from scripts.benchlib.page_load import opened
from scripts.benchlib.sample_line import BUNDLES, SampleLine, Told, following, load, pictures
from scripts.benchlib.truth import Feed, compared, verdicts_of, wrong
from tests.e2e.browser import PATIENCE_MS, browser

Figures = dict[str, Any]
FRAMES = 28_800
CAMERAS = ("left", "right")
PAGES = 2
WARM_FRAMES = 100
_WARM_SHARE = 0.2
_LOOK_S = 0.05
# So long without a new verdict: whatever is missing will not come.
_STALLED_S = 60.0
# What a busy machine delays is no miscount: counts are measured here, not times.
_DEADLINE_S = 30.0
_FULL_RATE_HZ = 1000.0
_SHOWS = "it => document.querySelector('[data-testid=\"frame\"]').src.includes(it)"


class LineSoak:
    """A line with its processes, and the parts that it is shown.

    Args:
        line: running, its page served.
        feeds: of each camera, by its name.
        processes: ids of agent, station and dashboard, by what they are.
        chromium: looks at the page.
    """

    def __init__(
        self, line: SampleLine, feeds: dict[str, Feed], processes: Mapping[str, int], chromium: Browser
    ) -> None:
        self._line = line
        self._feeds = feeds
        self._processes = processes
        self._chromium = chromium

    def run(self, frames: int) -> Figures:
        """Show so many parts and tell what came of it."""
        with following(self._line.device) as told:
            with self._pages():  # what is taken once and kept is no leak
                self._show(WARM_FRAMES, told)
            first, before = settled(self._processes), self._counts()
            shown = {name: feed.asked for name, feed in self._feeds.items()}
            began = time.monotonic()
            with self._pages() as pages:
                warm = self._show(frames, told)
                seconds, ended = time.monotonic() - began, held(self._processes)
                current = sum(_shows(page, told.frames[-1].id) for page in pages)
            last = settled(self._processes)
        truth = [verdict for name, feed in self._feeds.items() for verdict in feed.truth(shown[name], feed.asked)]
        return {
            "frames": len(truth),
            **compared(truth, before, self._counts()),
            **wrong(told.frames, self._feeds),
            **growth(warm, ended),
            **more(first, last),
            "seconds": round(seconds, 1),
            "pages_current": current,
            "events_lost": sum(told.lost),
            "stream_faults": told.faults,
        }

    def _show(self, frames: int, told: Told) -> Everyone:
        """Let the cameras take so many parts, and return what was held after a fifth of them."""
        share, rest = divmod(frames, len(self._feeds))
        for number, feed in enumerate(self._feeds.values()):
            feed.ask(share + (number < rest))
        left = sum(feed.asked - feed.taken for feed in self._feeds.values())
        enough = left * (1 - _WARM_SHARE)
        warm: Everyone | None = None
        for left in self._taken(told):
            if warm is None and left <= enough:
                warm = held(self._processes)
        if warm is None:
            raise AssertionError(f"expected a fifth of {frames} parts inspected, {left} are left")
        return warm

    def _taken(self, told: Told) -> Iterator[int]:
        """Hear what is inspected and offer what comes next; yield how many parts are left, until none is."""
        heard, moved = 0, time.monotonic()
        while time.monotonic() - moved < _STALLED_S:
            fresh = told.frames[heard:]
            for frame in fresh:
                self._feeds[frame.source].take(frame.name)
            for feed in self._feeds.values():
                feed.go_on()
            if fresh:
                heard, moved = heard + len(fresh), time.monotonic()
            left = sum(feed.asked - feed.taken for feed in self._feeds.values())
            yield left
            if not left:
                return
            time.sleep(_LOOK_S)

    def _counts(self) -> Counts:
        return self._line.device.status().counts

    @contextmanager
    def _pages(self) -> Iterator[list[Page]]:
        with ExitStack() as stack:
            pages = []
            for _ in range(PAGES):
                context = opened(self._chromium)
                stack.callback(context.close)
                pages.append(context.new_page())
                pages[-1].goto(self._line.address)
            yield pages


def _shows(page: Page, frame_id: str) -> bool:
    """Tell whether a page still follows: whether it shows the last part."""
    try:
        page.wait_for_function(_SHOWS, arg=frame_id, timeout=PATIENCE_MS)
    except PlaywrightTimeoutError:
        return False
    return True


def _feeds(scratch: Path) -> dict[str, Feed]:
    """Return a feed for each camera; no two begin with the same picture."""
    kept = scratch / "pictures"
    kept.mkdir()
    copies = [Path(shutil.copy(picture, kept)) for picture in pictures()]
    verdicts = verdicts_of(copies, BUNDLES, scratch)
    step = len(copies) // len(CAMERAS)
    return {name: Feed(scratch / name, copies, verdicts, number * step) for number, name in enumerate(CAMERAS)}


def measure_line_soak(frames: int = FRAMES) -> Figures:
    """Return what so many parts without a pause leave behind."""
    with tempfile.TemporaryDirectory(prefix="line-") as name, browser() as chromium:
        scratch = Path(name)
        feeds = _feeds(scratch)
        line = SampleLine(scratch)
        cameras = {
            camera: {
                "source": f"directory:{feed.directory}",
                "loop": False,
                "rate_hz": _FULL_RATE_HZ,
                "deadline_s": _DEADLINE_S,
            }
            for camera, feed in feeds.items()
        }
        with line.running(), line.page() as page, line.stations(cameras) as station:
            processes = {"agent": line.agent, "station": station.pid, "dashboard": page.pid}
            return LineSoak(line, feeds, processes, chromium).run(frames) | load()
