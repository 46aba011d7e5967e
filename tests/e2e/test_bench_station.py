"""What the bench of the station sees of the page, in a real browser: a script that nobody else runs."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from edge_agent.formats import EncodedPicture, InspectedFrame
from scripts.benchlib.drawn import WATCH, Sighting, first_drawn
from scripts.benchlib.page_load import measure_load, opened
from scripts.benchlib.viewers import viewers
from tests.e2e.browser import browser, dashboard
from tests.fakes.agent_core import FakeCore, drawn_part, served
from tests.fakes.device import eventually

PARTS = (0, 2, 5, 0, 0, 2)
_MASKED = {"segmentation", "anomaly"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with served(tmp_path) as agent:
        yield agent.core


@pytest.fixture
def address(core: FakeCore, tmp_path: Path) -> Iterator[str]:
    with dashboard(tmp_path) as served_at:
        yield served_at


def inspect(core: FakeCore, part: int) -> InspectedFrame:
    return core.inspect(
        EncodedPicture(drawn_part(part)),
        applications=(),
        source="left",
        frame_name=f"part-{part}.jpg",
        with_mask=False,
        frame_priority=True,
        timeout_s=10.0,
    )


def until_seen(page: Page, frame: InspectedFrame) -> list[Sighting]:
    page.wait_for_function("it => window.benchSightings.some(([source]) => source.includes(it))", arg=frame.id)
    return [Sighting(*sight) for sight in page.evaluate("window.benchSightings")]


def test_each_part_is_seen_with_its_own_verdict_and_not_before_it_was_inspected(
    chromium: Browser, core: FakeCore, address: str
) -> None:
    context = opened(chromium)
    page = context.new_page()
    page.add_init_script(WATCH)
    page.goto(address)
    frames, sightings = [], []
    for part in PARTS:
        frames.append(inspect(core, part))
        sightings = until_seen(page, frames[-1])
    drawn = first_drawn(frames, sightings)
    context.close()

    assert len({frame.verdict for frame in frames}) == 2
    assert list(drawn) == [frame.id for frame in frames]
    # The browser's clock counts whole milliseconds.
    assert all(drawn[frame.id] > frame.at * 1000 - 1 for frame in frames)
    assert sorted(drawn.values()) == list(drawn.values())


def test_the_other_viewers_fetch_the_picture_and_overlays_of_what_they_hear(core: FakeCore, address: str) -> None:
    def all_have(fetched: Callable[[], list[int]], least: int) -> list[int] | None:
        found = fetched()
        return found if min(found) >= least else None

    expected = 0
    with viewers(address, 3) as fetched:
        for part in PARTS:
            frame = inspect(core, part)
            # Where nothing is marked there is nothing to fetch: the page has that picture already.
            expected += 1 + sum(result.kind in _MASKED and result.area > 0 for result in frame.results)
            counts = eventually(partial(all_have, fetched, expected))

    assert counts == [expected] * 3


def test_a_first_load_tells_its_bytes_and_its_first_paint(chromium: Browser, core: FakeCore, address: str) -> None:
    inspect(core, 2)

    figures = measure_load(chromium, address, loads=1)

    assert figures["page_files"] >= 4, "document, style, scripts"
    assert 10 < figures["page_kb"] < 1000
    assert figures["first_contentful_paint_ms"] >= figures["first_paint_ms"] > 0
