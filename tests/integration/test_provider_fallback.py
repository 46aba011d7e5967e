"""A model that is to run on a GPU and does not: refused when it comes, and told wherever one looks."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.device import ROOT, AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture

MODEL = "img-classification"
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
FALLBACK = f"expected {CUDA}, it runs on {CPU}: the installed ONNX Runtime has only {CPU}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, dict[str, object]]:
    repository = SignedRepository(tmp_path / "repository", now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"))
    return {
        "repository": {"url": repository.directory.as_uri()},
        "trust": {"root": repository.root, "allow_demo_root": True},
        "inference": {"providers": [CUDA, CPU], "fallback": "allow"},
        "telemetry": {"metrics": f"127.0.0.1:{free_port()}"},
    }


@pytest.fixture
def device(tmp_path: Path, settings: dict[str, dict[str, object]]) -> Iterator[AgentDevice]:
    device = AgentDevice(tmp_path / "device", settings)
    device.start()
    yield device
    device.stop()


def told(device: AgentDevice, *words: str) -> str:
    places = ("--state-dir", str(device.state_dir), "--runtime-dir", str(device.runtime_dir))
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *places, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **device.environment},
        cwd=ROOT,
    ).stdout


def test_a_fallback_is_refused_in_trial_and_where_it_is_allowed_it_is_told_everywhere(
    device: AgentDevice, settings: dict[str, dict[str, object]]
) -> None:
    assert device.install((MODEL, "1")).state == "COMMITTED"
    status = json.loads(told(device, "status", "--json"))
    (model,) = [model for model in status["models"] if model["name"] == MODEL]
    assert (model["state"], model["provider"], model["message"]) == ("DEGRADED", CPU, FALLBACK)
    assert (status["agent"]["state"], status["agent"]["message"]) == ("DEGRADED", f"{MODEL}: {FALLBACK}")
    assert FALLBACK in told(device, "status")
    assert FALLBACK in told(device, "doctor")
    address = settings["telemetry"]["metrics"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        assert f'edge_agent_provider_fallback{{model="{MODEL}",version="1"}} 1.0' in answer.read().decode()
    assert device.inspect(grey_picture(GREY)).results[0].verdict.value == "OK"

    device.stop()
    strict = AgentDevice(device.config.parent, {**settings, "inference": {"providers": [CUDA, CPU]}})
    strict.start()
    try:
        # What was committed goes on answering: a line that stands still helps nobody.
        assert strict.status().models[0].message == FALLBACK
        report = strict.install((MODEL, "2"))
        assert (report.state, report.code) == ("FAILED", "LOAD_FAILED")
        assert FALLBACK in report.message
        assert report.states[-1].state == "TRIED" or "TRIED" in {state.state for state in report.states}
        assert strict.generation() == {MODEL: "1"}
        assert strict.inspect(grey_picture(GREY)).results[0].version == "1"
    finally:
        strict.stop()
