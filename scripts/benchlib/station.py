"""``python -m scripts.benchlib.station [--json] [--frames N] [--block-s S]``: what it costs to look at the line.

Everything is real: an agent with the sample models, ``edge-agent station`` on the sample pictures, ``edge-agent
dashboard``, a headless Chromium. Eight look at the page: that Chromium, and seven clients that hold the event stream
and fetch each picture as a browser does. The last line on stdout is one JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Page

from scripts.benchlib.drawn import WATCH, Sighting, arrivals_in, told
from scripts.benchlib.line import processor_seconds, workers_of
from scripts.benchlib.page_load import measure_load, opened
from scripts.benchlib.sample_line import SAMPLES, Running, SampleLine, Told, following, load
from scripts.benchlib.viewers import viewers
from tests.e2e.browser import CHROMIUM, PATIENCE_MS, browser

Figures = dict[str, Any]
FRAMES = 300
RATE_HZ, FULL_RATE_HZ = 10.0, 1000.0
VIEWERS = 8
LEAST = 19
BLOCKS, BLOCK_S, SETTLE_S = 4, 10.0, 1.0
# Frames in which a browser that just opened the page is not judged yet, and those that may be on their way at the end.
_WARM, _LAST_S = 20, 1.0
# The first comes with the page, the next by its stream.
_FOLLOWS = 3
_CAMERA = "line-1"
_BLANK = "about:blank"


def measure_drawing(line: SampleLine, page: Page, station: Running, frames: int) -> Figures:
    """Return how long a picture takes from the station to the browser, with all viewers there.

    Args:
        line: with the page served.
        page: of the browser that is measured, empty.
        station: on one camera, its log at DEBUG.
        frames: to be drawn at least.
    """
    with following(line.device) as events, viewers(line.address, VIEWERS - 1) as fetched:
        page.goto(line.address)
        _until_drawn(page, _WARM)
        began_ms = time.time() * 1000
        _until_drawn(page, len(_sightings(page)) + frames + int(2 * _LAST_S * RATE_HZ))
        figures = _drawn_since(began_ms, events, station, _sightings(page))
        figures |= {"viewers_pictures": fetched(), "events_lost": sum(events.lost)}
        page.goto(_BLANK)
    return figures


def _drawn_since(began_ms: float, events: Told, station: Running, sightings: list[Sighting]) -> Figures:
    arrived = arrivals_in(station.log)
    until_ms = max(sight.at_ms for sight in sightings) - _LAST_S * 1000
    frames = [frame for frame in events.frames if began_ms <= arrived.get(frame.id, 0.0) <= until_ms]
    return told(frames, arrived, sightings)


def _until_drawn(page: Page, count: int) -> None:
    """Wait for so many sightings; each frame of a slow line makes one."""
    patience_ms = PATIENCE_MS + count * 10_000 / RATE_HZ
    page.wait_for_function("it => window.benchSightings.length >= it", arg=count, polling=500, timeout=patience_ms)


def _sightings(page: Page) -> list[Sighting]:
    return [Sighting(*sight) for sight in page.evaluate("window.benchSightings")]


class Block(NamedTuple):
    """Some seconds of a station as fast as it can.

    Attributes:
        rate: verdicts a second.
        cores: what each process used of the machine meanwhile, the agent's workers with it.
    """

    rate: float
    cores: dict[str, float]


Blocks = dict[str, list[Block]]


def measure_rates(line: SampleLine, page: Page, processes: Mapping[str, int], blocks: int, block_s: float) -> Figures:
    """Return verdicts a second of a station as fast as it can, with and without viewers, blocks in turn.

    Who looks has a machine of his own in a factory: eight clients take what a page costs the device, and take for
    themselves what nobody else wants. What a browser costs that draws by software on the device itself stands beside
    it, and what any busy neighbour costs that looks at nothing.
    """
    looking: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "without": nullcontext,
        "with": lambda: viewers(line.address, VIEWERS, nice=LEAST),
        "beside_a_browser": lambda: _all_viewers(line, page),
        "beside_a_stranger": _stranger,
    }
    found: Blocks = {name: [] for name in looking}
    for _ in range(blocks):
        for name, look in looking.items():
            with look():
                time.sleep(SETTLE_S)
                found[name].append(_block(line, processes, block_s))
    return ratios(found)


def ratios(found: Blocks) -> Figures:
    """Return the ratio of all blocks with viewers to all without, every block, and what was busy in them."""
    alone = sum(block.rate for block in found["without"])
    shares = {name: round(sum(block.rate for block in blocks) / alone, 4) for name, blocks in found.items()}
    return {
        "verdict_rate_ratio_8_viewers": shares["with"],
        "verdict_rate_ratio_beside_a_browser": shares["beside_a_browser"],
        "verdict_rate_ratio_beside_a_stranger": shares["beside_a_stranger"],
        "verdicts_per_s": {name: [round(block.rate, 1) for block in blocks] for name, blocks in found.items()},
        "cores_used": {name: _mean([block.cores for block in blocks]) for name, blocks in found.items()},
    }


def _mean(cores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.mean(one[name] for one in cores), 2) for name in cores[0]}


@contextmanager
def _all_viewers(line: SampleLine, page: Page) -> Iterator[None]:
    with viewers(line.address, VIEWERS - 1, nice=LEAST):
        page.goto(line.address)
        _until_drawn(page, _FOLLOWS)
        yield
        page.goto(_BLANK)


@contextmanager
def _stranger() -> Iterator[None]:
    """Run what keeps a processor busy at the lowest priority and looks at nothing: what any neighbour costs here."""
    command = ["nice", "-n", str(LEAST), sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def _block(line: SampleLine, processes: Mapping[str, int], seconds: float) -> Block:
    with line.device.client() as client:
        before, used, began = client.status().counts, _used(processes), time.monotonic()
        time.sleep(seconds)
        after, until, ended = client.status().counts, _used(processes), time.monotonic()
    if after.no_result != before.no_result:
        raise AssertionError(f"expected verdicts, came {after.no_result - before.no_result} NO_RESULT")
    elapsed_s = ended - began
    rate = (after.ok + after.ng - before.ok - before.ng) / elapsed_s
    return Block(rate, {name: (until[name] - used[name]) / elapsed_s for name in processes})


def _used(processes: Mapping[str, int]) -> dict[str, float]:
    return {name: sum(map(processor_seconds, [pid, *workers_of(pid)])) for name, pid in processes.items()}


def measure_station(frames: int = FRAMES, blocks: int = BLOCKS, block_s: float = BLOCK_S) -> Figures:
    """Return all figures of this part.

    Args:
        frames: to be drawn in the browser and measured.
        blocks: of each kind, for the verdict rate.
        block_s: the length of one.
    """
    camera = {"source": f"directory:{SAMPLES / 'frames'}", "rate_hz": RATE_HZ}
    with tempfile.TemporaryDirectory(prefix="station-") as scratch:
        line = SampleLine(Path(scratch))
        with line.running(), line.page() as served:
            with browser() as chromium, line.stations({_CAMERA: camera}, level="DEBUG") as station:
                figures = measure_drawing(line, _watched(chromium), station, frames)
                figures |= measure_load(chromium, line.address)
            fast = line.stations({_CAMERA: camera | {"rate_hz": FULL_RATE_HZ}})
            with browser(_giving_way(Path(scratch))) as chromium, fast as station:
                processes = {"agent": line.agent, "station": station.pid, "dashboard": served.pid}
                figures |= measure_rates(line, _watched(chromium), processes, blocks, block_s)
        return figures | load()


def _giving_way(directory: Path) -> str:
    """Return a Chromium that cannot help giving way: run by root it puts its drawing before everybody else's work."""
    program = directory / "chromium"
    program.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-sys_nice nice -n {LEAST} {CHROMIUM} "$@"\n')
    program.chmod(0o755)
    return str(program)


def _watched(chromium: Browser) -> Page:
    page = opened(chromium).new_page()
    page.add_init_script(WATCH)
    return page


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench station", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames to be drawn and measured")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="blocks of each kind, for the verdict rate")
    parser.add_argument("--block-s", type=float, default=BLOCK_S, help="seconds of each block")
    asked = parser.parse_args(arguments)
    figures = measure_station(asked.frames, asked.blocks, asked.block_s)
    if not asked.json:
        print("\n".join(f"{name:44} {value}" for name, value in figures.items()))
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
