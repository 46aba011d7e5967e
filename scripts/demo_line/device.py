"""The device's side: its settings, and agent, station and page as processes."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edge_agent.client import AgentClient
from edge_agent.config import PREFIX
from edge_agent.errors import AgentError
from edge_agent.formats import Status
from scripts.demo_line.processes import Processes
from scripts.demo_line.trouble import DemoError
from scripts.demo_line.world import LOOPBACK, ROOT, World

AGENT, STATION, PAGE = "agent", "station", "dashboard"
_VERBS = {AGENT: "run", STATION: "station", PAGE: "dashboard"}
_PATIENCE_S = 60.0
_POLL_S = 0.05
_ENOUGH_COPIES = 20
# The two classifiers disagree on 3 of the 40 frames, and in so few copies chance may show them more often.
_ENOUGH_AGREEMENT = 0.7

T = TypeVar("T")


class Device:
    """Agent, station and page of one world.

    Args:
        world: whose.
        processes: where they are started.
    """

    def __init__(self, world: World, processes: Processes) -> None:
        self._world = world
        self._processes = processes

    def configure(self, *, shadow_s: float, probation_s: float, bandwidth_bytes_per_s: int = 0) -> None:
        """Add to what provisioning wrote how this device is to work; doing it twice is doing it once."""
        config = self._world.device / "config.toml"
        rooms = self._rooms(shadow_s, probation_s, bandwidth_bytes_per_s)
        provisioned = config.read_text(encoding="utf-8").partition(_OURS)[0]
        config.write_text(provisioned + _OURS + "".join(_table(*room) for room in rooms.items()), encoding="utf-8")

    def start(self, name: str) -> None:
        """Start one of the three."""
        config, state, runtime = self._world.device / "config.toml", self._world.state, self._world.runtime
        places = ("--config", str(config), "--state-dir", str(state), "--runtime-dir", str(runtime))
        self._processes.start(name, [sys.executable, "-m", "edge_agent", *places, _VERBS[name]], _environment())

    def client(self) -> AgentClient:
        """Return a client of the agent."""
        return AgentClient.at(self._world.runtime)

    def wait_until_ready(self) -> Status:
        """Return the agent's status when it serves.

        Raises:
            DemoError: it does not in time, or has ended.
        """
        with self.client() as client:
            return self.eventually("the agent to serve", lambda: _ready(client), AGENT)

    def wait_for_page(self) -> None:
        """Return when the page is served.

        Raises:
            DemoError: it is not in time, or the dashboard has ended.
        """
        self.eventually("the page to be served", lambda: _answers(f"{self._world.page}/healthz"), PAGE)

    def eventually(self, what: str, look: Callable[[], T | None], *needed: str, timeout_s: float = _PATIENCE_S) -> T:
        """Return what ``look`` finds as soon as that is something.

        Raises:
            DemoError: it found nothing in time, or a needed process has ended.
        """
        limit = time.monotonic() + timeout_s
        while time.monotonic() < limit:
            found = look()
            if found is not None:
                return found
            for name in {*needed} & {*self._processes.ended()}:
                raise DemoError(f"the {name} has ended:\n{self._processes.tail(name)}")
            time.sleep(_POLL_S)
        tails = "".join(f"\n--- {name}\n{self._processes.tail(name)}" for name in needed)
        raise DemoError(f"waited {timeout_s:.0f} s in vain for {what}{tails}")

    def _rooms(self, shadow_s: float, probation_s: float, bandwidth_bytes_per_s: int) -> dict[str, dict[str, Any]]:
        ports = self._world.ports
        return {
            "deployment": {
                "shadow": {
                    "min_requests": _ENOUGH_COPIES,
                    "max_seconds": shadow_s,
                    "min_agreement": _ENOUGH_AGREEMENT,
                },
                "probation": {"min_requests": 0, "max_seconds": probation_s},
                "bandwidth_bytes_per_s": bandwidth_bytes_per_s,
                "reserve_bytes": 16 << 20,
            },
            "rpc": {"tcp": f"{LOOPBACK}:{ports.data}"},
            "station.line": {"source": f"directory:{self._world.frames()}", "rate_hz": 2.0},
            "dashboard": {"listen": f"{LOOPBACK}:{ports.page}"},
            "telemetry": {"metrics": f"{LOOPBACK}:{ports.metrics}"},
        }


_OURS = "\n# Added by scripts/demo.\n"


def _table(room: str, keys: Mapping[str, Any]) -> str:
    return f"\n[{room}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in keys.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _environment() -> dict[str, str]:
    # Settings of whoever starts the demo are meant for other agents and other clouds.
    strange = (PREFIX, "AWS_", "NOTIFY_SOCKET")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(strange)}
    # Here the cloud comes back at once, and nobody else comes back with us.
    return kept | {"PYTHONPATH": str(ROOT), f"{PREFIX}MQTT__RECONNECT_MAX_S": "2"}


def _ready(client: AgentClient) -> Status | None:
    try:
        status = client.status()
    except AgentError:
        return None
    return status if status.agent.state in {"READY", "DEGRADED"} else None


def _answers(url: str) -> bool | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return None
