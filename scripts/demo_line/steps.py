"""The steps of a smoke run, each of which measures what it is about."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cloud_tools.rollout.jobs import Execution
from edge_agent.formats import DeploymentReport
from scripts.demo_line import releases
from scripts.demo_line.answers import ExpectedAnswers
from scripts.demo_line.cloud import Cloud
from scripts.demo_line.device import AGENT, Device
from scripts.demo_line.line_client import Answer, LineClient
from scripts.demo_line.processes import Processes
from scripts.demo_line.report import Report
from scripts.demo_line.trouble import DemoError
from scripts.demo_line.world import MODELS, SAMPLES, World

BANDWIDTH_BYTES_PER_S = 2_000_000
_HELD_UP_BYTES = 8_000_000
_KILL_AFTER_BYTES = 1_000_000
_PATIENCE_S = 60.0
_MODEL = MODELS[0]
_REASON = "the smoke run takes it back"

Serving = list[list[str]]


class Line(NamedTuple):
    """Everything that a step works with."""

    world: World
    processes: Processes
    cloud: Cloud
    device: Device
    client: LineClient
    expected: ExpectedAnswers
    report: Report

    def deploy(self, *models: tuple[str, str]) -> Execution:
        """Deploy versions and remember those that came through."""
        execution = self.cloud.deploy(*models)
        if execution.status == "SUCCEEDED":
            self.report.figures["deployed"] = [*(self.report.figures["deployed"] or []), *map(list, models)]
        return execution

    def serving(self) -> Serving:
        """Return which versions answer a request that is sent now."""
        return [list(pair) for pair in self._answer_from_now().versions]

    def _answer_from_now(self) -> Answer:
        now = time.monotonic()
        return self.device.eventually("an answer", lambda: self.client.next_answer(now), AGENT)


def first_versions(line: Line) -> None:
    """Deploy version 1 of all models; the client starts as soon as they answer."""
    execution = line.deploy(*((model, "1") for model in MODELS))
    if execution.status != "SUCCEEDED":
        raise DemoError(f"version 1: expected the job to succeed, it ended {execution}")
    line.client.start()
    line.report.expect(line.serving() == [[model, "1"] for model in MODELS], "version 1 does not answer")


def swap(line: Line) -> None:
    """Deploy version 2 of all models under the client's load."""
    since = len(line.client.answers)
    execution = line.deploy(*((model, "2") for model in MODELS))
    line.report.expect(execution.status == "SUCCEEDED", f"version 2: the job ended {execution}")
    line.report.expect(line.serving() == [[model, "2"] for model in MODELS], "version 2 does not answer")
    answers = line.client.answers[since:]
    line.report.note(swap_ms=round(max(_swap_ms(answers, model) for model in MODELS), 1))


def _swap_ms(answers: Sequence[Answer], model: str) -> float:
    moments = {version: [a.at for a in answers if (model, version) in a.versions] for version in "12"}
    if not moments["1"] or not moments["2"]:
        raise DemoError(f"{model}: expected answers of both versions around the swap")
    return (min(moments["2"]) - max(moments["1"])) * 1000


def broken_release(line: Line) -> None:
    """Deploy a release whose golden samples disagree with its model."""
    bundle = releases.with_wrong_golden(_sample(_MODEL), line.world.directory / "broken", "3")
    line.cloud.publish([bundle])
    _must_fail(line, "broken_release", "3", "GOLDEN_MISMATCH")


def tampered_release(line: Line) -> None:
    """Deploy a release of which one byte was flipped in the bucket."""
    bundle = releases.with_own_graph(_sample(_MODEL), line.world.directory / "tampered", "4")
    line.cloud.publish([bundle])
    line.cloud.flip_byte(releases.model_digest(bundle))
    _must_fail(line, "tampered_release", "4", "DIGEST_MISMATCH")


