"""The job service of the tests, on a real mosquitto broker: a client that answers devices' requests."""

import queue
import threading
from collections.abc import Callable
from typing import Any

from edge_agent.config import Mqtt
from edge_agent.jobs.mqtt import Connected, Disconnected, Happening, MqttConnection, Received, Subscribed
from tests.fakes.jobs_service import JobsService, Publication

FILTERS = (
    "$aws/things/+/jobs/get",
    "$aws/things/+/jobs/start-next",
    "$aws/things/+/jobs/+/get",
    "$aws/things/+/jobs/+/update",
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
            case Received(topic, payload):
                self._say(self.service.handle(topic, payload))
            case _:
                pass

    def _say(self, publications: list[Publication]) -> None:
        for publication in publications:
            if not self.lose(publication):
                self._link.publish(*publication)
