"""What the cloud is told of a deployment, and how often."""

from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.cloud import CloudReporter, hand_over, step_timeout_minutes
from edge_agent.deployment import record as records
from edge_agent.deployment.orders import JobOrder
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import TABLE, State
from edge_agent.errors import Code
from edge_agent.formats import JobDocument, parse
from edge_agent.jobs import Connection, JobGone, JobOffered, JobReported, JobsQueued, QueuedJob
from edge_agent.jobs.messages import STEP_TIMEOUT_MINUTES
from tests.fakes.deployment import install
from tests.fakes.jobs_device import Device as JobsDevice
from tests.fakes.jobs_service import JobsService


class Jobs:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int | None]] = []

    def report(
        self, _job_id: str, status: str, details: dict[str, str], *, step_timeout_minutes: int | None = None
    ) -> None:
        self.told.append((status, details["step"], step_timeout_minutes))


def deployment() -> Deployment:
    document = parse(JobDocument, install(("unet", "2")), what="job")
    return records.begin("d1", document, now=0.0, deadline_s=60.0, job_id="job-1", execution_number=1)


def test_every_new_state_and_the_end_are_told_and_progress_within_a_state_now_and_then() -> None:
    jobs, clock = Jobs(), [100.0]
    client: Any = jobs
    report = CloudReporter(lambda: client, clock=lambda: clock[0])
    record = records.enter(deployment(), State.DOWNLOADING, 1.0)
    for at in (100.0, 100.5, 101.0, 103.5):
        clock[0] = at
        report(record.model_copy(update={"bytes_done": int(at)}), final=False)
    report(records.enter(record, State.VERIFIED, 2.0), final=False)
    report(records.enter(record, State.COMMITTED, 3.0), final=True)
    assert jobs.told == [
        ("IN_PROGRESS", "DOWNLOADING", 1450),
        ("IN_PROGRESS", "DOWNLOADING", 1450),
        ("IN_PROGRESS", "VERIFIED", 20),
        ("SUCCEEDED", "COMMITTED", None),
    ]


def test_a_refusal_is_a_rejection_with_its_code() -> None:
    jobs = Jobs()
    client: Any = jobs
    refused = records.refused(
        "d1", job_id="job-1", execution_number=1, queued_at=0, now=0.0, code=Code.JOB_INVALID, message="no sense"
    )
    CloudReporter(lambda: client)(refused, final=True)
    assert jobs.told == [("REJECTED", "REFUSED", None)]
    assert records.status_details(refused)["code"] == "JOB_INVALID"


@pytest.mark.parametrize("state", list(TABLE))
def test_every_update_names_the_states_limit_and_ten_minutes_within_what_the_service_takes(state: State) -> None:
    minutes = step_timeout_minutes(state)
    assert minutes in STEP_TIMEOUT_MINUTES
    assert minutes == min(TABLE[state].limit_s / 60 + 10, 10_080)


def test_a_deployment_that_waits_three_days_for_its_window_does_not_time_out(tmp_path: Path) -> None:
    # Each look at the clock of this device costs ten minutes, and the service looks at the same clock.
    clock = [1_900_000_000.0]
    service = JobsService(lambda: clock[0])
    line = TalkingDevice(tmp_path / "outbox.db")
    service.create_job("job-1", install(("unet", "2")), line.thing)
    line.connect(service)
    client: Any = line
    report = CloudReporter(lambda: client, clock=lambda: clock[0])
    waiting = records.enter(deployment(), State.CHECKING, clock[0])
    for _ in range(3 * 24 * 6):
        report(waiting, final=False)
        line.talk(service)
        clock[0] += 600
        assert service.expire() == []
    execution = service.executions[line.thing, "job-1"]
    assert (execution.status, execution.step_timeout_minutes) == ("IN_PROGRESS", 1450)
    # One for each half of the time-out, not one for each look.
    assert len(execution.history) <= 1 + 1 + 3 * 24 * 60 // 725 + 1
    clock[0] += 1451 * 60
    assert service.expire(), "without a word for so long the service would have given it up"
    line.device.outbox.close()


class TalkingDevice:
    """A session over its outbox that reports as the jobs client does."""

    def __init__(self, path: Path) -> None:
        self.thing = "press-4"
        self.device = JobsDevice(path, self.thing)

    def connect(self, service: JobsService) -> None:
        self.device.connect()
        self.talk(service)

    def talk(self, service: JobsService) -> None:
        while self.device.sent:
            for said in service.handle(*self.device.sent.pop(0)):
                self.device.receive(*said)

    def report(
        self, job_id: str, status: Any, details: dict[str, str], *, step_timeout_minutes: int | None = None
    ) -> None:
        self.device.report(job_id, status, step_timeout_minutes, **details)


class Deaf:
    """Keeps what is handed over."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.told.append((name, args))


def test_each_event_of_the_cloud_is_handed_to_who_takes_it() -> None:
    deaf, links = Deaf(), []
    deployer: Any = deaf
    take = hand_over(deployer, links.append)
    take(JobOffered("j1", {"a": 1}, "QUEUED", 1, 2, {}, 77))
    take(JobsQueued((QueuedJob("j2", {"b": 2}, 1, 1, 78),)))
    take(JobGone("j1", "CANCELED"))
    take(JobReported("j1", "FAILED", accepted=False, code="TIMED_OUT"))
    take(JobReported("j2", "SUCCEEDED", accepted=True, code=""))
    take(Connection(connected=True, reason=""))
    assert deaf.told == [
        ("offer", (JobOrder("j1", 2, {"a": 1}, 77),)),
        ("look_at_queue", ([JobOrder("j2", 1, {"b": 2}, 78)],)),
        ("cancel", ("j1", "CANCELED")),
        ("reported", ("j1", "TIMED_OUT")),
        ("reported", ("j2", "")),
    ]
    assert links == [True]