def _must_fail(line: Line, name: str, version: str, code: str) -> None:
    before = line.serving()
    execution = line.deploy((_MODEL, version))
    after = line.serving()
    line.report.note(**{name: {"job_status": execution.status, "code": execution.code, "serving_after": after}})
    line.report.expect((execution.status, execution.code) == ("FAILED", code), f"{name}: came {execution}")
    line.report.expect(after == before, f"{name}: {before} answered before, {after} after")


def rollback(line: Line) -> None:
    """Take one model back by the operator's call, and wait for its first answer."""
    before = next(version for name, version in line.serving() if name == _MODEL)
    began = time.monotonic()
    with line.device.client() as client:
        report = client.roll_back(_MODEL, _REASON, actor="scripts/demo")
    to = str(report.models[0].to)
    first = line.device.eventually("an answer after the rollback", lambda: _first(line, to, began), AGENT)
    ms = (max(first.at, time.monotonic()) - began) * 1000
    line.report.note(rollback={"from": before, "to": to, "ms": round(ms, 1)})
    sound = report.state == "COMMITTED" and report.reason == _REASON and (before, to) == ("2", "1")
    line.report.expect(sound, f"rollback: came {report.state} {report.code} from {before} to {to}")


def _first(line: Line, version: str, since: float) -> Answer | None:
    later = (answer for answer in line.client.answers[-1000:] if answer.at > since)
    return next((answer for answer in later if (_MODEL, version) in answer.versions), None)


def restart(line: Line) -> None:
    """Kill the agent in the middle of a download that the bandwidth cap holds open; it goes on where it was."""
    directory = line.world.directory / "held-up"
    bundle = releases.with_large_extra(_sample(_MODEL), directory, "5", _HELD_UP_BYTES)
    line.expected.add(bundle)
    line.cloud.publish([bundle])
    before = line.serving()
    job = line.cloud.ask((_MODEL, "5"))
    partial = line.world.state / "partial" / releases.extra_digest(bundle)
    line.device.eventually("the download", lambda: _size(partial) >= _KILL_AFTER_BYTES or None, AGENT)
    line.client.agent_is_away.set()
    line.processes.kill(AGENT)
    left = _size(partial)
    line.device.start(AGENT)
    line.device.wait_until_ready()
    serving = line.serving()
    line.client.agent_is_away.clear()
    execution = line.cloud.wait_for(job, _PATIENCE_S)
    with line.device.client() as client:
        report = next(found for found in client.deployments() if found.job_id == job)
    _judge_restart(line, execution, report, left, before, serving)


def _judge_restart(
    line: Line, execution: Execution, report: DeploymentReport, left: int, before: Serving, serving: Serving
) -> None:
    kept = max((int(state.figures.get("kept_bytes", 0)) for state in report.states), default=0)
    after = line.serving()
    resumed = execution.status == "SUCCEEDED" and 0 < left < _HELD_UP_BYTES and kept >= left
    if execution.status == "SUCCEEDED":
        line.report.figures["deployed"].append([_MODEL, "5"])
    line.report.note(restart={"resumed": resumed, "serving": serving, "bytes_kept": kept, "serving_after": after})
    line.report.expect(resumed, f"restart: {left} bytes were there, {kept} kept, the job ended {execution}")
    line.report.expect(serving == before, f"restart: {before} answered before, {serving} after")
    line.report.expect([_MODEL, "5"] in after, f"restart: {after} answers after the download")


def captures(line: Line) -> None:
    """Wait for captures to arrive in the bucket, and count them there."""
    line.device.eventually("captures in the bucket", lambda: line.cloud.count_captures() or None, AGENT)
    line.report.note(captures_uploaded=line.cloud.count_captures())


def _sample(model: str) -> Path:
    return SAMPLES / "bundles" / model / "2"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


STEPS: tuple[Callable[[Line], None], ...] = (
    first_versions,
    swap,
    broken_release,
    tampered_release,
    rollback,
    restart,
    captures,
)
