"""A whole line on the sample models: a real agent, ``edge-agent station`` and ``edge-agent dashboard`` beside it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.release.publish import publish, read_bundle
from edge_agent.errors import AgentError
from edge_agent.formats import InspectedFrame
from tests.fakes.device import PATIENCE_S, ROOT, AgentDevice, eventually
from tests.fakes.repository import SignedRepository

SAMPLES = ROOT / "samples"
MODELS = ("img-classification", "unet")
VERSION = "2"
BUNDLES = tuple(SAMPLES / "bundles" / model / VERSION for model in MODELS)

Cameras = Mapping[str, Mapping[str, object]]


class Running(NamedTuple):
    """One process of the line."""

    pid: int
    log: Path


class SampleLine:
    """One device with both sample models deployed, from a signed repository.

    Args:
        directory: short enough that a unix socket fits below it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        repository = SignedRepository(directory / "cloud", now=time.time())
        publish(repository.open(), [read_bundle(bundle) for bundle in BUNDLES])
        self.address = f"http://127.0.0.1:{_free_port()}"
        rooms: dict[str, Mapping[str, object]] = {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "dashboard": {"listen": self.address.removeprefix("http://")},
        }
        self.device = AgentDevice(directory / "device", rooms)

    @property
    def agent(self) -> int:
        """Return the agent's process id."""
        if self.device.process is None:
            raise RuntimeError("expected a running agent, it was not started")
        return self.device.process.pid

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the agent, both models answering."""
        self.device.start()
        try:
            report = self.device.install(*((model, VERSION) for model in MODELS))
            if report.state not in {"COMMITTED", "REPORTED"}:
                raise AssertionError(f"expected the sample models deployed, came {report.state} {report.message}")
            yield
        finally:
            self.device.stop()

    @contextmanager
    def stations(self, cameras: Cameras, level: str = "INFO") -> Iterator[Running]:
        """Run one station process with these cameras, by their names.

        Args:
            cameras: the keys of each ``[station.NAME]``.
            level: of its log; DEBUG tells every answer.
        """
        config = self._directory / f"station-{time.monotonic_ns()}.toml"
        rooms = {"telemetry": {"level": level}} | {f"station.{name}": camera for name, camera in cameras.items()}
        config.write_text("".join(_room(name, keys) for name, keys in rooms.items()), encoding="utf-8")
        with self._process("station", config) as station:
            yield station

    @contextmanager
    def page(self) -> Iterator[Running]:
        """Serve the page at ``address``."""
        with self._process("dashboard", self.device.config) as dashboard:
            eventually(lambda: True if _is_ready(self.address) else None, lambda: _tail(dashboard.log))
            yield dashboard

    @contextmanager
    def _process(self, verb: str, config: Path) -> Iterator[Running]:
        places = ("--config", config, "--state-dir", self.device.state_dir, "--runtime-dir", self.device.runtime_dir)
        log = self._directory / f"{verb}-{time.monotonic_ns()}.log"
        with log.open("wb") as output:
            started = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", *map(str, places), verb],
                cwd=ROOT,
                env=self.device.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                yield Running(started.pid, log)
            finally:
                started.send_signal(signal.SIGTERM)
                code = started.wait(PATIENCE_S)
        if code:
            raise AssertionError(f"expected edge-agent {verb} to end with 0, came {code}\n{_tail(log)}")


class Told(NamedTuple):
    """What the agent's event stream told.

    Attributes:
        frames: in the order of their events; grows while it is followed.
        lost: events that came and went while the reader was slow; one element for each gap.
        faults: why the stream ended, unless it was asked to.
    """

    frames: list[InspectedFrame]
    lost: list[int]
    faults: list[str]


@contextmanager
def following(device: AgentDevice) -> Iterator[Told]:
    """Follow the agent's events during the block."""
    told, ending = Told([], [], []), threading.Event()
    with device.client() as client, client.events() as stream:

        def follow() -> None:
            last = 0
            try:
                for event in stream:
                    if last and event.id != last + 1:
                        told.lost.append(event.id - last - 1)
                    last = event.id
                    if isinstance(event.payload, InspectedFrame):
                        told.frames.append(event.payload)
            except AgentError as exc:
                if not ending.is_set():
                    told.faults.append(str(exc))

        thread = threading.Thread(target=follow, name="events")
        thread.start()
        try:
            yield told
        finally:
            ending.set()
            stream.close()
            thread.join(PATIENCE_S)


def pictures() -> list[Path]:
    """Return the pictures of the sample line, by name."""
    return sorted((SAMPLES / "frames").glob("*.jpg"))


def load() -> dict[str, Any]:
    """Return what says how busy the machine was, for whoever reads the figures."""
    return {"load_average": round(os.getloadavg()[0], 1), "cpus": os.cpu_count()}


def _room(name: str, keys: Mapping[str, object]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]) + "\n"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:  # noqa: S310 - our own page
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except (urllib.error.URLError, OSError):
        return False


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]
