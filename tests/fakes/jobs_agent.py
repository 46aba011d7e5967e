"""A jobs client with its outbox, whose events a test waits for."""

import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.config import Mqtt
from edge_agent.jobs import Connection, Event, JobOffered, JobReported, JobsClient, Outbox
from tests.fakes.jobs_clouds import TIMEOUT_S


class Agent:
    """The device's side; ``again`` makes a restarted one on the same outbox."""

    def __init__(self, directory: Path, thing: str, settings: Mqtt) -> None:
        self.directory, self.thing, self.settings = directory, thing, settings
        self.events: list[Event] = []
        self._new: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.outbox = Outbox(directory / "outbox.db")
        self.client = JobsClient(settings, thing, self.outbox, events=self._new.put)
        self.client.start()

    def again(self) -> "Agent":
        self.close()
        return Agent(self.directory, self.thing, self.settings)

    def close(self) -> None:
        self.client.stop()
        self.outbox.close()

    def wait(self, kind: type[Any], matches: Callable[[Any], bool] = lambda _: True) -> Any:
        """Return the next event of a kind."""
        limit = time.monotonic() + TIMEOUT_S
        while True:
            event = self._new.get(timeout=max(0.0, limit - time.monotonic()))
            self.events.append(event)
            if isinstance(event, kind) and matches(event):
                return event

    def wait_connected(self) -> None:
        self.wait(Connection, lambda event: event.connected)

    def wait_disconnected(self) -> None:
        self.wait(Connection, lambda event: not event.connected)

    def finish(self, job_id: str) -> JobReported:
        """Do the whole of a job that is offered, and wait until its end is settled."""
        offered = self.wait(JobOffered)
        assert offered.job_id == job_id
        self.client.report(job_id, "IN_PROGRESS", {"step": "DOWNLOADING"}, step_timeout_minutes=15)
        self.client.report(job_id, "SUCCEEDED", {"step": "REPORTED"})
        return self.wait(JobReported)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
