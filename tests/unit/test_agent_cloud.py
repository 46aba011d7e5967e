"""What the cloud is told of a deployment, and how often."""

from typing import Any

from edge_agent.agent.cloud import CloudReporter
from edge_agent.deployment import record as records
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.errors import Code
from edge_agent.formats import JobDocument, parse
from tests.fakes.deployment import install


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
