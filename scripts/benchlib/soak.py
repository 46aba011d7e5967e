"""``python -m scripts.benchlib.soak [--json] [--minutes N | --frames N]``: one agent, never left alone.

With ``--frames`` it is a whole line that is soaked, as ``line_soak`` tells; otherwise an agent, in every protocol.

A client of each protocol asks all the time; every 5 s another version is deployed, every 20 s the worker that
answers is killed, and once a minute the broker goes away for a while. Answers are compared with execution in this
process. ``memory_growth`` compares the agent after a fifth of the time with the agent at the end, descriptors,
segments and threads are compared with those before the first client. The last line on stdout is one JSON object.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.benchlib.chorus import Chorus, Expected, told
from scripts.benchlib.line import BIASES, MODEL, Footprint, Line, processor_seconds, workers_of
from scripts.benchlib.line_soak import measure_line_soak
from scripts.benchlib.swaps import Swapper, releases_for, settled
from tests.fakes.device import eventually
from tests.fakes.jobs_clouds import MosquittoCloud

Figures = dict[str, Any]
MINUTES = 10.0
_SWAP_EVERY_S, _KILL_EVERY_S, _OUTAGE_EVERY_S, _OUTAGE_S = 5.0, 20.0, 60.0, 10.0
_INTERVAL_S = 0.05
_WARM_SHARE = 0.2
_BUSY_S = 0.3
_FIRST_S = 3.0


class Soak:
    """One agent with a broker, and what was done to it so far."""

    def __init__(self, directory: Path, seconds: float) -> None:
        (directory / "cloud").mkdir()
        self._seconds = seconds
        self._cloud = MosquittoCloud(directory / "cloud")
        thing, mqtt = self._cloud.new_device()
        rooms: dict[str, dict[str, object]] = {
            "device": {"thing": thing},
            "mqtt": mqtt.model_dump(mode="json", exclude_defaults=True),
        }
        releases = max(BIASES, releases_for(int(seconds / _SWAP_EVERY_S) + 2))
        self.line = Line(directory / "device", releases, rooms)
        self._expected = Expected(self.line.repository.home / "bundles", directory)
        self._kills: list[float] = []
        self._restarts = 0
        self._outages = 0
        self._is_away = False

    def run(self) -> Figures:
        """Soak and tell what came of it."""
        self.line.device.install((MODEL, "1"))
        with self._chorus().singing():  # what the agent takes once and keeps is no leak
            time.sleep(_FIRST_S)
        named_before = _named_segments()
        first = settled(self.line)
        chorus = self._chorus()
        began = time.monotonic()
        with chorus.singing():
            swaps, warm = self._rounds(chorus, began)
            ended = settled(self.line)
        last = settled(self.line)
        return {
            "soak_seconds": round(time.monotonic() - began, 1),
            "swaps": swaps,
            "kills": len(self._kills),
            "worker_restarts": self._restarts,
            "broker_outages": self._outages,
            **told(chorus.heard(), self._kills),
            "first_logged_fault": _first_fault(self.line.device.log),
            "memory_growth": round(ended.agent_bytes / warm.agent_bytes - 1, 4),
            "worker_memory_growth": round(ended.worker_bytes / warm.worker_bytes - 1, 4),
            "descriptors_more": last.descriptors - first.descriptors,
            "segments_more": last.segments - first.segments + _named_segments() - named_before,
            "threads_more": last.threads - first.threads,
            "footprint_first": first._asdict(),
            "footprint_warm": warm._asdict(),
            "footprint_end": ended._asdict(),
            "footprint_last": last._asdict(),
        }

    def _chorus(self) -> Chorus:
        chorus = Chorus(self.line.device.runtime_dir, self._expected, interval_s=_INTERVAL_S)
        chorus.allow("1")
        return chorus

    def _rounds(self, chorus: Chorus, began: float) -> tuple[int, Footprint]:
        swapper, swaps, warm = Swapper(self.line, chorus), 0, None
        next_swap, next_kill = 0.0, _KILL_EVERY_S
        while (elapsed := time.monotonic() - began) < self._seconds:
            # On a busy machine a swap takes longer than its turn: the others must not wait for ever.
            if warm is None and elapsed >= self._seconds * _WARM_SHARE:
                warm = settled(self.line)
            elif elapsed >= next_kill:
                next_kill = elapsed + _KILL_EVERY_S
                self._kill()
            elif elapsed >= next_swap:
                next_swap = elapsed + _SWAP_EVERY_S
                swapper.swap()
                swaps += 1
            self._broker(elapsed)
            time.sleep(0.1)
        if warm is None:
            raise AssertionError(f"expected a fifth of {self._seconds:g} s to pass, it did not")
        return swaps, warm

    def _kill(self) -> None:
        """Kill the worker that answers, and wait until the agent has seen that."""
        process = self.line.device.process
        assert process is not None
        busiest = _busiest(workers_of(process.pid))
        self._kills.append(time.monotonic())
        os.kill(busiest, signal.SIGKILL)
        eventually(lambda: True if busiest not in workers_of(process.pid) else None)
        self._restarts += 1

    def _broker(self, elapsed: float) -> None:
        away = elapsed % _OUTAGE_EVERY_S > _OUTAGE_EVERY_S - _OUTAGE_S
        if away and not self._is_away:
            self._cloud.broker.kill()
            self._outages += 1
        if self._is_away and not away:
            self._cloud.broker.start()
        self._is_away = away

    def close(self) -> None:
        """End agent and broker."""
        self.line.device.stop()
        self._cloud.stop()


def _first_fault(log: Path) -> str:
    """Return the agent's first log line of a call that ended in a fault of its own, traceback included."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in lines if '"call_failed"' in line), "")


def _busiest(processes: list[int]) -> int:
    """Return the process that used most processor time just now: the one that answers."""
    before = {process: processor_seconds(process) for process in processes}
    time.sleep(_BUSY_S)
    return max(processes, key=lambda process: processor_seconds(process) - before[process])


def _named_segments() -> int:
    """Return how many POSIX and System V segments there are on this machine that come from here."""
    posix = [path for path in Path("/dev/shm").iterdir() if "edge-agent-soak" in path.name]  # noqa: S108
    listed = subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True)  # noqa: S607
    return len(posix) + sum(line.split()[1:2] == [str(os.getpid())] for line in listed.stdout.splitlines())


def measure_soak(minutes: float = MINUTES) -> Figures:
    """Return what so many minutes of load, swaps, kills and outages leave behind."""
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        soak = Soak(Path(scratch), minutes * 60)
        try:
            soak.line.device.start()
            return soak.run()
        finally:
            soak.close()


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench soak", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=MINUTES, help="how long")
    length.add_argument("--frames", type=int, help="soak a whole line with so many parts; 28800 are a shift of 8 hours")
    asked = parser.parse_args(arguments)
    figures = measure_line_soak(asked.frames) if asked.frames else measure_soak(asked.minutes)
    if not asked.json:
        print("\n".join(f"{name:22} {value}" for name, value in figures.items()))
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
