"""Deployments one after the other while the line asks, and an agent that falls under load and comes back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.benchlib.line import MODEL, Line
from scripts.benchlib.load import Asked, Load
from scripts.benchlib.swaps import measure_swaps
from tests.fakes.device import eventually

SWAPS = 40
# What a fresh process takes for its first work is not over after half of the swaps.
FLAT = 0.08


# It swaps forty times, however busy the machine is.
@pytest.mark.timeout(900)
def test_swaps_under_load_fail_no_request_mix_no_versions_and_keep_nothing() -> None:
    figures = measure_swaps(SWAPS, quiet_s=0.5, callers=3, interval_s=0.1)
    assert (figures["swaps"], figures["failed_requests"], figures["mixed_answers"]) == (SWAPS, 0, 0), figures
    assert figures["requests"] > SWAPS
    assert figures["events"] > SWAPS
    assert figures["stream_fault"] == ""
    assert abs(figures["memory_growth"]) < FLAT
    warm, end = figures["footprint_warm"], figures["footprint_end"]
    assert end["workers"] == warm["workers"] == 1
    assert end["segments"] <= warm["segments"]
    assert end["descriptors"] <= warm["descriptors"] + 2
    assert end["threads"] <= warm["threads"] + 16  # callers' threads are made as they are needed


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path, 1)
    line.device.start()
    assert line.device.install((MODEL, "1")).state == "COMMITTED"
    yield line
    assert line.device.stop() == 0


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_an_agent_that_ends_under_load_is_unavailable_only_until_its_restart_and_lets_nobody_hang(
    line: Line, way: str
) -> None:
    load = Load(line.device.client, callers=4, interval_s=0.02)
    load.allow("1")
    with load.running():
        eventually(lambda: load.events or None)
        asked = load.cut()
        began = time.monotonic()
        if way == "killed":
            line.device.kill()
        else:
            assert line.device.stop() == 0
        line.device.start()
        again = time.monotonic()
        asked += _until_answered(load, again)
        asked += load.cut()
    faults = [request for request in asked if request.fault]
    assert faults, "nobody asked while the agent was away"
    assert {request.fault.partition(":")[0] for request in faults} == {"UNAVAILABLE"}
    assert all(request.at >= began - request.milliseconds / 1000 for request in faults)
    # A client looks for the agent a few times a second, on a busy machine too.
    assert max(request.at for request in faults) < again + 20
    assert max(request.milliseconds for request in asked) < 10_000


def _until_answered(load: Load, since: float) -> list[Asked]:
    """Return what was asked until each caller may have had an answer."""
    asked: list[Asked] = []

    def answered() -> list[Asked] | None:
        asked.extend(load.cut())
        good = [request for request in asked if request.at > since and not request.fault]
        return asked if len(good) >= 20 else None

    return eventually(answered)
