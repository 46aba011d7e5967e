"""Troubles of a whole agent that are no power cut: stopped in each state, workers killed, descriptors used up."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.deployment.states import INSTALL, State
from edge_agent.errors import AgentError
from edge_agent.formats import ModelVersion
from scripts.benchlib.line import workers_of
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.forked_names import MODEL
from tests.fakes.nursery import Nursery
from tests.fakes.sweep import Places, Sweep
from tests.fakes.tiny_models import GREY, grey_picture

STATES = [state.value for state in INSTALL if state is not State.REPORTED]
WITH_A_CANDIDATE = ("TRIED:after", "SHADOW:after", "ACTIVATING:after", "PROBATION:after", "COMMITTED:after")
SPARE_DESCRIPTORS = 1


@pytest.mark.parametrize("state", STATES)
def test_stopped_in_good_order_in_each_state_the_next_start_ends_the_job_well(
    state: str, places: Places, nurseries: list[Nursery]
) -> None:
    place = places.copy("deploy", "stopped")
    ended = nurseries[0].live(places.task(place, "stopped", hold=state))
    assert (ended.signal, ended.result["code"], ended.result["problems"]) == (0, 0, []), ended.log
    told = [json.loads(line) for line in (place / "cloud.jsonl").read_text().splitlines()]
    assert told[-1].get("status") != "FAILED"
    assert Sweep(places, nurseries[0], "stopped").problems_afterwards(place) == []
    told = [json.loads(line) for line in (place / "cloud.jsonl").read_text().splitlines()]
    assert [line["status"] for line in told if line.get("status") in ("SUCCEEDED", "FAILED")] == ["SUCCEEDED"]


@pytest.fixture
def device(places: Places, tmp_path: Path) -> Iterator[AgentDevice]:
    """The installed agent with its worker processes, version 1 committed."""
    repository = places.repository
    device = AgentDevice(
        tmp_path,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
        },
    )
    device.start()
    assert device.install((MODEL, "1")).state == "COMMITTED"
    yield device
    if device.process is not None:
        device.kill()


def workers(device: AgentDevice) -> set[int]:
    """Return the agent's worker and builder processes."""
    assert device.process is not None
    return {pid for pid in workers_of(device.process.pid) if b"edge_agent.inference.workers.worker" in command_of(pid)}


def command_of(pid: int) -> bytes:
    """Return what a process was started with; empty: it ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("hold", WITH_A_CANDIDATE)
def test_worker_of_the_new_version_killed_in_each_state_no_request_is_lost_and_the_end_is_true(
    hold: str, device: AgentDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.stop()
    monkeypatch.setenv("HOLD", hold)
    device.start(sys.executable, "-m", "tests.fakes.held_agent")
    before = workers(device)
    with device.client() as client:
        identity = client.install([ModelVersion(MODEL, "2")])
    eventually(lambda: (tmp_path / "held").exists() or None, device._story)
    candidates = workers(device) - before
    assert candidates
    for pid in candidates:
        os.kill(pid, signal.SIGKILL)
    assert device.inspect(grey_picture(GREY)).results[0].version in ("1", "2")
    (tmp_path / "go").touch()
    ended = device.wait_for_deployment(lambda report: report.id == identity and report.ended is not None)
    committed = device.generation()[MODEL]
    assert (ended.state, committed) in (("COMMITTED", "2"), ("FAILED", "1"))
    assert device.inspect(grey_picture(GREY)).results[0].version == committed
    device.stop()


def test_without_free_descriptors_the_agent_lives_and_afterwards_all_is_as_before(device: AgentDevice) -> None:
    assert device.process is not None
    pid = device.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit_with_spare(pid), limits[1]))
    try:
        codes = [_try(device) for _ in range(10)]
        refused = _install_or_none(device)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert any(code != "1" for code in codes) or refused is not None, "the limit was never met"
    assert device.process.poll() is None, device._story()
    # What was under way goes on.
    answers = {"1", "2"} if refused in (None, "UNDER_WAY") else {"1"}
    eventually(lambda: _try(device) in answers or None, device._story)
    eventually(lambda: device.install((MODEL, "3")).state == "COMMITTED" or None, device._story)
    assert _try(device) == "3"
    device.stop()


def limit_with_spare(pid: int) -> int:
    """Return the limit below which so few descriptors are free, whatever number the highest one has just now."""
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    free = (number for number in itertools.count() if number not in used)
    return next(itertools.islice(free, SPARE_DESCRIPTORS, None))


def _try(device: AgentDevice) -> str:
    """Return the version that answers, or the code of a clear error."""
    try:
        return device.inspect(grey_picture(GREY), timeout_s=5.0).results[0].version
    except AgentError as exc:
        return exc.code.value


def _install_or_none(device: AgentDevice) -> str | None:
    """Return how an install ended that needs descriptors; None when it got them."""
    try:
        with device.client() as client:
            identity = client.install([ModelVersion(MODEL, "2")])
            limit = time.monotonic() + 10.0
            while time.monotonic() < limit:
                report = client.deployments(identity)[0]
                if report.ended is not None:
                    return report.code or None
                time.sleep(0.1)
    except AgentError as exc:
        return exc.code.value
    return "UNDER_WAY"
