"""Killed in state X: what the table's row says about serving, resuming and the job's end is what happens."""

import itertools
import time
from typing import NamedTuple

import pytest

from edge_agent.deployment.states import INSTALL, State
from tests.fakes.deployment import install
from tests.fakes.job_line import MODEL, Line
from tests.fakes.jobs_clouds import MosquittoCloud


class Row(NamedTuple):
    """What follows a kill in one state."""

    state: State
    answers: str
    """The version that answers right after the restart."""
    status: str
    code: str
    ends_with: str
    """The version that is committed and answers in the end."""


ROWS = [
    *(Row(state, "1", "SUCCEEDED", "", "2") for state in INSTALL[: INSTALL.index(State.ACTIVATING)]),
    Row(State.ACTIVATING, "1", "FAILED", "ROLLED_BACK", "1"),
    Row(State.PROBATION, "1", "SUCCEEDED", "", "2"),
    Row(State.COMMITTED, "2", "SUCCEEDED", "", "2"),
]
CASES = [(row, when) for row, when in itertools.product(ROWS, ("before", "after"))]


@pytest.mark.parametrize(
    ("row", "when"), CASES, ids=lambda value: value.state.value if isinstance(value, Row) else value
)
def test_killed_in_each_state_the_row_is_what_happens(
    row: Row, when: str, line: Line, cloud: MosquittoCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.start(f"{row.state.value}:{when}", monkeypatch)
    job_id = f"{row.state.value}-{when}-{time.monotonic_ns()}"
    cloud.create_job(line.thing, job_id, install((MODEL, "2")))
    line.wait_until_held()
    line.device.kill()

    line.start("RESUMED", monkeypatch)
    line.wait_until_held()
    assert line.answering() == row.answers
    line.let_go()

    standing = line.end_of(job_id)
    assert (standing.status, standing.details.get("code", "")) == (row.status, row.code)
    assert line.answering() == row.ends_with
    assert line.device.generation() == {MODEL: row.ends_with}
    report = line.device.wait_for_deployment(lambda report: report.job_id == job_id and report.ended is not None)
    assert [entry.state for entry in report.states].count("COMMITTED") == (1 if row.ends_with == "2" else 0)
    line.device.stop()


def test_the_third_unclean_end_under_probation_rolls_back_and_quarantines(
    line: Line, cloud: MosquittoCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = f"unclean-{time.monotonic_ns()}"
    cloud.create_job(line.thing, job_id, install((MODEL, "2")))
    for _ in range(3):
        line.start("PROBATION:before", monkeypatch)
        line.wait_until_held()
        line.device.kill()
    line.start("", monkeypatch)
    standing = line.end_of(job_id)
    assert (standing.status, standing.details["code"]) == ("FAILED", "ROLLED_BACK")
    assert line.answering() == "1"
    again = f"again-{time.monotonic_ns()}"
    cloud.create_job(line.thing, again, install((MODEL, "2")))
    standing = line.end_of(again)
    assert (standing.status, standing.details["code"]) == ("REJECTED", "QUARANTINED")
    assert line.device.generation() == {MODEL: "1"}
    line.device.stop()


def test_killed_while_rolling_back_the_old_version_answers_and_the_job_fails(
    line: Line, cloud: MosquittoCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = f"rolling-{time.monotonic_ns()}"
    cloud.create_job(line.thing, job_id, install((MODEL, "2")))
    line.start("ACTIVATING:before", monkeypatch)
    line.wait_until_held()
    line.device.kill()
    for when in ("before", "after"):
        line.start(f"ROLLING_BACK:{when}", monkeypatch)
        line.wait_until_held()
        assert line.answering() == "1"
        line.device.kill()
    line.start("", monkeypatch)
    standing = line.end_of(job_id)
    assert (standing.status, standing.details["code"]) == ("FAILED", "ROLLED_BACK")
    assert line.device.generation() == {MODEL: "1"}
    line.device.stop()


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_the_end_of_a_failure_the_report_still_comes(
    when: str, line: Line, cloud: MosquittoCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.start(f"REFUSED:{when}", monkeypatch)
    job_id = f"refused-{when}-{time.monotonic_ns()}"
    cloud.create_job(line.thing, job_id, install((MODEL, "77")))
    line.wait_until_held()
    line.device.kill()
    line.start("", monkeypatch)
    standing = line.end_of(job_id)
    assert (standing.status, standing.details["code"]) == ("REJECTED", "RELEASE_UNKNOWN")
    line.device.stop()


def test_killed_after_the_commit_was_reported_nothing_is_done_twice(
    line: Line, cloud: MosquittoCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.start("", monkeypatch)
    job_id = f"reported-{time.monotonic_ns()}"
    cloud.create_job(line.thing, job_id, install((MODEL, "2")))
    assert line.end_of(job_id).status == "SUCCEEDED"
    reported = line.device.wait_for_deployment(
        lambda report: report.job_id == job_id and report.states[-1].state == "REPORTED"
    )
    line.device.kill()
    line.start("", monkeypatch)
    line.device.wait_for(lambda status: status.agent.cloud == "CONNECTED")
    with line.device.client() as client:
        assert client.deployments()[0] == reported
    assert cloud.standing(line.thing, job_id).status == "SUCCEEDED"  # type: ignore[union-attr]
    assert line.answering() == "2"
    line.device.stop()
