"""Inspections told to the cloud through a real broker, also when that is away for a while."""

import json
import queue
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from cloud_tools.provision import policy
from edge_agent.agent.inspection_news import NewsOfInspections, Wanted
from edge_agent.errors import Code, JobsError
from edge_agent.formats import (
    Counts,
    EncodedPicture,
    InspectedFrame,
    InspectionNews,
    ModelResult,
    Shift,
    SummaryNews,
    Verdict,
    parse,
)
from edge_agent.jobs.happenings import Connected, Happening, Received, Subscribed
from edge_agent.jobs.mqtt import MqttConnection
from edge_agent.telemetry import metrics
from tests.fakes.device import AgentDevice
from tests.fakes.jobs_agent import Agent
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.tiny_models import BRIGHT, grey_picture

PATIENCE_S = 60.0


class Listener:
    """Whoever reads in the cloud."""

    def __init__(self, broker: MosquittoCloud, thing: str) -> None:
        self._happened: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._connection = MqttConnection(broker.new_device()[1], f"reader-{thing}", hand_over=self._happened.put)
        self._connection.start()
        self._topic = f"edge-agent/{thing}/inspections"
        self.wait(Subscribed)

    def wait(self, kind: type[Any]) -> Any:
        while True:
            happening = self._happened.get(timeout=PATIENCE_S)
            if isinstance(happening, Connected):
                self._connection.subscribe((self._topic,))
            if isinstance(happening, kind):
                return happening

    def next(self) -> dict[str, Any]:
        received = self.wait(Received)
        assert received.topic == self._topic
        found: dict[str, Any] = json.loads(received.payload)
        return found

    def until(self, schema: str, **wanted: object) -> dict[str, Any]:
        """Return the first message like this; those before went by, and may have come twice."""
        while True:
            found = self.next()
            if found["schema"] == schema and all(found[key] == value for key, value in wanted.items()):
                return found

    def close(self) -> None:
        self._connection.stop(PATIENCE_S)


class Device:
    """A device with its connection, and the line's counts as the test sets them."""

    def __init__(self, broker: MosquittoCloud, directory: Path) -> None:
        self.agent = Agent(directory, *broker.new_device())
        self.agent.wait_connected()
        self.thing = self.agent.thing
        self.listener = Listener(broker, self.thing)
        self.shift = Shift(name="early", began=100.0, ends=200.0, counts=Counts(ok=3), running=True)
        self.has_reader = threading.Event()
        self.has_reader.set()
        self.ended: list[Shift] = []
        self.news: NewsOfInspections | None = None
        self.last: Future[Any] | None = None

    def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
        # A broker that was started again keeps nothing for a reader who is not back yet.
        if not self.has_reader.is_set():
            raise JobsError(Code.NOT_CONNECTED, "the reader is away")
        self.last = self.agent.client.deliver(topic, payload)
        return self.last

    def tell(self, wanted: Wanted, **more: Any) -> NewsOfInspections:
        settings = {"per_second": 1000.0, "summary_s": 3600.0, **more}
        self.news = NewsOfInspections(
            self.thing,
            wanted,
            self,
            lambda: self.shift,
            lambda _limit: [self.shift, *self.ended],
            **settings,
        )
        self.news.start()
        return self.news

    def close(self) -> None:
        if self.news is not None:
            self.news.stop()
        self.listener.close()
        self.agent.close()


@pytest.fixture
def device(broker: MosquittoCloud, tmp_path: Path) -> Iterator[Device]:
    made = Device(broker, tmp_path)
    yield made
    made.close()


def dropped() -> float:
    """What /metrics says."""
    (line,) = re.findall(r"\nedge_agent_inspection_news_dropped_total (\S+)", metrics.exposition().decode())
    return float(line)


def part(identity: str, verdict: Verdict, **more: Any) -> InspectedFrame:
    result = ModelResult(application="app", model="unet", version="2", verdict=verdict, score=0.75, threshold=0.5)
    return InspectedFrame(id=identity, at=7.0, source="cam", verdict=verdict, results=(result,), **more)


