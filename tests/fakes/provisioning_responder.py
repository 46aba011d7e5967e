"""AWS IoT's fleet provisioning on a real broker: a client that plays its topics, with a real authority behind it."""

import json
import queue
import secrets
import threading
from typing import Any

from edge_agent.config import Mqtt
from edge_agent.jobs.happenings import Connected, Happening, Received, Subscribed
from edge_agent.jobs.mqtt import MqttConnection
from tests.fakes.certificates import Authority

CREATE = "$aws/certificates/create-from-csr/json"
REGISTER = "$aws/provisioning-templates/edge-agent/provision/json"


class ProvisioningResponder:
    """Signs requests and registers things, each once.

    Args:
        settings: where the broker is and with which certificate.
        authority: signs what devices ask for.
    """

    def __init__(self, settings: Mqtt, authority: Authority) -> None:
        self.ready = threading.Event()
        self.certificates: dict[str, str] = {}
        """Made certificates by their tokens."""
        self.things: dict[str, dict[str, str]] = {}
        """Parameters of what was registered, by name."""
        self.configuration: dict[str, str] = {}
        """What the template tells of the device's settings."""
        self.refuse: dict[str, tuple[str, str]] = {}
        """Code and message by topic: what is refused."""
        self.silent: set[str] = set()
        """Topics on which the work is done, and the answer lost."""
        self._authority = authority
        self._inputs: queue.SimpleQueue[Happening | None] = queue.SimpleQueue()
        self._link = MqttConnection(settings, "provisioning-service", hand_over=self._inputs.put)
        self._thread = threading.Thread(target=self._run, name="provisioning-service", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._link.start()

    def stop(self) -> None:
        self._link.stop(10)
        self._inputs.put(None)
        self._thread.join(10)

    def _run(self) -> None:
        while (happened := self._inputs.get()) is not None:
            match happened:
                case Connected():
                    self._link.subscribe((CREATE, REGISTER))
                case Subscribed(_, fault) if not fault:
                    self.ready.set()
                case Received(topic, payload):
                    self._answer(topic, json.loads(payload))
                case _:
                    pass

    def _answer(self, topic: str, request: dict[str, Any]) -> None:
        if topic in self.refuse:
            code, message = self.refuse[topic]
            told = {"statusCode": 403, "errorCode": code, "errorMessage": message}
            self._link.publish(f"{topic}/rejected", json.dumps(told).encode())
            return
        told = self._create(request) if topic == CREATE else self._register(request)
        if topic not in self.silent:
            self._link.publish(f"{topic}/accepted", json.dumps(told).encode())

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        token = secrets.token_urlsafe(32)
        self.certificates[token] = self._authority.sign(request["certificateSigningRequest"])
        return {"certificateId": "-", "certificatePem": self.certificates[token], "certificateOwnershipToken": token}

    def _register(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["certificateOwnershipToken"] in self.certificates
        parameters = request["parameters"]
        self.things[parameters["ThingName"]] = parameters
        return {"thingName": parameters["ThingName"], "deviceConfiguration": self.configuration}
