"""Devices of a fleet: the agent's real jobs sessions on real connections, which answer as they are told."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from pathlib import Path

from cloud_tools.aws import Aws
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt as Broker
from cloud_tools.provision.fragment import Wishes
from edge_agent.config import read_settings
from edge_agent.jobs import Connection, Event, JobOffered, JobsClient, Outbox
from edge_agent.jobs.messages import Reportable

PATIENCE_S = 120
Answer = tuple[Reportable, str, str]
GOOD: Answer = ("SUCCEEDED", "", "")


class FleetDevice:
    """One thing with its certificate, connected; it answers each job at once as ``answers`` says for its operation.

    Args:
        aws: the account.
        broker: of that account.
        thing: its name.
        fleet: its thing group.
        directory: gets its identity and outbox.
    """

    def __init__(self, aws: Aws, broker: Broker, thing: str, fleet: str, directory: Path) -> None:
        self.thing = thing
        self.answers: dict[str, Answer] = {}
        self.offered: Counter[str] = Counter()
        made = provision_device(aws, thing, directory, fleet=fleet, wishes=Wishes(broker))
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._connected = threading.Event()
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._outbox = Outbox(directory / "outbox.db")
        # A machine that has long been up connects at once.
        self._client = JobsClient(
            read_settings(made.config).mqtt, thing, self._outbox, events=self._events.put, uptime=lambda: 1e6
        )
        self._thread = threading.Thread(target=self._run, name=thing)
        self._thread.start()
        self._client.start()

    def wait_connected(self) -> None:
        assert self._connected.wait(PATIENCE_S)

    def tell(self, model: str, version: str | None) -> None:
        """Tell the device shadow what runs here, in the agent's form; None: nothing of it."""
        reported = {"generation": 1, "models": {model: {"version": version} if version else None}}
        self._client.publish(
            f"$aws/things/{self.thing}/shadow/update", json.dumps({"state": {"reported": reported}}).encode()
        )

    def close(self) -> None:
        self._client.stop()
        self._events.put(None)
        self._thread.join(PATIENCE_S)
        self._outbox.close()

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            if isinstance(event, Connection) and event.connected:
                self._connected.set()
            if isinstance(event, JobOffered):
                self.offered[event.job_id] += 1
                assert self.may_answer.wait(PATIENCE_S)
                status, code, message = self.answers.get(str(event.document["operation"]), GOOD)
                self._client.report(event.job_id, status, {"step": "REPORTED", "code": code, "message": message})
