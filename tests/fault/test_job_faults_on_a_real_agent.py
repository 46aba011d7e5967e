"""What the cloud does to a job whose real agent is held in one state: a sample of every kind of fault."""

import time
from collections.abc import Callable

import pytest

from edge_agent.deployment.states import State
from tests.fakes.deployment import install
from tests.fakes.device import eventually
from tests.fakes.job_line import MODEL, Line
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.jobs_service import Publication

SAMPLE = [
    (State.DOWNLOADING, "TIMED_OUT", "CANCELLED", "CANCELLED", "1"),
    (State.BUILDING, "REMOVED", "CANCELLED", "CANCELLED", "1"),
    (State.SHADOW, "CANCELED", "CANCELLED", "CANCELLED", "1"),
    (State.TRIED, "VersionMismatch", "COMMITTED", "", "2"),
    (State.PROBATION, "TIMED_OUT", "FAILED", "ROLLED_BACK", "1"),
    (State.COMMITTED, "CANCELED", "COMMITTED", "", "2"),
]


def happen(cloud: MosquittoCloud, thing: str, job_id: str, fault: str) -> None:
    """Let the fault happen in the job service."""

    def change_version() -> list[Publication]:
        cloud.responder.service.executions[thing, job_id].version += 1
        return []

    acts: dict[str, Callable[[], None]] = {
        "VersionMismatch": lambda: cloud.responder.operate(lambda _service: change_version()),
        "TIMED_OUT": lambda: cloud.responder.operate(lambda service: service.time_out(thing, job_id)),
        "CANCELED": lambda: cloud.cancel_job(job_id, force=True),
        "REMOVED": lambda: cloud.delete_job(job_id),
    }
    acts[fault]()


@pytest.mark.parametrize("row", SAMPLE, ids=lambda row: f"{row[0].value}-{row[1]}")
def test_the_row_is_what_happens_to_a_real_agent_too(
    line: Line, cloud: MosquittoCloud, monkeypatch: pytest.MonkeyPatch, row: tuple[State, str, str, str, str]
) -> None:
    state, fault, outcome, code, version = row
    line.start(f"{state.value}:before", monkeypatch)
    job_id = f"{state.value}-{fault}-{time.monotonic_ns()}"
    watched = {"probation": {"max_seconds": 600}} if state is State.PROBATION else {}
    cloud.create_job(line.thing, job_id, install((MODEL, "2"), policy=watched))
    line.wait_until_held()
    rejected = cloud.responder.rejections.total()
    happen(cloud, line.thing, job_id, fault)
    if fault != "VersionMismatch":
        # The agent asked about its job, was told that it is gone, and has told its deployer.
        eventually(lambda: cloud.responder.rejections.total() > rejected or None)
        eventually(lambda: "job_gone" in line.device.log.read_text() or None)
    line.let_go()

    report = line.device.wait_for_deployment(lambda one: one.job_id == job_id and one.states[-1].state == "REPORTED")
    assert (report.state, report.code) == (outcome, code)
    assert cloud.responder.rejections.total() > rejected
    assert (line.answering(), line.device.generation()) == (version, {MODEL: version})
    standing = cloud.standing(line.thing, job_id)
    if fault == "VersionMismatch":
        assert cloud.responder.rejections["VersionMismatch"] >= 1
        assert (standing.status if standing else "", report.refusal) == ("SUCCEEDED", "")
    else:
        assert (standing.status if standing else "REMOVED") == fault
        assert report.refusal.startswith("UPDATE_REJECTED: ")
    told = eventually(lambda: _told(cloud, line, job_id))
    assert told["models"][MODEL]["version"] == version  # the device shadow tells the truth
    after = f"next-{time.monotonic_ns()}"
    cloud.create_job(line.thing, after, install((MODEL, "2")))
    assert line.end_of(after).status == "SUCCEEDED"
    line.device.stop()


def _told(cloud: MosquittoCloud, line: Line, job_id: str) -> dict[str, dict[str, dict[str, str]]] | None:
    reported = cloud.shadow(line.thing)
    return reported if reported.get("deployment", {}).get("job_id") == job_id else None
