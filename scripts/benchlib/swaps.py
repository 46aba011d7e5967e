"""``python -m scripts.benchlib.swaps [--json] [--swaps N]``: deployments under load, by the thousand.

Each swap takes the whole way of a deployment (repository, store, builder, worker, golden samples, commit), with
shadow and probation at zero: a release is installed, taken back and installed again until the next one comes.
Quiet blocks lie between them, so that whatever disturbs the machine disturbs both alike. The last line on stdout
is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scripts.benchlib.line import MODEL, Footprint, Line
from scripts.benchlib.load import Asked, Load, noticed
from tests.fakes.device import eventually

Figures = dict[str, Any]
SWAPS = 1000
_SWAPS_PER_RELEASE = 5
_WARM_SWAPS = 50
_QUIET_EVERY = 20
# The one that answers, and one that is kept ready to replace it; the latter comes some seconds later.
_WORKERS_AT_REST, _CALM_S = 2, 7.0
_CALL_TIMEOUT_S = 120.0


class Allowing(Protocol):
    """Whoever has to know which versions may answer."""

    def allow(self, *versions: str) -> None:
        """Say which versions may answer from now on."""


class Swapper:
    """Orders one deployment after the other.

    Args:
        line: with release "1" committed.
        load: told which versions may answer.
    """

    def __init__(self, line: Line, load: Allowing) -> None:
        self._device = line.device
        self._load = load
        self._made = 0
        self.current = 1

    def swap(self) -> None:
        """Install the next release, or take the present one back and install it again, in turn."""
        newest = 2 + self._made // _SWAPS_PER_RELEASE
        back = self._made % _SWAPS_PER_RELEASE % 2 == 1
        self._made += 1
        wanted = newest - 1 if back else newest
        self._load.allow(str(self.current), str(wanted))
        report = self._roll_back() if back else self._device.install((MODEL, str(wanted)))
        if report.state != "COMMITTED":
            raise AssertionError(f"expected {wanted} COMMITTED, came {report.state} {report.code} {report.message}")
        self.current = wanted
        self._load.allow(str(wanted))

    def _roll_back(self) -> Any:
        with self._device.client() as client:
            return client.roll_back(MODEL, "a measured swap", actor="bench", timeout_s=_CALL_TIMEOUT_S)


def releases_for(swaps: int) -> int:
    """Return how many releases a number of swaps needs."""
    return 2 + max(0, swaps - 1) // _SWAPS_PER_RELEASE


def measure_swaps(swaps: int = SWAPS, *, quiet_s: float = 4.0, callers: int = 4, interval_s: float = 0.1) -> Figures:
    """Return what callers notice of ``swaps`` deployments, and what is left of them.

    Args:
        swaps: deployments to make, at least two.
        quiet_s: length of the blocks without any that lie between each twenty.
        callers: who ask at the same time.
        interval_s: how often each of them asks.
    """
    with tempfile.TemporaryDirectory(prefix="swaps-") as scratch:
        line = Line(Path(scratch), releases_for(swaps))
        line.device.start()
        try:
            line.device.install((MODEL, "1"))
            load = Load(line.device.client, callers=callers, interval_s=interval_s)
            return _measure(line, load, swaps, quiet_s)
        finally:
            line.device.stop()


def _measure(line: Line, load: Load, swaps: int, quiet_s: float) -> Figures:
    quiet: list[Asked] = []
    during: list[Asked] = []
    seconds: list[float] = []
    warm = min(_WARM_SWAPS, swaps // 2)
    first = last = None
    load.allow("1")
    with load.running():
        swapper = Swapper(line, load)
        for number in range(swaps):
            if number % _QUIET_EVERY == 0:
                load.cut()
                time.sleep(quiet_s)
                quiet += load.cut()
            if number == warm:
                first = settled(line)
            started = time.monotonic()
            swapper.swap()
            seconds.append(time.monotonic() - started)
            during += load.cut()
        last = settled(line)
        during += load.cut()
    if first is None:
        raise AssertionError("expected at least two swaps")
    return _told(quiet, during, seconds, first, last) | {"events": load.events, "stream_fault": load.stream_fault}


def settled(line: Line) -> Footprint:
    """Return the footprint once what was replaced has ended: as many workers for a while, one that waits included."""
    calm_since, before = time.monotonic(), -1

    def look() -> Footprint | None:
        nonlocal calm_since, before
        found = line.footprint()
        if found.workers != before or found.workers > _WORKERS_AT_REST:
            calm_since, before = time.monotonic(), found.workers
        return found if time.monotonic() - calm_since > _CALM_S else None

    return eventually(look)


def _told(quiet: list[Asked], during: list[Asked], seconds: list[float], first: Footprint, last: Footprint) -> Figures:
    before, meanwhile = (np.array([asked.milliseconds for asked in block]) for block in (quiet, during))
    return {
        "swaps": len(seconds),
        **noticed([*quiet, *during]),
        "swap_seconds_p50": _rounded(np.median(seconds)),
        "p50_ms_before": _rounded(np.median(before)),
        "p50_ms_during": _rounded(np.median(meanwhile)),
        "p99_ms_before": _rounded(np.percentile(before, 99)),
        "p99_ms_during": _rounded(np.percentile(meanwhile, 99)),
        "max_ms_during": _rounded(meanwhile.max()),
        "swap_p50_ratio": _rounded(np.median(meanwhile) / np.median(before)),
        "swap_p99_ratio": _rounded(np.percentile(meanwhile, 99) / np.percentile(before, 99)),
        "memory_growth": _rounded(last.agent_bytes / first.agent_bytes - 1),
        "worker_memory_growth": _rounded(last.worker_bytes / first.worker_bytes - 1),
        "footprint_warm": first._asdict(),
        "footprint_end": last._asdict(),
    }


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench swaps", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.add_argument("--swaps", type=int, default=SWAPS, help="deployments to make")
    asked = parser.parse_args(arguments)
    figures = measure_swaps(asked.swaps)
    if not asked.json:
        print("\n".join(f"{name:24} {value}" for name, value in figures.items()))
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
