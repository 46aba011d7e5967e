"""``python -m scripts.benchlib.reconnect [--json] [--scale N]``: how a fleet comes back after an outage.

A thousand devices are simulated with the waits that the MQTT library draws (aws-c-mqtt: evenly from 0 to the
least wait, doubled with each failure in a row, and what is longer than the longest wait is cut to it). Then real
connections to a real broker check the simulation: how far apart are the two distributions of the moments of
return? The last line on stdout is one JSON object.
"""

import argparse
import itertools
import json
import queue
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_agent.config import Mqtt
from edge_agent.jobs.happenings import Connected, Disconnected, Happening
from edge_agent.jobs.mqtt import MqttConnection
from edge_agent.jobs.reconnect import Policy, first_wait_s, policy
from tests.fakes.certificates import Authority
from tests.fakes.mosquitto import Mosquitto

Figures = dict[str, Any]
DEVICES = 1000
CONNECTIONS = 50
OUTAGE_S = 60.0
LONGEST_S = Mqtt().reconnect_max_s
OUTAGES_S = (0.0, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0, 3600.0)
_SEEDS = 5
_PATIENCE_S = 60.0


class Return(NamedTuple):
    """When devices tried, and when they were back, in seconds since the outage began."""

    tries: list[float]
    back: list[float]


def wait_s(waits: Policy, failures: int, rng: random.Random) -> float:
    """Return a wait as the library draws it after so many failures in a row."""
    return min(rng.uniform(0.0, waits.least_s * 2.0 ** min(failures, 63)), waits.most_s)


def simulate(devices: int, outage_s: float, waits: Policy, *, seed: int) -> Return:
    """Return how ``devices`` that lose their broker all at once come back; it refuses while it is away."""
    rng = random.Random(seed)  # noqa: S311 - a simulation that can be repeated
    tries: list[float] = []
    back: list[float] = []
    for _ in range(devices):
        at = 0.0
        for failures in itertools.count():
            at += wait_s(waits, failures, rng)
            tries.append(at)
            if at >= outage_s:
                break
        back.append(at)
    return Return(tries, back)


def simulate_power_cut(devices: int, longest_s: float, *, seed: int) -> list[float]:
    """Return when the devices of a site connect whose machines were all started in the same moment."""
    rng = random.Random(seed)  # noqa: S311 - as above
    return [first_wait_s(longest_s, 0.0, rng.random()) for _ in range(devices)]


def peak_share(moments: Sequence[float], devices: int, second_s: float = 1.0) -> float:
    """Return the share of the devices that the busiest second sees."""
    return max(Counter(int(moment / second_s) for moment in moments).values(), default=0) / devices


def distance(some: Sequence[float], others: Sequence[float]) -> float:
    """Return the greatest difference of two distributions (Kolmogorov and Smirnov): 0 the same, 1 apart."""
    left, right = np.sort(np.array(some)), np.sort(np.array(others))
    points = np.concatenate([left, right])
    shares = [np.searchsorted(side, points, side="right") / len(side) for side in (left, right)]
    return float(np.abs(shares[0] - shares[1]).max())


def simulated() -> Figures:
    """Return the peaks of a simulated fleet: each the worst of several seeds."""
    waits, seeds = policy(LONGEST_S), range(_SEEDS)
    minute = [simulate(DEVICES, OUTAGE_S, waits, seed=seed) for seed in seeds]
    every = [simulate(DEVICES, outage_s, waits, seed=seed) for outage_s in OUTAGES_S for seed in seeds]
    return {
        "reconnect_peak_share": max(peak_share(fleet.back, DEVICES) for fleet in minute),
        "reconnect_tries_peak_share": max(peak_share(fleet.tries, DEVICES) for fleet in minute),
        "reconnect_any_outage_peak_share": max(peak_share(fleet.tries, DEVICES) for fleet in every),
        "power_cut_peak_share": max(
            peak_share(simulate_power_cut(DEVICES, LONGEST_S, seed=seed), DEVICES) for seed in seeds
        ),
        "reconnect_last_s": round(max(max(fleet.back) for fleet in minute) - OUTAGE_S, 1),
    }


