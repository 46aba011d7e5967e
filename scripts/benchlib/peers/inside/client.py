"""``python client.py``: one client for all servers; a plan as JSON on stdin, milliseconds as JSON on stdout.

The plan: ``targets`` (name -> address), ``path`` of the graph, ``callers`` (how many at a time, one list entry for
each series), ``block`` (calls of each caller in a row), ``rounds``, ``ready_s``. The answer: ``times`` (name ->
callers -> milliseconds) and ``failed`` (name -> why a target is not among them). ``in_process`` stands beside the
targets: the same graph in this process, one session behind a lock.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from one_thread import open_graph

_MODEL = "lite0"
_TOLERANCE = 1e-3
_WARM_CALLS = 20


class Target:
    """One server, asked by a client."""

    def __init__(self, address: str, picture: Any) -> None:
        self._client = triton.InferenceServerClient(address)
        self._picture = picture

    def ask(self) -> float:
        """Send the picture and return the score; the bytes are made anew, as a camera's are."""
        sent = triton.InferInput("image", list(self._picture.shape), "UINT8")
        sent.set_data_from_numpy(self._picture)
        answer = self._client.infer(_MODEL, [sent], client_timeout=30.0)
        return float(answer.as_numpy("score").reshape(-1)[0])


class InProcess:
    """The graph in this process: one session, as each server has one; callers take turns, first come, first served."""

    def __init__(self, path: str, picture: Any) -> None:
        self._session = open_graph(path)
        self._picture = picture
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._busy = False

    def ask(self) -> float:
        """Execute the graph."""
        self._enter()
        try:
            return float(self._session.run(None, {"image": self._picture})[0].reshape(-1)[0])
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if not self._busy:
                self._busy = True
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._busy = False


def _wait(ask: Callable[[], float], expected: float, until: float) -> str:
    """Ask until the server answers; return what is wrong with it, empty: nothing."""
    while True:
        try:
            score = ask()
        except triton.InferenceServerException as exc:
            if time.monotonic() > until:
                return str(exc)[:300]
            time.sleep(0.5)
            continue
        wrong = abs(score - expected) > _TOLERANCE * max(1.0, abs(expected))
        return f"expected {expected}, answered {score}" if wrong else ""


def _block(pool: ThreadPoolExecutor, asks: list[Callable[[], float]], count: int) -> list[float]:
    def times(ask: Callable[[], float]) -> list[float]:
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            ask()
            taken.append((time.perf_counter() - started) * 1000)
        return taken

    return [value for taken in pool.map(times, asks) for value in taken]


def main() -> None:
    """Measure as planned."""
    plan = json.load(sys.stdin)
    picture = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    inside = InProcess(plan["path"], picture)
    expected, until = inside.ask(), time.monotonic() + plan["ready_s"]
    most = max(plan["callers"])
    asks: dict[str, list[Callable[[], float]]] = {"in_process": [inside.ask] * most}
    failed = {}
    for name, address in plan["targets"].items():
        targets = [Target(address, picture).ask for _ in range(most)]
        failed[name] = _wait(targets[0], expected, until)
        if not failed[name]:
            asks[name] = targets
    times: dict[str, dict[int, list[float]]] = {name: {count: [] for count in plan["callers"]} for name in asks}
    with ThreadPoolExecutor(most) as pool:
        for several in asks.values():
            _block(pool, several, _WARM_CALLS)
        for _ in range(plan["rounds"]):
            for count in plan["callers"]:
                for name, several in asks.items():
                    times[name][count] += _block(pool, several[:count], plan["block"])
    json.dump({"times": times, "failed": {name: why for name, why in failed.items() if why}}, sys.stdout)


if __name__ == "__main__":
    main()
