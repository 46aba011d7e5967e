"""One life of a whole device: the real agent in a forked process, told what to do and asked what it found.

Everything is the agent's own (lock, recovery, store, journal, trust, transfer, deployer, servers, signals) but
for three things: the builder's work and the downloads are done on the deployer's thread, so that one thread
changes the disk in one order; the cloud is a file beside the state directory that takes every report at once.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from edge_agent import agent
from edge_agent.agent import lifecycle, parts
from edge_agent.config import Mqtt, read_settings
from edge_agent.deployment import deployer, ledger, states
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.deployment.steps import fetching
from edge_agent.errors import AgentError, StorageError
from edge_agent.formats import EncodedPicture, ModelVersion
from edge_agent.inference.engines import builder
from edge_agent.inference.workers import worker
from edge_agent.jobs import Connection, Event, JobOffered, JobReported, JobsClient, Outbox
from edge_agent.jobs.messages import TERMINAL, Identity, Report, Reportable
from edge_agent.store import AuditLog, Store
from edge_agent.trust.floors import FloorFiles
from tests.fakes.forked_names import JOB, MODEL
from tests.fakes.tiny_models import GREY, grey_picture

PATIENCE_S = 60.0
# So long a disk is ill, while pictures are asked for.
ILL_S = 0.5
LEAST_SERVED = 20


class Task(NamedTuple):
    """What a life is for.

    Attributes:
        directory: holds ``state``, ``run``, ``cloud.jsonl`` and ``result.json``.
        repository, root: where releases come from.
        story: a method of ``Life``.
        hold: the state in which the deployer stands still until it is let go.
        until: the code with which the deployment must have ended before the disk is well again; empty: none.
        seen_floors: role versions that were seen before and may not sink.
    """

    directory: str
    repository: str
    root: str
    story: str
    gate: str = ""
    hold: str = ""
    until: str = ""
    seen_floors: Mapping[str, int] = {}


class Cloud:
    """The job service: offers the one job until it has ended, and keeps what it is told."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "cloud.jsonl"

    def create_job(self) -> None:
        self._add({"offered": JOB})

    def take(self, report: Report) -> None:
        self._add({"job": report.job_id, "status": report.status, "details": report.details})

    def lines(self) -> list[dict[str, Any]]:
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text().splitlines() if line.endswith("}")]

    def ends(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("status") in TERMINAL]

    def offers(self) -> bool:
        return any("offered" in line for line in self.lines()) and not self.ends()

    def _add(self, line: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")


class PromptJobs(JobsClient):
    """The jobs client over its real outbox, answered by the cloud on the caller's own thread."""

    cloud: Cloud
    begun = threading.Event()

    def __init__(
        self,
        settings: Mqtt,
        thing: str,
        outbox: Outbox,
        *,
        events: Callable[[Event], None],
        others: Mapping[str, Callable[[bytes], None]],
    ) -> None:
        super().__init__(settings, thing, outbox, events=events, connect=lambda _hand_over: NoLink(), others=others)

    @property
    def connected(self) -> bool:
        return True

    def start(self) -> None:
        self._events(Connection(connected=True, reason=""))
        for report in self._outbox.pending():
            self._send(report)
        if self.cloud.offers():
            self.offer()
        self.begun.set()

    def offer(self) -> None:
        document = {"schema": "edge-agent/job/1", "operation": "install", "models": [{"name": MODEL, "version": "2"}]}
        self._outbox.learn(Identity(JOB, 1, 1), 1)
        self._events(JobOffered(JOB, document, "QUEUED", 1, 1, {}, 1))

    def stop(self, *, timeout_s: float = 10.0) -> None:
        self._outbox.close()

    def publish(self, topic: str, payload: bytes) -> bool:
        return True

    def deliver(self, topic: str, payload: bytes) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    def report(
        self,
        job_id: str,
        status: Reportable,
        details: Mapping[str, str],
        *,
        step_timeout_minutes: int | None = None,
    ) -> None:
        report = self._outbox.add(job_id, status, details, step_timeout_minutes=step_timeout_minutes)
        if report is not None:
            self._send(report)

    def _send(self, report: Report) -> None:
        self.cloud.take(report)
        # As the real client: a report that could not be taken out is sent again by the next life.
        with contextlib.suppress(StorageError):
            self._outbox.settle(report, "", None)
        if report.status in TERMINAL:
            self._events(JobReported(report.job_id, report.status, accepted=True, code=""))


class NoLink:
    """A connection that is never made."""

    def start(self) -> None:
        """Begin nothing."""

    def stop(self, timeout_s: float) -> bool:
        return True

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for nothing."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Send nothing."""

    def deliver(self, topic: str, payload: bytes) -> Future[Any]:
        """Send nothing; nobody answers."""
        return Future()


class Builder:
    """What the agent needs of the builder's process; its work is done by whoever waits for it."""

    pid = os.getpid()

    def __init__(self, *_command: object, **_options: object) -> None:
        self.stdin = _Order()
        self.stdout = io.BytesIO()
        self.returncode = 0

    def wait(self, _timeout_s: float | None = None) -> int:
        if self.stdin.content:
            answer = io.StringIO()
            order, self.stdin.content = io.StringIO(self.stdin.content.decode()), b""
            given, sys.stdin = sys.stdin, order
            try:
                with contextlib.redirect_stdout(answer):
                    self.returncode = worker._build(0)
            finally:
                sys.stdin = given
            self.stdout = io.BytesIO(answer.getvalue().encode())
        return self.returncode

    def poll(self) -> int | None:
        return None if self.stdin.content else self.returncode

    def kill(self) -> None:
        self.stdin.content = b""


class _Order(io.BytesIO):
    content = b""

    def close(self) -> None:
        if not self.closed:
            self.content = self.getvalue()
        super().close()


class Life:
    """A device from its start to its stop.

    Args:
        task: what it is for.
        gate: stands still until a tracer is attached to the thread with this number.
    """

    def __init__(self, task: Task, gate: Callable[[int], None]) -> None:
        self.task = task
        self.directory = Path(task.directory)
        self.state_dir = self.directory / "state"
        self.gate = gate
        self.cloud = Cloud(self.directory)
        self.problems: list[str] = []
        self.facts: dict[str, Any] = {}
        self.parts: parts.Parts
        self.found: Deployment | None = None
        self._resumed = threading.Event()
        self._held = threading.Event()
        self._go = threading.Event()
        self._met = threading.Event()

    def live(self) -> int:
        """Run the agent, follow the story beside it, and return the agent's exit code."""
        self._take_places()
        story = threading.Thread(target=self._tell, name="story", daemon=True)
        story.start()
        settings = read_settings(
            None,
            {
                "device": {"thing": "press-4"},
                "mqtt": {"endpoint": "file"},
                "repository": {"url": self.task.repository, "credentials": "none"},
                "trust": {"root": self.task.root, "allow_demo_root": True},
                "deployment": {"reserve_bytes": 0},
                "inference": {"isolation": "inline"},
                "rpc": {"tcp": "", "threads": 2},
                "capture": {"policy": "none"},
                "telemetry": {"metrics": "", "level": "WARNING"},
            },
        )
        if self.task.gate == "begin":
            self.gate(threading.get_native_id())
        try:
            return agent.run(settings, self.state_dir, self.directory / "run", observer=self._observe)
        except AgentError as exc:
            self.facts["refused_to_start"] = f"{exc.code.value}: {exc.message}"
            return 1

    def _take_places(self) -> None:
        life = self

        class Parts(parts.Parts):
            def __init__(self, *words: Any) -> None:
                super().__init__(*words)
                life.parts = self
                life.found = self.journal.running()
                life.facts["generation_found"] = life._committed()

        lifecycle.Parts = Parts  # type: ignore[misc]
        PromptJobs.cloud = self.cloud
        parts.JobsClient = PromptJobs  # type: ignore[assignment, misc]
        # The name in that module alone: others start real processes.
        builder.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": Builder})  # type: ignore[assignment]
        worker._NICENESS = 0  # type: ignore[misc]
        fetching.side_by_side = one_after_the_other
        deployer.RETRY_S = ledger.RETRY_S = 0.02

    def _observe(self, record: Deployment) -> None:
        if self.task.until and record.code == self.task.until:
            self._met.set()
        if self.task.story == "recover" and self.found is not None and not self._resumed.is_set():
            self._resumed.set()
            self._go.wait(PATIENCE_S)
        if record.state.value == self.task.hold and record.ended is None and not self._held.is_set():
            self._held.set()
            self._go.wait(PATIENCE_S)

    def _tell(self) -> None:
        try:
            # The last thing that a starting agent does.
            eventually(PromptJobs.begun.is_set, "start")
            getattr(self, self.task.story)()
        except Exception:  # noqa: BLE001 - told in the result
            self.problems.append(traceback.format_exc())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    # -- stories --------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """A device gets its first version."""
        self._install("1")

    def begin(self) -> None:
        """A device starts and serves what it has."""
        self._must_answer(self._committed())

    def deploy(self) -> None:
        """A job installs version 2, then somebody takes it back."""
        eventually(lambda: self.parts.deployer.running() is None, "idle")
        self.gate(thread_number("deployer"))
        self.cloud.create_job()
        self.parts.jobs.offer()  # type: ignore[union-attr]
        eventually(self._job_is_over, "end of the job")
        self._must_answer(self._committed())
        self.facts["job"] = [self.cloud.ends()[0]["status"], self.cloud.ends()[0]["details"].get("code", "")]
        try:
            report = self.parts.operator.roll_back(MODEL, "because", "a test", timeout_s=PATIENCE_S)
            self.facts["rollback"] = [report.state, report.code]
        except AgentError as exc:
            self.facts["rollback"] = ["", exc.code.value]
        eventually(lambda: self.parts.deployer.running() is None, "idle")
        self._must_answer(self._committed())

    def stopped(self) -> None:
        """A job installs version 2; in one of its states the agent is stopped in good order."""
        self.cloud.create_job()
        jobs, stop = self.parts.jobs, self.parts.deployer.stop
        assert isinstance(jobs, PromptJobs)
        jobs.offer()
        self._must(self._held.wait(PATIENCE_S), f"it never came to {self.task.hold}")

        def stop_and_go() -> None:
            stop()
            self._go.set()

        self.parts.deployer.stop = stop_and_go  # type: ignore[method-assign]

    def troubled(self) -> None:
        """A job installs version 2; in one of its states the disk falls ill, and later it is well again."""
        self.cloud.create_job()
        jobs = self.parts.jobs
        assert isinstance(jobs, PromptJobs)
        jobs.offer()
        self._must(self._held.wait(PATIENCE_S), f"it never came to {self.task.hold}")
        self.gate(thread_number("deployer"))
        self._go.set()
        limit = time.monotonic() + ILL_S
        served = 0
        while time.monotonic() < limit or served < LEAST_SERVED:
            answered, _ = self.parts.data_plane.inspect(
                MODEL, EncodedPicture(grey_picture(GREY)), timeout_s=PATIENCE_S, with_mask=False
            )
            served += 1
            self._must(answered.version in ("1", "2"), f"{answered} answered")
        self.facts["served"] = served
        if self.task.until:
            self._must(self._met.wait(PATIENCE_S), f"it never met {self.task.until}")
        self.gate(thread_number("deployer"))
        eventually(self._job_is_over, "end of the job")
        eventually(lambda: self.parts.journal.running() is None, "end in the journal")
        self._must_answer(self._committed())
        self.facts["job"] = [self.cloud.ends()[0]["status"], self.cloud.ends()[0]["details"].get("code", "")]

    def recover(self) -> None:
        """A device starts after whatever happened, goes on with what was under way, and installs another version."""
        self._must_answer(self._expected_answers())
        ends_before = self.cloud.ends()
        self._go.set()
        eventually(lambda: self.parts.journal.running() is None and not self.cloud.offers(), "end of what was begun")
        eventually(lambda: self.parts.deployer.running() is None, "idle")
        self._must_end_as_the_table_says(ends_before)
        self._must_answer(self._committed())
        self._install("3")
        self._must_answer({MODEL: "3"})
        waiting = self.parts.jobs.pending_reports(JOB)  # type: ignore[union-attr]
        self._must(waiting == 0, f"{waiting} reports wait")

    # -- what must be so --------------------------------------------------------------------------------------

    def check_disk(self) -> None:
        """After the agent's end: what is on disk is sound and holds nothing that nobody needs."""
        store = Store(self.state_dir)
        generation = store.generations.current()
        self.facts["committed"] = {name: entry.version for name, entry in generation.models.items()}
        for name, entry in generation.models.items():
            store.verify(ModelVersion(name, entry.version), manifest_sha256=entry.manifest_sha256)
        self.facts["audited"] = AuditLog(self.state_dir / "audit.log").verify()
        floors = FloorFiles(self.state_dir / "trust").load()
        self.facts["floors"] = {role: floor.version for role, floor in floors.roles.items()}
        for role, version in self.task.seen_floors.items():
            self._must(self.facts["floors"].get(role, 0) >= version, f"the floor of {role} sank below {version}")
        if self.task.story == "recover":
            litter = [str(p.relative_to(self.state_dir)) for p in self.state_dir.rglob("*") if self._is_litter(p)]
            self._must(not litter, f"left over: {litter}")
        statuses = {line["status"] for line in self.cloud.ends()}
        self._must(len(statuses) <= 1, f"the cloud was told {sorted(statuses)}")

    def _expected_answers(self) -> dict[str, str]:
        if self.found is not None:
            self._must(self._resumed.wait(PATIENCE_S), "what was under way is not gone on with")
        return self._committed()

    def _must_end_as_the_table_says(self, ends_before: list[dict[str, Any]]) -> None:
        found, committed = self.found, self._committed()
        done = [record for record in self.parts.journal.history() if record.outcome is State.COMMITTED]
        if done:
            goal = {target.name: target.to for target in done[0].targets}
            self._must(committed == goal, f"committed {committed}, the last that ended well says {goal}")
        ends = self.cloud.ends()
        if ends:
            record = self.parts.journal.of_job(JOB)
            told = {"COMMITTED": "SUCCEEDED", "REFUSED": "REJECTED"}
            outcome = record.outcome.value if record else "lost"
            self._must(told.get(outcome, "FAILED") == ends[-1]["status"], f"told {ends[-1]}, journal says {outcome}")
        if found is None:
            return
        ended = self.parts.journal.history(identity=found.id)[0]
        if found.state in states.ENDS:
            expected = found.state
        elif states.resume(found.state, found.operation, found.unclean_ends) is State.ROLLING_BACK:
            expected = State.FAILED
        else:
            expected = State.COMMITTED
        self._must(ended.outcome is expected, f"found in {found.state}, ended {ended.outcome}: {ended.message}")
        # Where a rollback goes is known from CHECKING on.
        goal = {target.name: target.to for target in ended.targets}
        if expected is State.COMMITTED:
            self._must(committed == goal, f"committed {committed}, wanted {goal}")
        if found.job_id and not ends_before:
            self._must([end["status"] for end in ends] != [], "the end was not told")

    def _install(self, version: str) -> None:
        identity = self.parts.operator.install([ModelVersion(MODEL, version)])
        eventually(lambda: self._ended(identity), f"end of the install of {version}")
        ended = self.parts.journal.history(identity=identity)[0]
        self._must(ended.outcome is State.COMMITTED, f"install of {version}: {ended.code} {ended.message}")

    def _ended(self, identity: str) -> bool:
        found = self.parts.journal.history(identity=identity)
        return bool(found) and found[0].ended is not None and self.parts.deployer.running() is None

    def _job_is_over(self) -> bool:
        return bool(self.cloud.ends()) and self.parts.deployer.running() is None

    def _must_answer(self, versions: dict[str, str]) -> None:
        for name, version in versions.items():
            eventually(lambda name=name: name in self.parts.registry.active(), f"{name} answers")  # type: ignore[misc]
            answered, inspected = self.parts.data_plane.inspect(
                name, EncodedPicture(grey_picture(GREY)), timeout_s=PATIENCE_S, with_mask=False
            )
            # Versions of the little models differ in their score, so what answers cannot lie about what it is.
            score = 1 / (1 + 2.718281828459045 ** -((GREY - 128) / 16 + (int(version) - 1) * 0.25))
            truly = abs(inspected.outcome.score - score) < 1e-3
            self._must(answered.version == version and truly, f"{answered} answers {inspected.outcome.score}")

    def _committed(self) -> dict[str, str]:
        return {name: entry.version for name, entry in self.parts.store.generations.current().models.items()}

    def _is_litter(self, path: Path) -> bool:
        # Bytes of a download that failed are kept for a week.
        failed = [end for end in self.cloud.ends() if end["status"] != "SUCCEEDED"]
        partial = path.parent.name == "partial" and not failed
        return path.name.endswith(".staged") or path.name == "refreshing" or partial

    def _must(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            self.problems.append(otherwise)


def one_after_the_other(
    transfers: Sequence[Callable[[Callable[[], bool]], None]],
    *,
    lanes: int,
    cancelled: Callable[[], bool],
    tell: Callable[[], None],
) -> None:
    """Do what ``transfer.lanes`` does side by side on the caller's thread."""
    for transfer in transfers:
        transfer(cancelled)
    tell()


def thread_number(name: str) -> int:
    """Return the kernel's number of a thread of this process."""
    return next(thread.native_id for thread in threading.enumerate() if thread.name == name) or 0


def eventually(look: Callable[[], object], what: str) -> None:
    """Wait until ``look`` is true."""
    limit = time.monotonic() + PATIENCE_S
    while not look():
        if time.monotonic() > limit:
            raise AssertionError(f"waited {PATIENCE_S:g} s in vain for: {what}")
        time.sleep(0.002)


def result_of(life: Life, code: int) -> dict[str, Any]:
    """Return what is written down of a life that came to its own end."""
    found = life.found
    return {
        "code": code,
        "problems": life.problems,
        "found": [found.operation, found.state.value] if found else None,
        **life.facts,
    }