class Observed(NamedTuple):
    """What real connections did."""

    outage_s: float
    lost: int
    refused: int
    back: list[float]
    """Seconds since the outage began."""


def observe(directory: Path, connections: int, *, longest_s: float, outage_s: float) -> Observed:
    """Let real connections lose a real broker and come back to it.

    Args:
        directory: for the broker and the certificates.
        connections: how many.
        longest_s: the longest wait that they are configured with.
        outage_s: how long the broker is away, about.
    """
    authority = Authority(directory)
    broker = Mosquitto(directory, authority)
    pair = authority.issue("fleet")
    settings = Mqtt(
        endpoint="127.0.0.1",
        port=broker.port,
        certificate=pair.certificate,
        private_key=pair.private_key,
        ca=authority.ca,
        reconnect_max_s=longest_s,
    )
    fleet = _Fleet(settings, connections)
    broker.start()
    try:
        fleet.start()
        fleet.until_all(Connected, _PATIENCE_S)
        return _through_an_outage(broker, fleet, outage_s, longest_s)
    finally:
        fleet.stop()
        broker.stop()


def _through_an_outage(broker: Mosquitto, fleet: "_Fleet", outage_s: float, longest_s: float) -> Observed:
    began = time.monotonic()
    broker.kill()
    lost = len(fleet.until_all(Disconnected, _PATIENCE_S))
    time.sleep(max(0.0, began + outage_s - time.monotonic()))
    broker.start()
    ended = time.monotonic()
    back = fleet.until_all(Connected, longest_s + _PATIENCE_S)
    return Observed(ended - began, lost, fleet.refused, sorted(at - began for at in back))


class _Fleet:
    """Real connections whose happenings are told with their moment."""

    def __init__(self, settings: Mqtt, count: int) -> None:
        self._told: queue.SimpleQueue[tuple[int, Happening, float]] = queue.SimpleQueue()
        self.refused = 0
        self._links = [MqttConnection(settings, f"device-{n}", hand_over=self._teller(n)) for n in range(count)]

    def _teller(self, number: int) -> Any:
        return lambda happening: self._told.put((number, happening, time.monotonic()))

    def start(self) -> None:
        for link in self._links:
            link.start()

    def stop(self) -> None:
        for link in self._links:
            link.stop(_PATIENCE_S)

    def until_all(self, kind: type[Happening], timeout_s: float) -> list[float]:
        """Return when each connection first told of this from now on."""
        limit = time.monotonic() + timeout_s
        moments: dict[int, float] = {}
        while len(moments) < len(self._links):
            number, happening, at = self._told.get(timeout=max(0.0, limit - time.monotonic()))
            self.refused += isinstance(happening, Disconnected) and happening.reason.startswith("could not")
            if isinstance(happening, kind):
                moments.setdefault(number, at)
        return list(moments.values())


def measure_reconnect(scale: float = 10.0) -> Figures:
    """Return the simulated peaks and what real connections made of the same policy, ``scale`` times as fast."""
    longest_s = LONGEST_S / scale
    with tempfile.TemporaryDirectory(prefix="reconnect-") as scratch:
        seen = observe(Path(scratch), CONNECTIONS, longest_s=longest_s, outage_s=OUTAGE_S / scale)
    model = simulate(DEVICES * 5, seen.outage_s, policy(longest_s), seed=0)
    return simulated() | {
        "real_connections": len(seen.back),
        "real_lost": seen.lost,
        "real_refused_tries": seen.refused,
        "real_scale": scale,
        "real_peak": max(Counter(int(at * scale) for at in seen.back).values()),
        "real_last_s": round((seen.back[-1] - seen.outage_s) * scale, 1),
        "real_distance_from_simulation": round(distance(seen.back, model.back), 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench reconnect", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.add_argument(
        "--scale", type=float, default=10.0, help="how much faster the real connections are; 1: as configured"
    )
    asked = parser.parse_args(arguments)
    figures = measure_reconnect(asked.scale)
    if not asked.json:
        print("\n".join(f"{name:34} {value}" for name, value in figures.items()))
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
