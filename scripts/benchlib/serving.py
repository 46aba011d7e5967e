"""``python -m scripts.benchlib.serving [--json] [--swaps N]``: what serving costs over executing in process.

Every figure is a ratio or a difference within one run, from blocks in turn. The last line on stdout is one
JSON object with the fields of ``bench serving``; null: not measured. Each ratio comes as p50 and, with ``_p10``
behind its name, as p10, which a noisy machine disturbs less.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from edge_agent.config import Inference
from edge_agent.formats import Manifest, parse
from edge_agent.inference import open_session, raise_thresholds
from edge_agent.inference.session import Session
from scripts.benchlib import graphs
from scripts.benchlib.calls import ROOT, Caller, Server, interleaved
from scripts.benchlib.peers.beside import measure_peers

Figures = dict[str, Any]
FIELDS = (
    "served_over_in_process_fast",
    "served_over_in_process_shm",
    "served_over_in_process_bytes",
    "null_rpc_ms_602k_bytes",
    "null_rpc_ms_602k_shm",
    "handover_ms_602k",
    "throughput_ratio_8",
    "swap_failed_requests",
    "swap_p50_ratio",
    "swap_p99_ratio",
    "served_over_in_process_fast_4ms",
    "served_over_in_process_shm_48ms",
    "agent_rss_mb",
    "agent_start_s",
    "memory_growth",
    "peers",
)
_CALLERS = 8
_START_TIMEOUT_S = 30.0


class Setting:
    """A directory with versions, a server process, and sessions in this process to compare with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = Server(directory)

    @contextmanager
    def model(self, name: str, lanes: int = 1) -> Iterator[tuple[Caller, Session, Session, dict[str, Any]]]:
        """Yield a caller of the served model, it inline, it in a worker of ours, and an input."""
        version = self.version(name, "1")
        self.server.order(do="load", version=version, lanes=lanes)
        inline, isolated = (self._open(version, mode, lanes) for mode in ("inline", "process"))
        shape = inline.manifest.inputs[0].shape
        picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        caller = Caller(self.server, name, picture)
        yield caller, inline, isolated, {"image": picture}
        for part in (caller, inline, isolated):
            part.close()

    def version(self, name: str, version: str, *, broken: bool = False) -> str:
        """Write a version, unless it is there, and return its directory's name."""
        directory = self.directory / f"{name}-{version}"
        if not directory.exists():
            manifest = graphs.write(directory, name, version, broken=broken)
            (directory / "manifest.json").write_bytes(manifest.to_json())
        return directory.name

    def _open(self, version: str, mode: str, lanes: int) -> Session:
        directory = self.directory / version
        content = (directory / "manifest.json").read_bytes()
        manifest = parse(Manifest, content, what="manifest")
        options = Inference.model_validate({"isolation": mode, "lanes": lanes})
        return open_session(directory, manifest, options, engines=self.directory / "engines")


def measure_models(setting: Setting) -> Figures:
    """Return served / in process for the models of 8, 4 and 48 ms."""
    figures: Figures = {}
    plans = (("lite0", "", 15, 16), ("lite0-int8", "_4ms", 15, 12), ("unet", "_48ms", 5, 6))
    for name, suffix, block, rounds in plans:
        with setting.model(name) as (caller, inline, isolated, tensors):
            calls: dict[str, Callable[[], object]] = {
                "in_process": partial(inline.infer, tensors, timeout_s=30),
                "worker": partial(isolated.infer, tensors, timeout_s=30),
                "fast": caller.by_fast_path,
                "shm": caller.by_shared_memory,
                "bytes": caller.by_bytes,
                "system_v": caller.by_system_v,
            }
            taken = interleaved(calls, block=block, rounds=rounds)
        base = taken.pop("in_process")
        figures[f"in_process_ms{suffix}"] = _rounded(np.median(base))
        for way, values in taken.items():
            figures[f"served_over_in_process_{way}{suffix}"] = _rounded(np.median(values) / np.median(base))
            figures[f"served_over_in_process_{way}{suffix}_p10"] = _rounded(_p10(values) / _p10(base))
    return figures


def measure_null(setting: Setting) -> Figures:
    """Return what 602 KB cost on their way, with a graph that does nothing."""
    with setting.model("null") as (caller, inline, isolated, tensors):
        calls: dict[str, Callable[[], object]] = {
            "in_process": lambda: inline.infer(tensors, timeout_s=30),
            "worker": lambda: isolated.infer(tensors, timeout_s=30),
            "fast": caller.by_fast_path,
            "shm": caller.by_shared_memory,
            "bytes": caller.by_bytes,
            "system_v": caller.by_system_v,
        }
        taken = interleaved(calls, block=100, rounds=15)
    ways = ("fast", "bytes", "shm", "system_v")
    figures: Figures = {f"null_rpc_ms_602k_{way}": _rounded(np.median(taken[way])) for way in ways}
    figures |= {f"null_rpc_ms_602k_{way}_p10": _rounded(_p10(taken[way])) for way in ways}
    figures["handover_ms_602k"] = _rounded(np.median(taken["worker"]) - np.median(taken["in_process"]))
    figures["handover_ms_602k_p10"] = _rounded(_p10(taken["worker"]) - _p10(taken["in_process"]))
    return figures


def measure_throughput(setting: Setting, *, block_s: float = 2.0, rounds: int = 3) -> Figures:
    """Return answers per second of eight callers, served / in process with as many sessions."""
    lanes = max(1, len(os.sched_getaffinity(0)))
    with setting.model("lite0", lanes) as (caller, inline, _, tensors):
        made = {"served": 0, "in_process": 0}
        for _ in range(rounds):
            made["served"] += _answers(caller.by_shared_memory, block_s)
            made["in_process"] += _answers(lambda: inline.infer(tensors, timeout_s=30), block_s)
    return {"throughput_ratio_8": _rounded(made["served"] / made["in_process"])}


