import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.errors import Code, StorageError
from edge_agent.jobs import Outbox
from edge_agent.jobs.messages import Identity
from edge_agent.jobs.outbox import KEPT_EXECUTIONS

J1 = Identity("j1", 1, 1_790_000_000)


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], Outbox]]:
    opened: list[Outbox] = []

    def again() -> Outbox:
        while opened:
            opened.pop().close()
        opened.append(Outbox(tmp_path / "outbox.db"))
        return opened[0]

    yield again
    while opened:
        opened.pop().close()


def test_a_report_is_there_after_the_process_is_gone(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    outbox.learn(J1, 2)
    report = outbox.add("j1", "SUCCEEDED", {"step": "REPORTED"})
    assert report is not None
    assert reopen().pending() == [report]
    assert report.execution == J1


def test_progress_gives_way_to_newer_progress_and_to_the_end(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    for step in ("CHECKING", "BUILDING"):
        outbox.add("j1", "IN_PROGRESS", {"step": step}, step_timeout_minutes=15)
    outbox.add("j2", "IN_PROGRESS", {"step": "CHECKING"})
    assert [(report.job_id, report.details["step"]) for report in outbox.pending()] == [
        ("j1", "BUILDING"),
        ("j2", "CHECKING"),
    ]
    outbox.add("j1", "FAILED", {})
    assert [(report.job_id, report.status) for report in outbox.pending()] == [("j2", "IN_PROGRESS"), ("j1", "FAILED")]


@pytest.mark.parametrize("known", [True, False])
def test_the_first_end_of_an_execution_is_the_only_one(reopen: Callable[[], Outbox], known: bool) -> None:
    outbox = reopen()
    if known:
        outbox.learn(J1, 2)
    first = outbox.add("j1", "SUCCEEDED", {})
    assert first is not None
    assert outbox.add("j1", "FAILED", {}) is None
    assert outbox.add("j1", "IN_PROGRESS", {}) is None
    assert reopen().pending() == [first]


def test_the_end_stays_known_after_it_is_settled(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    outbox.learn(J1, 2)
    report = outbox.add("j1", "SUCCEEDED", {"step": "REPORTED"})
    assert report is not None
    outbox.settle(report, "", 3)
    seen = reopen().seen("j1")
    assert seen is not None
    assert (seen.identity, seen.version_number, seen.final_status, seen.final_code) == (J1, 3, "SUCCEEDED", "")


def test_a_settled_end_can_be_put_in_once_more(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    outbox.learn(J1, 2)
    report = outbox.add("j1", "SUCCEEDED", {"step": "REPORTED"})
    assert report is not None
    outbox.settle(report, "", 3)
    repeated = outbox.repeat(J1)
    assert repeated is not None
    assert repeated._replace(id=report.id) == report
    assert repeated.id > report.id
    assert outbox.repeat(J1) is None
    assert outbox.repeat(J1._replace(execution_number=2)) is None


def test_another_execution_of_the_same_job_starts_anew(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    outbox.learn(J1, 2)
    old = outbox.add("j1", "FAILED", {})
    assert old is not None
    outbox.learn(J1._replace(execution_number=2), 1)
    outbox.settle(old, "replaced", None)
    seen = outbox.seen("j1")
    assert seen is not None
    assert (seen.identity.execution_number, seen.version_number, seen.final_status) == (2, 1, None)


def test_only_the_newest_thousand_executions_are_kept(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    with outbox._database.transaction():
        for number in range(KEPT_EXECUTIONS + 5):
            outbox.learn(Identity(f"j{number}", 1, 0), 1)
    seen = outbox.all_seen()
    assert len(seen) == KEPT_EXECUTIONS
    assert seen[0].identity.job_id == "j5"


def test_a_report_that_cannot_be_written_is_an_error_and_is_not_kept(
    reopen: Callable[[], Outbox], tmp_path: Path
) -> None:
    outbox = reopen()
    outbox.learn(J1, 2)
    other = sqlite3.connect(tmp_path / "outbox.db")
    other.execute("CREATE TRIGGER no BEFORE INSERT ON reports BEGIN SELECT RAISE(ABORT, 'disk is broken'); END")
    other.close()
    with pytest.raises(StorageError, match="disk is broken") as caught:
        outbox.add("j1", "SUCCEEDED", {})
    assert caught.value.code is Code.STORAGE_FAILED
    seen = outbox.seen("j1")
    assert seen is not None
    assert seen.final_status is None
    assert outbox.pending() == []
