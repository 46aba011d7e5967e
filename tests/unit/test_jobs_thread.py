"""The client over a link that a test plays."""

import json
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import Mqtt
from edge_agent.errors import Code, StorageError
from edge_agent.jobs import Connection, JobOffered, JobReported, JobsClient, Outbox
from edge_agent.jobs import client as client_module
from edge_agent.jobs.happenings import Connected, Disconnected, Happening, Received, Subscribed
from tests.fakes.jobs_service import JobsService

TIMEOUT_S = 60.0
THING = "press-4"


class PlayedLink:
    """Answers at once, as a broker and a job service would; subscriptions as the test says."""

    def __init__(self, service: JobsService) -> None:
        self.service = service
        self.hand_over: Callable[[Happening], None] = print
        self.faults: list[str] = []
        self.subscriptions = 0

    def made(self, hand_over: Callable[[Happening], None]) -> "PlayedLink":
        self.hand_over = hand_over
        return self

    def start(self) -> None:
        self.hand_over(Connected(1))

    def stop(self, timeout_s: float) -> bool:
        return timeout_s > 0

    def subscribe(self, filters: tuple[str, ...]) -> None:
        self.subscriptions += 1
        assert len(filters) == 6
        self.hand_over(Subscribed(1, self.faults.pop() if self.faults else ""))

    def publish(self, topic: str, payload: bytes) -> None:
        for answer in self.service.handle(topic, payload):
            self.hand_over(Received(*answer))

    def create(self, job_id: str) -> None:
        for notice in self.service.create_job(job_id, {}, THING):
            self.hand_over(Received(*notice))


@pytest.fixture
def link() -> PlayedLink:
    return PlayedLink(JobsService())


@pytest.fixture
def events() -> "queue.SimpleQueue[Any]":
    return queue.SimpleQueue()


@pytest.fixture
def client(link: PlayedLink, events: "queue.SimpleQueue[Any]", tmp_path: Path) -> Iterator[JobsClient]:
    outbox = Outbox(tmp_path / "outbox.db")
    client = JobsClient(Mqtt(), THING, outbox, events=events.put, connect=link.made)
    yield client
    client.stop(timeout_s=TIMEOUT_S)
    outbox.close()


def wait(events: "queue.SimpleQueue[Any]", kind: type) -> Any:
    while not isinstance(event := events.get(timeout=TIMEOUT_S), kind):
        pass
    return event


def test_a_refused_subscription_is_tried_again_and_nothing_is_asked_before(
    client: JobsClient, link: PlayedLink, events: "queue.SimpleQueue[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "RESUBSCRIBE_S", 0.01)
    link.faults = ["not allowed"] * 2
    client.start()
    assert wait(events, Connection).connected
    assert link.subscriptions == 3


def test_an_answer_to_an_earlier_connections_subscription_is_not_taken_for_this_ones(
    client: JobsClient, link: PlayedLink, events: "queue.SimpleQueue[Any]"
) -> None:
    link.faults = ["not yet"]
    client.start()
    link.hand_over(Disconnected("gone"))
    link.hand_over(Subscribed(1, ""))
    link.hand_over(Connected(2))
    link.hand_over(Subscribed(1, ""))
    assert not client.connected
    link.hand_over(Subscribed(2, ""))
    assert wait(events, Connection).connected


def test_a_lost_connection_is_told_once_with_its_reason(
    client: JobsClient, link: PlayedLink, events: "queue.SimpleQueue[Any]"
) -> None:
    client.start()
    wait(events, Connection)
    link.hand_over(Disconnected("pulled the plug"))
    link.hand_over(Disconnected("could not connect"))
    link.hand_over(Connected(1))
    assert [wait(events, Connection) for _ in range(2)] == [
        Connection(connected=False, reason="pulled the plug"),
        Connection(connected=True, reason=""),
    ]


def test_a_report_is_durable_before_it_returns(client: JobsClient, tmp_path: Path) -> None:
    client.report("j1", "SUCCEEDED", {"step": "REPORTED"})
    other = Outbox(tmp_path / "outbox.db")
    assert [report.status for report in other.pending("j1")] == ["SUCCEEDED"]
    other.close()


def test_a_full_disk_stops_neither_offers_nor_the_thread(
    client: JobsClient, link: PlayedLink, events: "queue.SimpleQueue[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StorageError(Code.NO_SPACE, "full")

    client.start()
    wait(events, Connection)
    monkeypatch.setattr(Outbox, "learn", full)
    monkeypatch.setattr(Outbox, "settle", full)
    link.create("j1")
    assert wait(events, JobOffered).job_id == "j1"
    client.report("j1", "SUCCEEDED", {})
    assert wait(events, JobReported).accepted
    link.create("j2")
    assert wait(events, JobOffered).job_id == "j2"


def test_what_the_service_is_asked_on_connection_is_the_queue_and_the_next_job(
    client: JobsClient, link: PlayedLink, events: "queue.SimpleQueue[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: queue.SimpleQueue[str] = queue.SimpleQueue()
    monkeypatch.setattr(
        link, "publish", lambda topic, payload: asked.put(topic + json.loads(payload)["clientToken"][:0])
    )
    client.start()
    topics = [asked.get(timeout=TIMEOUT_S).rpartition("/")[2] for _ in range(2)]
    assert topics == ["get", "start-next"]
