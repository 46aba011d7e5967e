"""A deployer and the real jobs client on one job service, all in this process: a cloud whose faults are planted."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.agent.cloud import CloudReporter, catch_up, hand_over
from edge_agent.config import Deployment as Limits
from edge_agent.config import Mqtt, Probation
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.work import Work
from edge_agent.jobs import Event, JobGone, JobsClient, Outbox
from edge_agent.jobs.happenings import Connected, Disconnected, Happening, Received, Subscribed
from tests.fakes.deployment import Device, install
from tests.fakes.device import eventually
from tests.fakes.jobs_service import TERMINAL, Execution, JobsService, Publication
from tests.fakes.releases import Release

THING = "press-4"


class Cloud:
    """A job service, what was said on both sides of it, and what got lost on the way."""

    def __init__(self) -> None:
        self.service = JobsService()
        self.lose: Callable[[str, dict[str, Any]], bool] = lambda _topic, _message: False
        self.lost: list[str] = []
        self.rejections: Counter[str] = Counter()
        self.ends_accepted: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._hand_over: Callable[[Happening], None] | None = None

    def link(self, hand_over: Callable[[Happening], None]) -> Link:
        self._hand_over = hand_over
        return Link(self, hand_over)

    def take(self, topic: str, payload: bytes) -> None:
        """A message of the device arrives."""
        with self._lock:
            self.requests[topic.rpartition("/")[2]] += 1
            told = self.service.handle(topic, payload)
            if topic.endswith("/update") and told[0].topic.endswith("/accepted"):
                self.ends_accepted[topic.split("/")[-2]] += json.loads(payload)["status"] in TERMINAL
            self._say(told)

    def operate(self, act: Callable[[JobsService], list[Publication]]) -> None:
        """The cloud's operator, or its clock, does something."""
        with self._lock:
            self._say(act(self.service))

    def say(self, topic: str, message: object) -> None:
        """Somebody publishes on a topic that the device listens to."""
        assert self._hand_over is not None
        self._hand_over(Received(topic, message if isinstance(message, bytes) else json.dumps(message).encode()))

    def execution(self, job_id: str) -> Execution | None:
        return self.service.executions.get((THING, job_id))

    def _say(self, told: list[Publication]) -> None:
        for topic, payload in told:
            message = json.loads(payload)
            if self.lose(topic, message):
                self.lost.append(topic)
                continue
            self.rejections[message.get("code", "")] += topic.endswith("/rejected")
            if self._hand_over is not None:
                self._hand_over(Received(topic, payload))


class Link:
    """A connection that always holds."""

    def __init__(self, cloud: Cloud, hand_over: Callable[[Happening], None]) -> None:
        self._cloud = cloud
        self._hand_over = hand_over

    def start(self) -> None:
        self._hand_over(Connected(1))

    def stop(self, timeout_s: float) -> bool:
        self._hand_over(Disconnected("stopped"))
        return True

    def subscribe(self, filters: tuple[str, ...]) -> None:
        self._hand_over(Subscribed(1, ""))

    def publish(self, topic: str, payload: bytes) -> None:
        self._cloud.take(topic, payload)


class CloudDevice:
    """A device with releases committed, and its jobs client.

    Args:
        directory: its state.
        cloud: the job service.
        committed: what answers before the first job.
        offered: what the repository holds.
        probation_s: how long what is new is watched.
    """

    def __init__(
        self,
        directory: Path,
        cloud: Cloud,
        *,
        committed: tuple[Release, ...] = (),
        offered: tuple[Release, ...] = (),
        probation_s: float = 0.0,
        at_state: Callable[[Deployment], None] | None = None,
    ) -> None:
        self.cloud = cloud
        self.events: list[Event] = []
        limits = Limits(reserve_bytes=0, probation=Probation(max_seconds=probation_s))
        self.device = Device(directory, limits=limits, at_state=at_state)
        self.device.offers(*committed, *offered)
        current = self.device.committed()
        if not current:
            self.device.already_has(*committed)
        else:
            known = (*committed, *offered)
            self.device.serve(*(one for one in known if current.get(one.manifest.model) == one.manifest.version))
        self.outbox = Outbox(directory / "outbox.db")
        deployer = self.device.deployer
        take = hand_over(deployer, lambda _connected: None)
        self.jobs = JobsClient(
            Mqtt(),
            THING,
            self.outbox,
            events=lambda event: (self.events.append(event), take(event))[1],
            connect=cloud.link,
            uptime=lambda: 1e6,
        )
        deployer._ledger._report = CloudReporter(lambda: self.jobs)
        deployer._desk._prefer = self.jobs.prefer
        catch_up(self.device.journal, self.jobs, deployer)

    def start(self) -> None:
        self.device.start()
        self.jobs.start()

    def stop(self) -> None:
        self.device.deployer.stop()
        self.jobs.stop()
        self.device.stop()
        self.outbox.close()

    def hold_in_work(self, wanted: Callable[[Deployment], bool], until: threading.Event) -> threading.Event:
        """Hold the work of a state, once; return what says that it is held."""
        run, held = self.device.steps.run, threading.Event()

        def holding(record: Deployment, work: Work) -> Deployment:
            if wanted(record) and not held.is_set():
                held.set()
                assert until.wait(60)
            return run(record, work)

        self.device.steps.run = holding  # type: ignore[method-assign]
        return held

    def gone(self, job_id: str) -> bool:
        """Tell whether the device heard that a job is no longer its own."""
        return any(isinstance(event, JobGone) and event.job_id == job_id for event in self.events)

    def ended(self, job_id: str) -> Deployment:
        """Wait for a job's end to be closed."""

        def closed() -> Deployment | None:
            record = self.device.journal.of_job(job_id)
            return record if record is not None and record.state.value == "REPORTED" else None

        return eventually(closed, lambda: str(self.device.journal.history(limit=3)))

    def run_job(self, job_id: str, document: dict[str, Any]) -> Deployment:
        """Create a job and wait for its end."""
        self.cloud.operate(lambda service: service.create_job(job_id, document, THING))
        return self.ended(job_id)

    def goes_on(self, model: str, version: str) -> None:
        """Check that the next job is done."""
        assert self.run_job("next", install((model, version))).outcome.value == "COMMITTED"
        execution = self.cloud.execution("next")
        assert execution is not None
        assert execution.status == "SUCCEEDED"
