"""A device's end of the talk for tests without threads: session and outbox, effects carried out at once."""

import random
from pathlib import Path

from edge_agent.jobs.effects import Effect, Ignored, Learn, Repeat, Send, Settle, Tell
from edge_agent.jobs.messages import Event, Reportable
from edge_agent.jobs.outbox import Outbox
from edge_agent.jobs.session import Session
from edge_agent.jobs.topics import Topics


class Device:
    """A session over a real outbox; what it sends and tells is collected.

    Args:
        path: the outbox's file; a device made anew on the same file is a restarted one.
        name: stands in the client tokens.
    """

    def __init__(self, path: Path, thing: str = "press-4", name: str = "a", seed: int = 0) -> None:
        self.outbox = Outbox(path)
        seen = self.outbox.all_seen()
        self.session = Session(
            Topics(thing),
            token=name,
            rng=random.Random(seed).random,
            reports=self.outbox.pending(),
            versions={known.identity.job_id: (known.identity, known.version_number) for known in seen},
            finished=[known.identity for known in seen if known.final_status],
        )
        self.now = 0.0
        self.sent: list[Send] = []
        self.told: list[Event] = []
        self.ignored: list[Ignored] = []

    def connect(self) -> None:
        self._carry_out(self.session.connected(self.now))

    def disconnect(self) -> None:
        self.session.disconnected()

    def receive(self, topic: str, payload: bytes) -> None:
        self._carry_out(self.session.received(topic, payload, self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._carry_out(self.session.due(self.now))

    def prefer(self, job_id: str) -> None:
        self._carry_out(self.session.prefer(job_id, self.now))

    def report(self, job_id: str, status: Reportable, step_timeout_minutes: int | None = None, **details: str) -> None:
        report = self.outbox.add(job_id, status, details, step_timeout_minutes=step_timeout_minutes)
        if report is not None:
            self._carry_out(self.session.report(report, self.now))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.sent.append(effect)
                case Tell(event):
                    self.told.append(event)
                case Ignored():
                    self.ignored.append(effect)
                case Learn(identity, version_number):
                    self.outbox.learn(identity, version_number)
                case Settle(report, code, version_number):
                    self.outbox.settle(report, code, version_number)
                case Repeat(identity):
                    repeated = self.outbox.repeat(identity)
                    if repeated is not None:
                        self._carry_out(self.session.report(repeated, self.now))
