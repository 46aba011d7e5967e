"""What a device sees of IoT Jobs, checked alike on the local AWS and on the fake that stands in for it."""

import json
import queue
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.jobs.happenings import Connected, Happening, Received, Subscribed
from edge_agent.jobs.mqtt import MqttConnection
from edge_agent.jobs.topics import Topics
from tests.fakes.jobs_clouds import CLOUDS, TIMEOUT_S, JobsCloud

DOCUMENT = {"schema": "edge-agent/job/1", "operation": "install", "name": "größe 🙂"}


@pytest.fixture(scope="module", params=list(CLOUDS))
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsCloud]:
    cloud = CLOUDS[request.param](tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


class Raw:
    """A device that only publishes and listens."""

    def __init__(self, cloud: JobsCloud) -> None:
        self.cloud = cloud
        self.thing, settings = cloud.new_device()
        self.topics = Topics(self.thing)
        self.inputs: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.link = MqttConnection(settings, self.thing, hand_over=self.inputs.put)
        self.link.start()
        self._until(Connected)
        self.link.subscribe(self.topics.subscriptions())
        assert self._until(Subscribed).fault == ""

    def create(self, document: dict[str, Any] = DOCUMENT) -> str:
        job_id = f"j-{secrets.token_hex(4)}"
        self.cloud.create_job(self.thing, job_id, document)
        return job_id

    def ask(self, word: str, **fields: Any) -> tuple[str, dict[str, Any]]:
        """Publish a request and return its answer: accepted or rejected, and the document."""
        token = secrets.token_hex(8)
        return self.ask_raw(word, json.dumps({"clientToken": token, **fields}).encode(), token)

    def ask_raw(self, word: str, payload: bytes, token: str | None = None) -> tuple[str, dict[str, Any]]:
        self.link.publish(f"$aws/things/{self.thing}/jobs/{word}", payload)
        while True:
            topic, document = self.hear()
            if topic.startswith(f"{word}/") and document.get("clientToken") == token:
                return topic.rpartition("/")[2], document

    def hear(self) -> tuple[str, dict[str, Any]]:
        """Return the next message: its topic behind ``jobs/``, and the document."""
        message = self._until(Received)
        topic = message.topic.removeprefix(f"$aws/things/{self.thing}/jobs/")
        self.heard.append((topic, json.loads(message.payload)))
        return self.heard[-1]

    def hear_on(self, word: str) -> dict[str, Any]:
        while True:
            topic, document = self.hear()
            if topic == word:
                return document

    def _until(self, kind: type[Any]) -> Any:
        limit = time.monotonic() + TIMEOUT_S
        while True:
            happened = self.inputs.get(timeout=limit - time.monotonic())
            if isinstance(happened, kind):
                return happened


@pytest.fixture
def device(cloud: JobsCloud) -> Iterator[Raw]:
    device = Raw(cloud)
    yield device
    assert device.link.stop(TIMEOUT_S)


def test_an_idle_thing_is_handed_nothing(device: Raw) -> None:
    assert "execution" not in device.ask("start-next")[1]
    assert "execution" not in device.ask("$next/get")[1]
    kind, document = device.ask("get")
    assert (kind, document["inProgressJobs"], document["queuedJobs"]) == ("accepted", [], [])


def test_a_new_job_is_notified_and_is_next_with_its_document_as_an_object(device: Raw) -> None:
    job_id = device.create()
    notice = device.hear_on("notify")
    assert [entry["jobId"] for entry in notice["jobs"]["QUEUED"]] == [job_id]
    assert "IN_PROGRESS" not in notice["jobs"]
    execution = device.hear_on("notify-next")["execution"]
    assert (execution["jobId"], execution["status"], execution["versionNumber"]) == (job_id, "QUEUED", 1)
    assert execution["jobDocument"] == DOCUMENT
    assert isinstance(execution["queuedAt"], int)


def test_a_second_job_is_notified_but_is_not_next(device: Raw) -> None:
    device.create()
    device.hear_on("notify-next")
    second = device.create()
    queued = device.hear_on("notify")["jobs"]["QUEUED"]
    assert [entry["jobId"] for entry in queued][-1] == second
    device.ask("get")
    assert [topic for topic, _ in device.heard].count("notify-next") == 1


def test_start_next_starts_the_oldest_and_hands_it_again(device: Raw) -> None:
    first, second = device.create(), device.create()
    for _ in range(2):
        execution = device.ask("start-next")[1]["execution"]
        assert (execution["jobId"], execution["status"], execution["versionNumber"]) == (first, "IN_PROGRESS", 2)
        assert execution["jobDocument"] == DOCUMENT
    listed = device.ask("get")[1]
    assert [entry["jobId"] for entry in listed["inProgressJobs"]] == [first]
    assert [entry["jobId"] for entry in listed["queuedJobs"]] == [second]


def test_describing_a_job_does_not_start_it(device: Raw) -> None:
    job_id = device.create()
    for word in (f"{job_id}/get", "$next/get"):
        execution = device.ask(word)[1]["execution"]
        assert (execution["jobId"], execution["status"], execution["versionNumber"]) == (job_id, "QUEUED", 1)
    execution = device.ask(f"{job_id}/get", includeJobDocument=False)[1]["execution"]
    assert "jobDocument" not in execution


def test_each_update_raises_the_version_and_tells_the_state(device: Raw) -> None:
    job_id = device.create()
    device.ask("start-next")
    for version, step in ((3, "DOWNLOADING"), (4, "BUILDING")):
        kind, document = device.ask(
            f"{job_id}/update",
            status="IN_PROGRESS",
            expectedVersion=version - 1,
            executionNumber=1,
            statusDetails={"step": step},
            stepTimeoutInMinutes=15,
            includeJobExecutionState=True,
        )
        state = {"status": "IN_PROGRESS", "statusDetails": {"step": step}, "versionNumber": version}
        assert (kind, document["executionState"]) == ("accepted", state)
    standing = device.cloud.standing(device.thing, job_id)
    assert standing == ("IN_PROGRESS", {"step": "BUILDING"}, 4)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "REJECTED"])
