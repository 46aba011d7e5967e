"""The talk under any interleaving of lost, doubled, late and reordered messages, restarts and cloud operators."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from edge_agent.jobs import JobGone, JobOffered
from edge_agent.jobs.effects import Send
from tests.fakes.jobs_device import Device
from tests.fakes.jobs_service import TERMINAL, JobsService, Publication

THING = "press-4"
ENDS = ("SUCCEEDED", "FAILED", "REJECTED")
DRAIN_STEPS = 3000


class Talk(RuleBasedStateMachine):
    """A device, a service, and a wire in each direction on which anything may happen to a message."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.service = JobsService(lambda: 1_790_000_000)
        self.lives = 0
        self.up: list[Send] = []
        self.down: list[Publication] = []
        self.seen_events = 0
        self.created = 0
        # What the deployment has done: executions it began, and the end that it reported first.
        self.begun: Counter[str] = Counter()
        self.truth: dict[str, str] = {}
        self.working: str | None = None
        self.gone: set[str] = set()
        self.ends_accepted: Counter[str] = Counter()
        self.device = self._boot()

    def teardown(self) -> None:
        self.device.outbox.close()
        self.folder.cleanup()

    def _boot(self) -> Device:
        self.lives += 1
        device = Device(Path(self.folder.name) / "outbox.db", THING, name=f"life{self.lives}", seed=self.lives)
        self.seen_events = 0
        self.working = None
        device.connect()
        return device

    # the device's deployment

    def _collect(self) -> None:
        self.up += self.device.sent
        self.device.sent = []
        for event in self.device.told[self.seen_events :]:
            if isinstance(event, JobOffered):
                assert event.job_id not in self.truth, f"{event.job_id} was finished and is offered again"
                self.begun[event.job_id] += 1
                self.working = event.job_id
            elif isinstance(event, JobGone):
                self.gone.add(event.job_id)
        self.seen_events = len(self.device.told)

    @precondition(lambda self: self.working)
    @rule(step=st.sampled_from(["REFRESHING", "DOWNLOADING", "BUILDING"]))
    def progress(self, step: str) -> None:
        assert self.working
        self.device.report(self.working, "IN_PROGRESS", step=step)
        self._collect()

    @precondition(lambda self: self.working)
    @rule(status=st.sampled_from(ENDS))
    def end(self, status: Any) -> None:
        assert self.working
        self.device.report(self.working, status, code="X")
        self.truth.setdefault(self.working, status)
        self.working = None
        self._collect()

    # the cloud's operator

    @precondition(lambda self: self.created < 6)
    @rule(target=jobs)
    def create(self) -> str:
        self.created += 1
        job_id = f"j{self.created}"
        self.down += self.service.create_job(job_id, {"n": self.created}, THING)
        return job_id

    @rule(job_id=jobs, force=st.booleans())
    def cancel(self, job_id: str, force: bool) -> None:
        self.down += self.service.cancel_job(job_id, force=force)

    @rule(job_id=jobs)
    def time_out(self, job_id: str) -> None:
        if self.service.executions[THING, job_id].status == "IN_PROGRESS":
            self.down += self.service.time_out(THING, job_id)

    # the wire

    @precondition(lambda self: self.up)
    @rule(data=st.data(), fate=st.sampled_from(["deliver", "double", "lose"]))
    def request(self, data: st.DataObject, fate: str) -> None:
        message = self.up[data.draw(st.integers(0, len(self.up) - 1))]
        if fate != "double":
            self.up.remove(message)
        if fate != "lose":
            self._serve(message)

    @precondition(lambda self: self.down)
    @rule(data=st.data(), fate=st.sampled_from(["deliver", "double", "lose"]))
    def answer(self, data: st.DataObject, fate: str) -> None:
        message = self.down[data.draw(st.integers(0, len(self.down) - 1))]
        if fate != "double":
            self.down.remove(message)
        if fate != "lose":
            self.device.receive(*message)
            self._collect()

    @rule(seconds=st.sampled_from([1.0, 15.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.device.wait(seconds)
        self._collect()

    @rule()
    def connection_lost(self) -> None:
        self.device.disconnect()
        self.device.connect()
        self._collect()

    @rule()
    def power_cut(self) -> None:
        self.device.outbox.close()
        self.device = self._boot()
        self._collect()

    def _serve(self, message: Send) -> None:
        answers = self.service.handle(*message)
        if message.topic.endswith("/update") and json.loads(message.payload)["status"] in ENDS:
            job_id = message.topic.split("/")[-2]
            self.ends_accepted[job_id] += answers[0].topic.endswith("/accepted")
        self.down += answers

    # what always holds

    @invariant()
    def no_end_is_accepted_twice(self) -> None:
        assert all(count <= 1 for count in self.ends_accepted.values())

    @invariant()
    def the_cloud_holds_no_end_that_the_device_did_not_report(self) -> None:
        for (_, job_id), execution in self.service.executions.items():
            if execution.status in ENDS:
                assert execution.status == self.truth[job_id]

    @invariant()
    def no_job_is_begun_twice_in_one_life(self) -> None:
        assert all(count <= self.lives for count in self.begun.values())
        offered = [event.job_id for event in self.device.told if isinstance(event, JobOffered)]
        assert len(offered) == len(set(offered))

    def drained_is_true(self) -> None:
        """On a wire that works again, everything comes to its end."""
        self.device.disconnect()
        self.device.connect()
        for _ in range(DRAIN_STEPS):
            self._collect()
            if self.up:
                self._serve(self.up.pop(0))
            elif self.down:
                self.device.receive(*self.down.pop(0))
            elif self.working:
                self.end("SUCCEEDED")
            else:
                return
        raise AssertionError("the talk does not come to rest")


class DrainedTalk(Talk):
    """The same, brought to rest at the end of each run."""

    def teardown(self) -> None:
        self.drained_is_true()
        assert self.device.outbox.pending() == []
        for (_, job_id), execution in self.service.executions.items():
            assert execution.status in TERMINAL, f"{job_id} is left {execution.status}"
            if job_id in self.truth and execution.status not in ("CANCELED", "TIMED_OUT"):
                assert execution.status == self.truth[job_id]
        super().teardown()


TestTalk = DrainedTalk.TestCase
TestTalk.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
