"""The job service of the tests, on a real mosquitto broker: a client that answers devices' requests."""

import json
import queue
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from edge_agent.config import Mqtt
from edge_agent.jobs.happenings import Connected, Disconnected, Happening, Received, Subscribed
from edge_agent.jobs.mqtt import MqttConnection
from tests.fakes.jobs_service import JobsService, Publication

FILTERS = (
    "$aws/things/+/jobs/get",
    "$aws/things/+/jobs/start-next",
    "$aws/things/+/jobs/+/get",
    "$aws/things/+/jobs/+/update",
    "$aws/things/+/shadow/update",
    "$aws/things/+/shadow/name/+/update",
    "$aws/things/+/shadow/name/+/get",
)


class JobsResponder:
    """A ``JobsService`` behind a broker; it comes back by itself when the broker does.

    What the service wants to say while the broker is away is lost, as a real notification would be.

    Args:
        settings: where the broker is and with which certificate.
    """

    def __init__(self, settings: Mqtt) -> None:
        self.service = JobsService()
        self.ready = threading.Event()
        self.lose: Callable[[Publication], bool] = lambda _: False
        """Says which messages of the service are lost on the way."""
        self.rejections: Counter[str] = Counter()
        self.shadows: dict[str, dict[str, Any]] = {}
        """What each thing's shadow reports."""
        self.named: dict[str, dict[str, Any]] = {}
        """Each thing's named shadow, both halves; these tests know one name."""
        self._inputs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._link = MqttConnection(settings, "job-service", hand_over=self._inputs.put)
        self._thread = threading.Thread(target=self._run, name="job-service", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._link.start()

    def stop(self) -> None:
        self._link.stop(10)
        self._inputs.put(None)
        self._thread.join(10)

    def operate(self, act: Callable[[JobsService], list[Publication]]) -> None:
        """Do something to the service on its own thread, tell the devices, and wait until that is sent."""
        done = threading.Event()
        self._inputs.put((act, done))
        assert done.wait(60), "the responder's thread has ended"

    def desire(self, thing: str, name: str, **desired: str | None) -> None:
        """Say what a thing is to do, as its operator does; the thing is told what that changes."""

        def act(_: JobsService) -> list[Publication]:
            self._merge(thing, {"desired": desired})
            told = json.dumps({"state": self.named[thing]["desired"]}).encode()
            return [Publication(f"$aws/things/{thing}/shadow/name/{name}/update/delta", told)]

        self.operate(act)

    def _merge(self, thing: str, state: dict[str, Any]) -> None:
        self.named[thing] = _merged(self.named.get(thing, {"desired": {}, "reported": {}}), state)

    def _answer_named(self, topic: str, payload: bytes) -> list[Publication]:
        thing = topic.split("/")[2]
        if topic.endswith("/update"):
            self._merge(thing, json.loads(payload)["state"])
            return []
        whole = {"state": self.named.get(thing, {})}
        return [Publication(f"{topic}/accepted", json.dumps(whole).encode())]

    def _run(self) -> None:
        while (happened := self._inputs.get()) is not None:
            if isinstance(happened, tuple) and callable(happened[0]):
                act, done = happened
                self._say(act(self.service))
                done.set()
            else:
                self._take(happened)

    def _take(self, happened: Happening) -> None:
        match happened:
            case Connected():
                self._link.subscribe(FILTERS)
            case Subscribed(_, fault) if not fault:
                self.ready.set()
            case Disconnected():
                self.ready.clear()
            case Received(topic, payload) if "/shadow/name/" in topic:
                self._say(self._answer_named(topic, payload))
            case Received(topic, payload) if topic.endswith("/shadow/update"):
                thing = topic.split("/")[2]
                self.shadows[thing] = _merged(self.shadows.get(thing, {}), json.loads(payload)["state"]["reported"])
            case Received(topic, payload):
                self._say(self.service.handle(topic, payload))
            case _:
                pass

    def _say(self, publications: list[Publication]) -> None:
        for publication in publications:
            if publication.topic.endswith("/rejected"):
                self.rejections[json.loads(publication.payload)["code"]] += 1
            if not self.lose(publication):
                self._link.publish(*publication)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return what AWS makes of a shadow and an update of it: objects are merged, a null takes its key out."""
    both = {key: _merged(old.get(key) or {}, value) if isinstance(value, dict) else value for key, value in new.items()}
    return {key: value for key, value in {**old, **both}.items() if value is not None}