def test_a_terminal_update_is_answered_first_then_notified(device: Raw, status: str) -> None:
    job_id = device.create()
    device.ask("start-next")
    device.heard.clear()
    assert device.ask(f"{job_id}/update", status=status)[0] == "accepted"
    assert device.hear_on("notify")["jobs"] == {}
    assert "execution" not in device.hear_on("notify-next")
    after = [topic for topic, _ in device.heard]
    assert after[after.index(f"{job_id}/update/accepted") :][:3] == [
        f"{job_id}/update/accepted",
        "notify",
        "notify-next",
    ]


def test_the_end_of_the_front_job_makes_the_second_one_next(device: Raw) -> None:
    first, second = device.create(), device.create()
    device.ask("start-next")
    device.heard.clear()
    device.ask(f"{first}/update", status="SUCCEEDED")
    assert device.hear_on("notify-next")["execution"]["jobId"] == second


def test_a_queued_job_can_be_ended_without_being_started(device: Raw) -> None:
    job_id = device.create()
    assert device.ask(f"{job_id}/update", status="REJECTED", expectedVersion=1)[0] == "accepted"
    assert device.cloud.standing(device.thing, job_id) == ("REJECTED", {}, 2)


def test_a_stale_version_is_rejected_with_the_state(device: Raw) -> None:
    job_id = device.create()
    device.ask("start-next")
    kind, document = device.ask(f"{job_id}/update", status="SUCCEEDED", expectedVersion=1)
    assert (kind, document["code"]) == ("rejected", "VersionMismatch")
    assert document["executionState"] == {"status": "IN_PROGRESS", "versionNumber": 2}


def test_a_finished_job_takes_no_update_and_tells_its_state(device: Raw) -> None:
    job_id = device.create()
    device.ask(f"{job_id}/update", status="SUCCEEDED", statusDetails={"step": "REPORTED"})
    kind, document = device.ask(f"{job_id}/update", status="FAILED")
    assert (kind, document["code"]) == ("rejected", "InvalidStateTransition")
    state = {"status": "SUCCEEDED", "statusDetails": {"step": "REPORTED"}, "versionNumber": 2}
    assert document["executionState"] == state
    kind, document = device.ask(f"{job_id}/get")
    assert (kind, document["code"]) == ("rejected", "TerminalStateReached")


