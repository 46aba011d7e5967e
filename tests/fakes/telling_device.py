"""A device that tells how it is through a real broker, as a test sets it, and whoever reads that in the cloud."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from edge_agent.agent.alarms import Situation
from edge_agent.agent.fleet_news import FleetNews
from edge_agent.agent.surroundings import Disk, Synchronisation
from edge_agent.agent.wellbeing import Wellbeing
from edge_agent.config import Telemetry
from edge_agent.formats import AgentStatus, CaptureStatus, Counts, Shift
from edge_agent.jobs.happenings import Connected, Happening, Received, Subscribed
from edge_agent.jobs.mqtt import MqttConnection
from edge_agent.telemetry.message_spool import MessageSpool
from tests.fakes.jobs_agent import Agent
from tests.fakes.jobs_clouds import MosquittoCloud

PATIENCE_S = 60.0


class Listener:
    """Whoever reads in the cloud."""

    def __init__(self, broker: MosquittoCloud, thing: str) -> None:
        self._happened: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._connection = MqttConnection(broker.new_device()[1], f"reader-{thing}", hand_over=self._happened.put)
        self._connection.start()
        self._topics = f"edge-agent/{thing}/"
        self.wait(Subscribed)

    def wait(self, kind: type[Any]) -> Any:
        while True:
            happening = self._happened.get(timeout=PATIENCE_S)
            if isinstance(happening, Connected):
                self._connection.subscribe((f"{self._topics}+",))
            if isinstance(happening, kind):
                return happening

    def next(self) -> tuple[str, dict[str, Any]]:
        """Return the last word of the next message's topic, and what it says."""
        received = self.wait(Received)
        found: dict[str, Any] = json.loads(received.payload)
        return received.topic.removeprefix(self._topics), found

    def until(self, word: str, wanted: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Return the first message on a topic that is wanted; each may have come twice."""
        while True:
            topic, found = self.next()
            if topic == word and wanted(found):
                return found

    def close(self) -> None:
        self._connection.stop(PATIENCE_S)


class TellingDevice:
    """A device with its connection, and how it is as the test sets it."""

    def __init__(self, broker: MosquittoCloud, directory: Path, settings: Telemetry, *, turn_s: float = 0.02) -> None:
        self.agent = Agent(directory, *broker.new_device())
        self.agent.wait_connected()
        self.thing, self.directory, self.settings, self.turn_s = self.agent.thing, directory, settings, turn_s
        self.listener = Listener(broker, self.thing)
        self.troubles: dict[str, str] = {}
        self.shadows = self.looks = 0
        self.cloud: Any = self.agent.client
        self.begin()

    def begin(self) -> None:
        self.spool = MessageSpool(self.directory / "telling.db", self.settings.spool_bytes)
        self.news = FleetNews(
            self.thing,
            "east",
            self.settings,
            self.cloud,
            self.spool,
            self.look,
            self.tell,
            turn_s=self.turn_s,
            look_s=0.0,
            hold_s=0.0,
        )
        self.news.start()

    def tell(self) -> None:
        self.shadows += 1

    def look(self) -> Wellbeing:
        """Return how it is; the device looks once in each turn."""
        self.looks += 1
        status = AgentStatus(version="9", thing=self.thing, uptime_s=3.0, state="READY")
        shift = Shift(name="early", counts=Counts(ok=3, ng=1), running=True)
        situation = Situation(now=time.time(), troubles=dict(self.troubles))
        room = Disk(10, 100)
        return Wellbeing(
            time.time(), status, shift, Counts(), CaptureStatus(), room, 5, "", 7, Synchronisation(), situation
        )

    def close(self) -> None:
        self.news.stop()
        self.listener.close()
        self.agent.close()


class Gate:
    """The connection, once the reader is back: a broker that was started again keeps nothing for it."""

    def __init__(self, client: Any) -> None:
        self.connected = False
        self._client = client

    def deliver(self, topic: str, payload: bytes) -> Future[Any]:
        answer: Future[Any] = self._client.deliver(topic, payload)
        return answer
