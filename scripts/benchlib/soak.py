"""``python -m scripts.benchlib.soak [--json] [--minutes N]``: a bounded soak of one agent, camera-less.

Callers never stop asking while versions are swapped one after the other and the broker goes away now and then.
``memory_growth`` compares the agent after a fifth of the time with the agent at the end. The last line on stdout
is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.benchlib.line import MODEL, Footprint, Line
from scripts.benchlib.load import Asked, Load, noticed
from scripts.benchlib.swaps import Swapper, settled
from tests.fakes.jobs_clouds import MosquittoCloud

Figures = dict[str, Any]
MINUTES = 30.0
RELEASES = 200
_WARM_SHARE = 0.2
_SWAPS_BETWEEN_OUTAGES = 10
_OUTAGE_S = 5.0


class Soak:
    """One agent with a broker, and what was noticed of it so far."""

    def __init__(self, directory: Path) -> None:
        (directory / "cloud").mkdir()
        self.cloud = MosquittoCloud(directory / "cloud")
        thing, mqtt = self.cloud.new_device()
        rooms: dict[str, dict[str, object]] = {
            "device": {"thing": thing},
            "mqtt": mqtt.model_dump(mode="json", exclude_defaults=True),
        }
        self.line = Line(directory / "device", RELEASES, rooms)
        self.outages = 0
        self.swaps = 0
        self.asked: list[Asked] = []
        self.warm: Footprint | None = None

    def run(self, seconds: float) -> Figures:
        """Soak for so long and tell what came of it."""
        began = time.monotonic()
        self.line.device.install((MODEL, "1"))
        load = Load(self.line.device.client)
        load.allow("1")
        with load.running():
            swapper = Swapper(self.line, load)
            while (elapsed := time.monotonic() - began) < seconds:
                self._round(swapper)
                self.asked += load.cut()
                if self.warm is None and elapsed > seconds * _WARM_SHARE:
                    self.warm = settled(self.line)
            last = settled(self.line)
            self.asked += load.cut()
        return self._told(load, last, time.monotonic() - began)

    def _round(self, swapper: Swapper) -> None:
        away = self.swaps % _SWAPS_BETWEEN_OUTAGES == _SWAPS_BETWEEN_OUTAGES - 1
        if away:
            self.outages += 1
            self.cloud.broker.kill()
            self.line.device.wait_for(lambda status: status.agent.cloud == "CONNECTING")
        swapper.swap()
        self.swaps += 1
        if away:
            time.sleep(_OUTAGE_S)
            self.cloud.broker.start()
            self.line.device.wait_for(lambda status: status.agent.cloud == "CONNECTED")

    def _told(self, load: Load, last: Footprint, seconds: float) -> Figures:
        return {
            "memory_growth": round(last.agent_bytes / self.warm.agent_bytes - 1, 4) if self.warm else None,
            "soak_seconds": round(seconds, 1),
            "swaps": self.swaps,
            "broker_outages": self.outages,
            **noticed(self.asked),
            "stream_fault": load.stream_fault,
            "footprint_warm": self.warm._asdict() if self.warm else None,
            "footprint_end": last._asdict(),
        }

    def close(self) -> None:
        """End agent and broker."""
        self.line.device.stop()
        self.cloud.stop()


def measure_soak(minutes: float = MINUTES) -> Figures:
    """Return what so many minutes of load, swaps and outages leave behind."""
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        soak = Soak(Path(scratch))
        try:
            soak.line.device.start()
            return soak.run(minutes * 60)
        finally:
            soak.close()


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench soak", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long")
    asked = parser.parse_args(arguments)
    figures = measure_soak(asked.minutes)
    if not asked.json:
        print("\n".join(f"{name:18} {value}" for name, value in figures.items()))
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