def test_an_update_sent_twice_is_a_version_mismatch_that_shows_the_first(device: Raw) -> None:
    job_id = device.create()
    device.ask("start-next")
    update = {"status": "SUCCEEDED", "expectedVersion": 2, "statusDetails": {"a": "b"}}
    assert device.ask(f"{job_id}/update", **update)[0] == "accepted"
    kind, document = device.ask(f"{job_id}/update", **update)
    assert (kind, document["code"], document["executionState"]["status"]) == (
        "rejected",
        "VersionMismatch",
        "SUCCEEDED",
    )


def test_an_unknown_job_and_an_unknown_execution_are_not_found(device: Raw) -> None:
    job_id = device.create()
    for word, fields in (
        ("nothing/get", {}),
        ("nothing/update", {"status": "SUCCEEDED"}),
        (f"{job_id}/get", {"executionNumber": 7}),
        (f"{job_id}/update", {"status": "SUCCEEDED", "executionNumber": 7}),
    ):
        kind, document = device.ask(word, **fields)
        assert (kind, document["code"]) == ("rejected", "ResourceNotFound")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"status": "QUEUED"}, "InvalidStateTransition"),
        ({"status": "CANCELED"}, "InvalidStateTransition"),
        ({"status": "WONDERFUL"}, "InvalidRequest"),
        ({}, "InvalidRequest"),
        ({"status": "SUCCEEDED", "statusDetails": {"step": ""}}, "InvalidRequest"),
        ({"status": "SUCCEEDED", "statusDetails": {"step": 7}}, "InvalidRequest"),
    ],
)
def test_an_update_that_a_device_may_not_make_is_rejected(device: Raw, fields: dict[str, Any], code: str) -> None:
    job_id = device.create()
    kind, document = device.ask(f"{job_id}/update", **fields)
    assert (kind, document["code"]) == ("rejected", code)
    assert device.cloud.standing(device.thing, job_id) == ("QUEUED", {}, 1)


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"[1]"])
def test_a_request_that_is_no_json_object_is_rejected(device: Raw, payload: bytes) -> None:
    kind, document = device.ask_raw("start-next", payload)
    assert (kind, document["code"]) == ("rejected", "InvalidJson")


def test_cancelling_ends_a_queued_job_and_spares_a_running_one(device: Raw) -> None:
    running, queued = device.create(), device.create()
    device.ask("start-next")
    device.cloud.cancel_job(running)
    device.cloud.cancel_job(queued)
    assert device.ask("get")[1]["queuedJobs"] == []
    assert device.cloud.standing(device.thing, running) == ("IN_PROGRESS", {}, 2)
    assert device.cloud.standing(device.thing, queued) == ("CANCELED", {}, 2)


def test_forced_cancelling_ends_a_running_job_and_notifies(device: Raw) -> None:
    job_id = device.create()
    device.ask("start-next")
    device.heard.clear()
    device.cloud.cancel_job(job_id, force=True)
    while "execution" in device.hear_on("notify-next"):
        pass
    kind, document = device.ask(f"{job_id}/update", status="SUCCEEDED")
    assert (kind, document["code"]) == ("rejected", "InvalidStateTransition")
    assert document["executionState"] == {"status": "CANCELED", "versionNumber": 3}
    assert device.ask(f"{job_id}/get")[1]["code"] == "TerminalStateReached"


def test_a_deleted_job_is_not_found_and_the_next_one_is_notified(device: Raw) -> None:
    first, second = device.create(), device.create()
    device.ask("start-next")
    device.heard.clear()
    device.cloud.delete_job(first)
    while device.hear_on("notify-next")["execution"]["jobId"] != second:
        pass
    assert device.ask(f"{first}/get")[1]["code"] == "ResourceNotFound"
    assert device.cloud.standing(device.thing, first) is None
