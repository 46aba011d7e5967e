import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.jobs import JobGone, JobOffered, JobReported, JobsQueued
from edge_agent.jobs.messages import LIMIT_PAYLOAD_BYTES
from edge_agent.jobs.requests import ANSWER_TIMEOUT_S, LONGEST_BACK_OFF_S
from edge_agent.jobs.session import POLL_S
from tests.fakes.jobs_device import Device
from tests.fakes.jobs_service import JobsService, Publication

THING = "press-4"
PREFIX = f"$aws/things/{THING}/jobs"
DOCUMENT = {"schema": "edge-agent/job/1", "operation": "install"}


class Line:
    """A device and a service, and a wire that a test can hold, cut or double."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = JobsService(lambda: 1_790_000_000)
        self.device = Device(path / "outbox.db", THING)
        self.requests: list[str] = []

    def create(self, job_id: str, document: Any = DOCUMENT) -> None:
        self.deliver(self.service.create_job(job_id, document, THING))

    def deliver(self, publications: list[Publication]) -> None:
        for publication in publications:
            self.device.receive(*publication)

    def exchange(self) -> list[Publication]:
        """Carry what the device sent to the service; return the answers."""
        sent, self.device.sent = self.device.sent, []
        self.requests += [message.topic.removeprefix(PREFIX + "/") for message in sent]
        return [answer for message in sent for answer in self.service.handle(*message)]

    def run(self) -> None:
        """Carry messages both ways until nobody has anything to say."""
        while self.device.sent:
            self.deliver(self.exchange())

    def restart(self) -> None:
        self.device.outbox.close()
        self.device = Device(self.path / "outbox.db", THING, name="b")
        self.device.connect()

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.device.told if isinstance(event, kind)]

    def status(self, job_id: str) -> str:
        return self.service.executions[THING, job_id].status


@pytest.fixture
def line(tmp_path: Path) -> Line:
    line = Line(tmp_path)
    line.device.connect()
    line.run()
    return line


def answer(verb: str, **fields: Any) -> tuple[str, bytes]:
    return f"{PREFIX}/{verb}", json.dumps(fields).encode()


def test_a_job_is_offered_once_with_its_document(line: Line) -> None:
    line.create("j1")
    line.run()
    assert line.told(JobOffered) == [JobOffered("j1", DOCUMENT, "IN_PROGRESS", 2, 1, {}, 1_790_000_000)]


def test_a_workshop_document_is_offered_as_it_is(line: Line) -> None:
    line.create("j1", {"type": "new_model", "model_version": "1", "model_name": "img-classification"})
    line.run()
    assert line.told(JobOffered)[0].document["type"] == "new_model"


def test_a_document_that_is_no_object_is_offered_empty_so_that_it_can_be_refused(line: Line) -> None:
    line.create("j1", "just text")
    line.run()
    assert line.told(JobOffered)[0].document == {}


def test_a_whole_job_runs_from_offer_to_settled_report(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "IN_PROGRESS", step_timeout_minutes=15, step="DOWNLOADING")
    line.run()
    line.device.report("j1", "SUCCEEDED", step="REPORTED")
    line.run()
    execution = line.service.executions[THING, "j1"]
    assert (execution.status, execution.details, execution.step_timeout_minutes) == (
        "SUCCEEDED",
        {"step": "REPORTED"},
        15,
    )
    assert line.told(JobReported) == [JobReported("j1", "SUCCEEDED", accepted=True, code="")]
    assert line.device.outbox.pending() == []


def test_the_next_job_is_asked_for_only_after_the_report_is_settled(line: Line) -> None:
    line.create("j1")
    line.create("j2")
    line.run()
    line.device.report("j1", "SUCCEEDED")
    line.device.receive(
        *answer("notify-next", timestamp=1, execution={"jobId": "j2", "status": "QUEUED", "versionNumber": 1})
    )
    assert [message.topic for message in line.device.sent] == [f"{PREFIX}/j1/update"]
    line.run()
    assert [offered.job_id for offered in line.told(JobOffered)] == ["j1", "j2"]


def test_doubled_notifications_offer_nothing_twice(line: Line) -> None:
    notifications = line.service.create_job("j1", DOCUMENT, THING)
    for _ in range(3):
        line.deliver(notifications)
        line.run()
    assert len(line.told(JobOffered)) == 1


def test_doubled_answers_offer_nothing_twice(line: Line) -> None:
    line.deliver(line.service.create_job("j1", DOCUMENT, THING))
    answers = line.exchange()
    line.deliver([*answers, *answers])
    line.run()
    line.deliver(answers)
    assert len(line.told(JobOffered)) == 1
    assert line.device.session.ignored["unasked"] > 0


def test_a_late_notification_of_a_finished_job_offers_nothing(line: Line) -> None:
    notifications = line.service.create_job("j1", DOCUMENT, THING)
    line.deliver(notifications)
    line.run()
    line.device.report("j1", "FAILED")
    line.run()
    line.deliver(notifications)
    line.run()
    assert len(line.told(JobOffered)) == 1


def test_a_lost_answer_is_asked_for_again(line: Line) -> None:
    line.create("j1")
    line.exchange()
    line.device.wait(ANSWER_TIMEOUT_S + LONGEST_BACK_OFF_S)
    line.run()
    assert len(line.told(JobOffered)) == 1


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "REJECTED"])
def test_a_lost_update_accepted_is_sent_again_and_counts_once(line: Line, status: Any) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", status, code="X")
    line.exchange()
    version = line.service.executions[THING, "j1"].version
    line.device.wait(ANSWER_TIMEOUT_S + LONGEST_BACK_OFF_S)
    line.run()
    assert line.service.executions[THING, "j1"].version == version
    assert line.told(JobReported) == [JobReported("j1", status, accepted=True, code="")]
    assert line.device.outbox.pending() == []


def test_a_lost_answer_to_progress_is_recognised_by_its_details(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "IN_PROGRESS", step="BUILDING")
    line.exchange()
    version = line.service.executions[THING, "j1"].version
    line.device.wait(ANSWER_TIMEOUT_S + LONGEST_BACK_OFF_S)
    line.run()
    assert line.service.executions[THING, "j1"].version == version
    assert line.device.outbox.pending() == []


def test_a_version_mismatch_takes_the_version_from_the_answer(line: Line) -> None:
    line.create("j1")
    line.run()
    line.service.executions[THING, "j1"].version = 9
    line.device.report("j1", "SUCCEEDED")
    line.run()
    assert (line.status("j1"), line.service.executions[THING, "j1"].version) == ("SUCCEEDED", 10)


def test_a_power_cut_between_report_and_sending_loses_nothing(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.disconnect()
    line.device.report("j1", "SUCCEEDED", step="REPORTED")
    line.restart()
    line.run()
    assert line.status("j1") == "SUCCEEDED"
    assert line.told(JobOffered) == []


def test_a_restarted_device_is_offered_its_job_again(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "IN_PROGRESS", step="BUILDING")
    line.run()
    line.restart()
    line.run()
    offered = line.told(JobOffered)
    assert [(job.job_id, job.status, job.details) for job in offered] == [("j1", "IN_PROGRESS", {"step": "BUILDING"})]


def test_a_reconnection_does_not_offer_the_running_job_again(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.disconnect()
    line.device.connect()
    line.run()
    assert len(line.told(JobOffered)) == 1
    assert "j1/get" in line.requests


def test_every_connection_asks_for_the_queue_and_the_next_job(line: Line) -> None:
    line.device.disconnect()
    line.requests.clear()
    line.device.connect()
    line.run()
    assert line.requests == ["get", "start-next"]


def test_a_service_that_forgot_the_end_hears_it_again_and_nothing_runs_twice(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "SUCCEEDED", step="REPORTED")
    line.run()
    execution = line.service.executions[THING, "j1"]
    execution.status, execution.version, execution.details = "IN_PROGRESS", 2, None
    line.restart()
    line.run()
    assert (execution.status, execution.details) == ("SUCCEEDED", {"step": "REPORTED"})
    assert line.told(JobOffered) == []


def test_a_job_id_that_is_used_again_is_another_job(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "SUCCEEDED")
    line.run()
    line.deliver(line.service.delete_job("j1"))
    line.service._now = lambda: 1_790_000_500
    line.create("j1", {"second": True})
    line.run()
    assert [offered.document for offered in line.told(JobOffered)] == [DOCUMENT, {"second": True}]


def test_a_report_never_ends_a_job_made_anew_under_the_same_id(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.disconnect()
    line.device.report("j1", "SUCCEEDED")
    line.service.delete_job("j1")
    line.service._now = lambda: 1_790_000_500
    line.service.create_job("j1", {"second": True}, THING)
    line.restart()
    line.run()
    assert line.told(JobReported) == [JobReported("j1", "SUCCEEDED", accepted=False, code="replaced")]
    assert [offered.document for offered in line.told(JobOffered)] == [{"second": True}]
    assert line.status("j1") == "IN_PROGRESS"


GONE: dict[str, tuple[Callable[[Line], list[Publication]], str]] = {
    "cancelled": (lambda line: line.service.cancel_job("j1", force=True), "TerminalStateReached"),
    "timed out": (lambda line: line.service.time_out(THING, "j1"), "TerminalStateReached"),
    "deleted": (lambda line: line.service.delete_job("j1"), "ResourceNotFound"),
}


@pytest.mark.parametrize("how", GONE)
def test_a_job_taken_away_is_told_once_and_the_next_one_offered(line: Line, how: str) -> None:
    line.create("j1")
    line.create("j2")
    line.run()
    take_away, reason = GONE[how]
    line.deliver(take_away(line))
    line.run()
    assert line.told(JobGone) == [JobGone("j1", reason)]
    assert [offered.job_id for offered in line.told(JobOffered)] == ["j1", "j2"]


@pytest.mark.parametrize("how", GONE)
def test_a_job_taken_away_unseen_is_found_out_by_the_next_report(line: Line, how: str) -> None:
    line.create("j1")
    line.run()
    GONE[how][0](line)
    line.device.report("j1", "SUCCEEDED")
    line.run()
    assert [gone.job_id for gone in line.told(JobGone)] == ["j1"]
    reported = line.told(JobReported)
    assert [(report.job_id, report.accepted) for report in reported] == [("j1", False)]
    assert line.device.outbox.pending() == []


def test_a_job_taken_away_while_offline_is_told_on_return(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.disconnect()
    line.service.cancel_job("j1", force=True)
    line.device.connect()
    line.run()
    assert line.told(JobGone) == [JobGone("j1", "TerminalStateReached")]


@pytest.mark.parametrize("code", ["RequestThrottled", "InternalError", "SomethingNew"])
def test_a_service_that_is_busy_is_asked_again_later(line: Line, code: str) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "SUCCEEDED")
    token = json.loads(line.device.sent[-1].payload)["clientToken"]
    line.device.sent.clear()
    line.device.receive(*answer("j1/update/rejected", clientToken=token, code=code, message="later"))
    assert line.device.sent == []
    line.device.wait(LONGEST_BACK_OFF_S)
    line.run()
    assert line.status("j1") == "SUCCEEDED"


def test_waits_after_throttling_are_spread_over_the_whole_range(tmp_path: Path) -> None:
    waits = set()
    for seed in range(20):
        device = Device(tmp_path / f"{seed}.db", THING, seed=seed)
        device.connect()
        for request in device.sent:
            token = json.loads(request.payload)["clientToken"]
            device.receive(
                f"{request.topic}/rejected", json.dumps({"clientToken": token, "code": "RequestThrottled"}).encode()
            )
        waits.add(round(device.session.next_due() or -1, 6))
    assert len(waits) == 20
    assert all(0 <= wait <= 2 for wait in waits)


def test_a_terminal_report_whose_details_are_refused_goes_without_them(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "FAILED", code="NO_SPACE")
    request = json.loads(line.device.sent.pop().payload)
    line.device.receive(
        *answer("j1/update/rejected", clientToken=request["clientToken"], code="InvalidRequest", message="details")
    )
    line.run()
    execution = line.service.executions[THING, "j1"]
    assert (execution.status, execution.details) == ("FAILED", None)


def test_a_report_that_is_never_taken_ends_and_does_not_circle(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "FAILED")
    for _ in range(2):
        request = json.loads(line.device.sent.pop().payload)
        line.device.receive(*answer("j1/update/rejected", clientToken=request["clientToken"], code="InvalidRequest"))
    line.run()
    assert line.told(JobReported) == [JobReported("j1", "FAILED", accepted=False, code="InvalidRequest")]
    assert len(line.told(JobOffered)) == 1
    assert line.device.session.ignored["finished"] == 1


BAD_MESSAGES = {
    "another thing's": ("$aws/things/press-5/jobs/notify-next", b"{}", "foreign"),
    "another topic": ("factory/news", b"{}", "foreign"),
    "oversized": (f"{PREFIX}/notify-next", b" " * (LIMIT_PAYLOAD_BYTES + 1), "oversized"),
    "not JSON": (f"{PREFIX}/notify-next", b"\xff\x00", "malformed"),
    "nested beyond measure": (f"{PREFIX}/notify-next", b"[" * 100_000, "malformed"),
    "no object": (f"{PREFIX}/notify-next", b"[1]", "malformed"),
    "a bad job id": (
        f"{PREFIX}/notify-next",
        b'{"execution":{"jobId":"../x","status":"QUEUED","versionNumber":1}}',
        "malformed",
    ),
    "an answer nobody asked for": (f"{PREFIX}/start-next/accepted", b'{"clientToken":"x","execution":null}', "unasked"),
    "a rejection nobody asked for": (
        f"{PREFIX}/j1/update/rejected",
        b'{"clientToken":"x","code":"ResourceNotFound"}',
        "unasked",
    ),
}


@pytest.mark.parametrize("kind", BAD_MESSAGES)
def test_a_message_that_makes_no_sense_is_counted_and_changes_nothing(line: Line, kind: str) -> None:
    line.create("j1")
    line.run()
    topic, payload, why = BAD_MESSAGES[kind]
    before = list(line.device.told), dict(line.device.session.ignored)
    line.device.receive(topic, payload)
    assert line.device.sent == []
    assert line.device.told == before[0]
    assert line.device.session.ignored == {**before[1], why: before[1].get(why, 0) + 1}


def test_a_forged_offer_without_our_token_is_not_taken(line: Line) -> None:
    forged = {"jobId": "evil", "status": "IN_PROGRESS", "versionNumber": 2, "jobDocument": DOCUMENT}
    line.device.receive(*answer("start-next/accepted", execution=forged))
    assert line.told(JobOffered) == []


def test_the_queue_is_told_with_documents_in_order(line: Line) -> None:
    for number in range(1, 4):
        line.create(f"j{number}", {"operation": "rollback", "n": number})
    line.run()
    last = line.told(JobsQueued)[-1]
    assert [(job.job_id, job.document["n"]) for job in last.jobs] == [("j2", 2), ("j3", 3)]


def test_a_job_that_leaves_the_queue_is_told(line: Line) -> None:
    line.create("j1")
    line.create("j2")
    line.run()
    line.deliver(line.service.cancel_job("j2"))
    line.run()
    assert line.told(JobsQueued)[-1].jobs == ()


def test_a_preferred_job_comes_before_older_ones_and_is_still_queued(line: Line) -> None:
    for job_id in ("j1", "j2", "rollback"):
        line.create(job_id)
    line.run()
    line.device.prefer("rollback")
    line.device.report("j1", "FAILED", code="SUPERSEDED")
    line.run()
    offered = line.told(JobOffered)[-1]
    assert (offered.job_id, offered.status, offered.version_number) == ("rollback", "QUEUED", 1)
    line.device.report("rollback", "IN_PROGRESS")
    line.device.report("rollback", "SUCCEEDED")
    line.run()
    assert line.status("rollback") == "SUCCEEDED"
    assert line.told(JobOffered)[-1].job_id == "j2"


def test_a_job_that_was_preferred_before_a_restart_comes_before_older_ones_after_it(line: Line) -> None:
    for job_id in ("j1", "j2", "rollback"):
        line.create(job_id)
    line.run()
    line.device.report("j1", "FAILED", code="SUPERSEDED")
    sent = line.device.sent
    line.device.sent = []  # the power is cut before the service is asked for more
    for message in sent:
        line.service.handle(*message)
    line.device.outbox.close()
    line.device = Device(line.path / "outbox.db", THING, name="b")
    line.device.prefer("rollback")
    line.device.connect()
    line.run()
    assert line.told(JobOffered)[0].job_id == "rollback"
    assert line.status("j2") == "QUEUED"


def test_a_preferred_job_that_waits_no_more_holds_up_nobody(line: Line) -> None:
    line.device.disconnect()
    line.device.prefer("gone")
    line.device.connect()
    line.run()
    line.create("j1")
    line.run()
    assert line.told(JobOffered)[-1].job_id == "j1"


def test_progress_that_was_not_sent_gives_way_to_the_newest(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.disconnect()
    for step in ("REFRESHING", "CHECKING", "DOWNLOADING"):
        line.device.report("j1", "IN_PROGRESS", step=step)
    line.device.connect()
    updates = [json.loads(m.payload) for m in line.device.sent if m.topic.endswith("/update")]
    assert [update["statusDetails"]["step"] for update in updates] == ["DOWNLOADING"]


def test_reports_of_one_job_go_out_one_at_a_time_in_order(line: Line) -> None:
    line.create("j1")
    line.run()
    line.device.report("j1", "IN_PROGRESS", step="BUILDING")
    line.device.report("j1", "SUCCEEDED")
    updates = [json.loads(m.payload) for m in line.device.sent if m.topic.endswith("/update")]
    assert [update["status"] for update in updates] == ["IN_PROGRESS"]
    line.run()
    assert line.service.executions[THING, "j1"].history == ["IN_PROGRESS", "IN_PROGRESS", "SUCCEEDED"]


def test_the_queue_is_looked_at_now_and_then_in_case_a_notification_was_lost(line: Line) -> None:
    line.service.create_job("j1", DOCUMENT, THING)
    line.device.wait(POLL_S * 2)
    line.run()
    assert [offered.job_id for offered in line.told(JobOffered)] == ["j1"]


def test_nothing_is_sent_or_awaited_without_a_connection(line: Line) -> None:
    line.device.disconnect()
    line.create("j1")
    line.device.report("j9", "SUCCEEDED")
    line.device.wait(10_000)
    assert line.device.sent == []
    assert line.device.session.next_due() is None