def test_parts_that_are_not_ok_are_told_as_documented(device: Device) -> None:
    news = device.tell("ng")
    news.offer(part("1", Verdict.OK))
    news.offer(part("2", Verdict.NG))
    news.offer(part("3", Verdict.NO_RESULT, message="x" * 5000))
    first, second = device.listener.next(), device.listener.next()
    assert (
        parse(InspectionNews, first, what="news").to_json()
        == json.dumps(first, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    )
    assert (first["id"], first["verdict"], first["thing"], first["source"]) == ("2", "NG", device.thing, "cam")
    assert first["results"][0]["score"] == 0.75
    assert (second["id"], second["verdict"], len(second["message"])) == ("3", "NO_RESULT", 200)


def test_a_summary_comes_now_and_then_and_when_the_shift_ended(device: Device) -> None:
    device.tell("summary", summary_s=0.05)
    device.news.offer(part("1", Verdict.NG))  # type: ignore[union-attr]
    summary = device.listener.until("edge-agent/inspection-summary/1")
    told = parse(SummaryNews, summary, what="summary")
    assert (told.shift, told.counts, told.ended, told.dropped) == ("early", Counts(ok=3), False, 0)
    device.ended = [device.shift.model_copy(update={"counts": Counts(ok=4), "running": False})]
    device.shift = Shift(name="late", began=200.0, ends=300.0, running=True)
    last = device.listener.until("edge-agent/inspection-summary/1", ended=True)
    assert (last["shift"], last["counts"]["ok"]) == ("early", 4)
    device.listener.until("edge-agent/inspection-summary/1", shift="late", ended=False)


def test_while_the_broker_is_away_the_newest_wait_and_the_others_are_counted(
    broker: MosquittoCloud, device: Device
) -> None:
    before = dropped()
    news = device.tell("all", limit=10)
    news.offer(part("before", Verdict.OK))
    device.listener.until("edge-agent/inspection/1", id="before")
    # The reader may have it before the sender knows, and what is not known to have arrived counts as dropped.
    assert device.last is not None
    device.last.result(PATIENCE_S)
    broker.broker.kill()
    device.agent.wait_disconnected()
    started = time.monotonic()
    for number in range(1000):
        news.offer(part(f"{number:04}", Verdict.OK))
    assert time.monotonic() - started < PATIENCE_S, "nobody waits for a broker that is away"
    device.has_reader.clear()
    broker.broker.start()
    device.listener.wait(Subscribed)
    device.has_reader.set()
    device.listener.until("edge-agent/inspection/1", id="0999")
    # Beside the ten that wait one may be on its way.
    assert news._dropped in (989, 990)
    assert dropped() - before == news._dropped


def test_without_a_cloud_or_a_wish_nothing_is_kept() -> None:
    for wanted, cloud in (("off", object()), ("all", None)):
        news = NewsOfInspections("t", wanted, cloud, Shift, list)  # type: ignore[arg-type]
        news.start()
        news.offer(part("1", Verdict.NG))
        assert not news._waiting
        news.stop()
    assert "inspection-news" not in {thread.name for thread in threading.enumerate()}


def test_a_device_may_publish_there_and_listen_nowhere_else_than_to_its_own() -> None:
    statements = json.loads(policy.document("arn:aws:iot:eu-west-1:1:thing/press-1"))["Statement"]
    thing = "${iot:Connection.Thing.ThingName}"
    words = ("inspections", "heartbeat", "log", "alarm")
    topics = [f"arn:aws:iot:eu-west-1:1:topic/edge-agent/{thing}/{word}" for word in words]
    (mine,) = [statement for statement in statements if any("inspections" in arn for arn in statement["Resource"])]
    assert (mine["Action"], mine["Resource"]) == ("iot:Publish", topics)


def test_a_real_agent_tells_what_the_line_asked_and_nothing_of_a_trial(broker: MosquittoCloud, tmp_path: Path) -> None:
    thing, mqtt = broker.new_device()
    wanted = {key: value for key, value in mqtt.model_dump(mode="json").items() if value is not None}
    device = AgentDevice(tmp_path, {"device": {"thing": thing}, "mqtt": {**wanted, "inspections": "ng"}})
    listener = Listener(broker, thing)
    device.start()
    device.wait_for(lambda status: status.agent.cloud == "CONNECTED")
    with device.client() as client:
        tried = client.inspect(EncodedPicture(grey_picture(BRIGHT)), trial=True, timeout_s=PATIENCE_S)
        asked = client.inspect(EncodedPicture(grey_picture(BRIGHT)), source="plc", timeout_s=PATIENCE_S)
    assert tried.verdict is asked.verdict is Verdict.NO_RESULT, "no model is installed"
    told = parse(InspectionNews, listener.next(), what="news")
    assert (told.id, told.source, told.verdict, told.thing) == (asked.id, "plc", Verdict.NO_RESULT, thing)
    listener.close()
    assert device.stop() == 0
