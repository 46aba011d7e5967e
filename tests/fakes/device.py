"""A whole device on this machine: a real agent process on its own directories, driven as its users do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

from edge_agent.client import AgentClient
from edge_agent.errors import AgentError
from edge_agent.formats import DeploymentReport, EncodedPicture, InspectedFrame, ModelVersion, Status

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0

T = TypeVar("T")


class AgentDevice:
    """One agent process and the files around it.

    Args:
        directory: its own; holds config.toml, state, runtime and the log.
        settings: rooms and keys over the defaults that keep tests apart.
        provisioned: a config.toml that was made for the device; settings then come from the environment.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, Mapping[str, object]], *, provisioned: Path | None = None
    ) -> None:
        self.state_dir = directory / "state"
        # A unix socket's path has at most 107 bytes, so the runtime directory stays short.
        self.runtime_dir = directory / "run"
        self.config = provisioned or directory / "config.toml"
        self._environment: dict[str, str] = {}
        self.log = directory / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        defaults: dict[str, dict[str, object]] = {
            "rpc": {"tcp": ""},
            "telemetry": {"metrics": ""},
            "deployment": {"reserve_bytes": 0},
            "capture": {"policy": "none"},
        }
        merged = {room: {**defaults.get(room, {}), **settings.get(room, {})} for room in {*defaults, *settings}}
        directory.mkdir(parents=True, exist_ok=True)
        if provisioned is None:
            self.config.write_text(_toml(merged))
        else:
            self._environment = {
                f"EDGE_AGENT__{room}__{key}".upper(): value if isinstance(value, str) else json.dumps(value)
                for room, keys in merged.items()
                for key, value in keys.items()
            }
        self.state_dir.mkdir(exist_ok=True)

    def start(self, *command: str, wait: bool = True) -> None:
        """Start the agent; ``command`` in place of the installed one."""
        words = command or (sys.executable, "-m", "edge_agent")
        places = ("--config", self.config, "--state-dir", self.state_dir, "--runtime-dir", self.runtime_dir)
        self._output = self.log.open("ab")
        self.process = subprocess.Popen(
            [*words, *map(str, places), "run"],
            cwd=ROOT,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self.environment,
        )
        if wait:
            self.wait_for(lambda status: status.agent.state in ("READY", "DEGRADED"))

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of this device's processes."""
        return {**os.environ, **self._environment, "PYTHONPATH": str(ROOT)}

    def add_environment(self, variables: Mapping[str, str]) -> None:
        """Give the agent further variables from its next start on."""
        self._environment |= variables

    def client(self) -> AgentClient:
        return AgentClient.at(self.runtime_dir)

    def status(self) -> Status:
        with self.client() as client:
            return client.status()

    def wait_for(self, wanted: Callable[[Status], bool]) -> Status:
        """Return the first status that is wanted."""
        return eventually(lambda: _if(self._status_or_none(), wanted), self._story)

    def wait_for_deployment(self, wanted: Callable[[DeploymentReport], bool]) -> DeploymentReport:
        """Return the first deployment that is wanted."""
        return eventually(lambda: next(filter(wanted, self._deployments()), None), self._story)

    def install(self, *models: tuple[str, str]) -> DeploymentReport:
        """Install by a local call and return how it ended."""
        with self.client() as client:
            identity = client.install([ModelVersion(*model) for model in models])
        return self.wait_for_deployment(lambda report: report.id == identity and report.ended is not None)

    def inspect(self, picture: bytes, *applications: str, timeout_s: float = 30.0) -> InspectedFrame:
        with self.client() as client:
            return client.inspect(EncodedPicture(picture), applications=applications, timeout_s=timeout_s)

    def kill(self) -> None:
        """End the agent as a power cut does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        self._close()

    def stop(self) -> int:
        """Stop the agent in good order and return its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        self._close()
        return code

    def generation(self) -> dict[str, str]:
        """Return what is committed on disk, by model."""
        files = sorted((self.state_dir / "generations").glob("*.json"), key=lambda path: int(path.stem))
        if not files:
            return {}
        models = json.loads(files[-1].read_text())["generation"]["models"]
        return {name: entry["version"] for name, entry in models.items()}

    def _close(self) -> None:
        self.process = None
        if self._output is not None:
            self._output.close()

    def _status_or_none(self) -> Status | None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the agent ended with {self.process.returncode}\n{self._story()}")
        try:
            return self.status()
        except AgentError:
            return None

    def _deployments(self) -> list[DeploymentReport]:
        try:
            with self.client() as client:
                return client.deployments()
        except AgentError:
            return []

    def _story(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def eventually(look: Callable[[], T | None], story: Callable[[], str] = str, timeout_s: float = PATIENCE_S) -> T:
    """Return what ``look`` returns as soon as that is something."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout_s:g} s in vain\n{story()}")


def _if(status: Status | None, wanted: Callable[[Status], bool]) -> Status | None:
    return status if status is not None and wanted(status) else None


def _toml(rooms: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for room, keys in rooms.items():
        lines.append(f"[{room}]")
        lines += [f"{key} = {_inline(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_inline(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(str(value) if isinstance(value, Path) else value)