def measure_swap(setting: Setting, *, swaps: int = 4, quiet_s: float = 4.0) -> Figures:
    """Return what a caller notices while versions are built, loaded and exchanged."""
    with setting.model("lite0") as (caller, *_):
        load = _Load(caller.by_shared_memory)
        time.sleep(quiet_s)
        before = load.cut()
        for number in range(swaps):
            # A new version each time, so that its engine is built and not found.
            version = setting.version("lite0", str(number + 2))
            load.cut()
            setting.server.order(do="load", version=version, lanes=1)
            load.during.append(load.cut())
        load.stop()
    during = np.concatenate(load.during)
    return {
        "swap_failed_requests": load.failed,
        "swap_requests": len(during),
        "swap_p50_ratio": _rounded(np.median(during) / np.median(before)),
        "swap_p99_ratio": _rounded(np.percentile(during, 99) / np.percentile(before, 99)),
    }


def measure_memory(setting: Setting, swaps: int) -> Figures:
    """Return how the agent's memory grows over swaps and failed loads."""
    good = [setting.version("null", number) for number in ("1", "2")]
    bad = setting.version("null", "3", broken=True)
    for number in range(4):  # what is allocated once is no growth
        setting.server.order(do="load", version=good[number % 2], lanes=1)
        setting.server.order(do="fail", version=bad)
    before = setting.server.order(do="memory")["bytes"]
    for number in range(swaps):
        setting.server.order(do="load", version=good[number % 2], lanes=1)
        setting.server.order(do="fail", version=bad)
    after = setting.server.order(do="memory")["bytes"]
    return {"memory_growth": _rounded(after / before - 1), "memory_swaps": swaps}


def measure_start(directory: Path) -> Figures:
    """Return memory and time to READY of an agent without models."""
    environment = os.environ | {"EDGE_AGENT__RPC__TCP": "", "EDGE_AGENT__TELEMETRY__METRICS": ""}
    places = ["--state-dir", str(directory / "state"), "--runtime-dir", str(directory / "run")]
    (directory / "run").mkdir()
    (directory / "config.toml").touch()
    command = [sys.executable, "-m", "edge_agent", "--config", str(directory / "config.toml"), *places, "run"]
    started = time.perf_counter()
    quiet = subprocess.DEVNULL
    agent = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet)
    try:
        with grpc.insecure_channel(f"unix:{directory / 'run' / 'agent.sock'}", options=_RECONNECT) as channel:
            seconds = _until_serving(agent, channel, started)
        pages = int(Path(f"/proc/{agent.pid}/statm").read_text(encoding="ascii").split()[1])
    finally:
        agent.terminate()
        agent.wait()
    if seconds is None:
        return {}
    return {"agent_start_s": _rounded(seconds), "agent_rss_mb": _rounded(pages * os.sysconf("SC_PAGESIZE") / 1e6)}


_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 20))


def _until_serving(agent: "subprocess.Popen[bytes]", channel: grpc.Channel, started: float) -> float | None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    stub = health_pb2_grpc.HealthStub(channel)
    while time.perf_counter() - started < _START_TIMEOUT_S and agent.poll() is None:
        try:
            if stub.Check(health_pb2.HealthCheckRequest(), timeout=1).status == health_pb2.HealthCheckResponse.SERVING:
                return time.perf_counter() - started
        except grpc.RpcError:
            pass
        time.sleep(0.01)
    return None


class _Load:
    """One caller that asks without a pause and notes how long each answer took."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._taken: list[float] = []
        self._ended = False
        self.during: list[Any] = []
        self.failed = 0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def cut(self) -> Any:
        """Return the milliseconds since the last cut."""
        with self._lock:
            taken, self._taken = self._taken, []
        return np.array(taken)

    def stop(self) -> None:
        self._ended = True
        self._thread.join()

    def _ask(self) -> None:
        while not self._ended:
            started = time.perf_counter()
            try:
                self._call()
            except grpc.RpcError:
                self.failed += 1
            with self._lock:
                self._taken.append((time.perf_counter() - started) * 1000)


def _answers(call: Callable[[], object], seconds: float) -> int:
    end = time.perf_counter() + seconds

    def ask(_caller: int) -> int:
        count = 0
        while time.perf_counter() < end:
            call()
            count += 1
        return count

    with ThreadPoolExecutor(_CALLERS) as pool:
        return sum(pool.map(ask, range(_CALLERS)))


def _p10(values: Any) -> float:
    return float(np.percentile(values, 10))


def _rounded(value: float) -> float:
    return round(float(value), 4)


def main(arguments: list[str] | None = None) -> int:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="bench serving")
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.add_argument("--swaps", type=int, default=100, help="swaps and as many failed loads for memory_growth")
    asked = parser.parse_args(arguments)
    raise_thresholds()
    figures: Figures = dict.fromkeys(FIELDS)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        setting = Setting(Path(scratch))
        measured: tuple[Callable[[], Figures], ...] = (
            lambda: measure_models(setting),
            lambda: measure_null(setting),
            lambda: measure_throughput(setting),
            lambda: measure_swap(setting),
            lambda: measure_memory(setting, asked.swaps),
            lambda: measure_start(Path(scratch)),
            measure_peers,
        )
        for measure in measured:
            found = measure()
            figures |= found
            if not asked.json:
                print("\n".join(f"{name:42} {value}" for name, value in found.items()), flush=True)
        setting.server.close()
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
