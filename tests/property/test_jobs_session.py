"""The talk under any interleaving of lost, doubled, late and reordered messages, restarts and cloud operators."""

import copy
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.jobs import JobOffered, JobReported
from edge_agent.jobs.effects import Send
from tests.fakes.jobs_device import Device
from tests.fakes.jobs_service import TERMINAL, Execution, JobsService, Publication

THING = "press-4"
ENDS = ("SUCCEEDED", "FAILED", "REJECTED")
DRAIN_STEPS = 3000
MOST_JOBS = 6


class Talk(RuleBasedStateMachine):
    """A device, a service, and a wire in each direction on which anything may happen to a message."""

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
        self.ends_counted: set[str] = set()
        self.ends_accepted: Counter[str] = Counter()
        self.saved: dict[tuple[str, str], Execution] = {}
        self.device = self._boot()
        self._collect()

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
        for told in self.device.told[self.seen_events :]:
            if isinstance(told, JobOffered):
                assert told.job_id not in self.truth, f"{told.job_id} was finished and is offered again"
                self.begun[told.job_id] += 1
                self.working = told.job_id
            elif isinstance(told, JobReported):
                assert told.status == self.truth[told.job_id]
                assert not told.accepted or told.job_id in self.ends_counted, f"{told.job_id} was never accepted"
        self.seen_events = len(self.device.told)

    @precondition(lambda self: self.working)
    @rule(status=st.sampled_from(["IN_PROGRESS", *ENDS]), step=st.sampled_from(["CHECKING", "BUILDING"]))
    def work(self, status: Any, step: str) -> None:
        assert self.working
        self.device.report(self.working, status, step=step)
        if status in ENDS:
            self.truth.setdefault(self.working, status)
            self.working = None
        self._collect()

    # the cloud

    @initialize()
    def a_first_job_arrives(self) -> None:
        self.create()
        self.good_stretch(10)

    @precondition(lambda self: self.created < MOST_JOBS)
    @rule()
    def create(self) -> None:
        self.created += 1
        self.down += self.service.create_job(f"j{self.created}", {"n": self.created}, THING)

    @precondition(lambda self: self.created)
    @rule(number=st.integers(1, MOST_JOBS), how=st.sampled_from(["cancel", "force", "time out"]))
    def take_away(self, number: int, how: str) -> None:
        execution = self.service.executions.get((THING, f"j{number}"))
        if execution is None or execution.status in TERMINAL:
            return
        if how == "time out":
            self.down += self.service.time_out(THING, execution.job_id)
        else:
            self.down += self.service.cancel_job(execution.job_id, force=how == "force")

    # the wire

    @rule(count=st.integers(1, 30))
    def good_stretch(self, count: int) -> None:
        for _ in range(count):
            if self.up:
                self._serve(self.up.pop(0))
            if self.down:
                self.device.receive(*self.down.pop(0))
                self._collect()

    @rule(data=st.data(), upwards=st.booleans(), fate=st.sampled_from(["late", "double", "lose"]))
    def trouble(self, data: st.DataObject, upwards: bool, fate: str) -> None:
        wire: list[Any] = self.up if upwards else self.down
        if not wire:
            return
        message = wire[data.draw(st.integers(0, len(wire) - 1))]
        if fate != "double":
            wire.remove(message)
        if fate != "lose" and upwards:
            self._serve(message)
        elif fate != "lose":
            self.device.receive(*message)
            self._collect()

    @rule(kind=st.sampled_from(["minutes pass", "connection lost", "power cut", "state saved", "state restored"]))
    def mishap(self, kind: str) -> None:
        if kind == "minutes pass":
            self.device.wait(300)
        elif kind == "connection lost":
            self.device.disconnect()
            self.device.connect()
        elif kind == "power cut":
            self.device.outbox.close()
            self.device = self._boot()
        elif kind == "state saved":
            self.saved = copy.deepcopy(self.service.executions)
        else:
            # An end that the service forgot is told again, and then counts anew.
            self.service.executions |= copy.deepcopy(self.saved)
            self.ends_accepted.clear()
        self._collect()

    def _serve(self, message: Send) -> None:
        answers = self.service.handle(*message)
        if message.topic.endswith("/update") and json.loads(message.payload)["status"] in ENDS:
            job_id = message.topic.split("/")[-2]
            if answers[0].topic.endswith("/accepted"):
                self.ends_accepted[job_id] += 1
                self.ends_counted.add(job_id)
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
                self.work("SUCCEEDED", "REPORTED")
            else:
                return
        raise AssertionError("the talk does not come to rest")


class DrainedTalk(Talk):
    """The same, brought to rest at the end of each run."""

    def teardown(self) -> None:
        event(f"jobs begun: {min(len(self.begun), 3)}, ended: {min(len(self.truth), 3)}")
        self.drained_is_true()
        assert self.device.outbox.pending() == []
        for (_, job_id), execution in self.service.executions.items():
            assert execution.status in TERMINAL, f"{job_id} is left {execution.status}"
            if job_id in self.truth and execution.status not in ("CANCELED", "TIMED_OUT"):
                assert execution.status == self.truth[job_id]
        super().teardown()


TestTalk = DrainedTalk.TestCase
TestTalk.settings = settings(
    max_examples=120, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
