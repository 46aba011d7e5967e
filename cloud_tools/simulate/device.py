"""One simulated device: the agent's own talk with the job service, and a played course of each deployment.

All of it happens on the fleet's thread. What an agent keeps on disk (reports that wait, jobs that ended) is kept in
memory, since a simulated device does not restart.
"""

import random
from collections import deque
from typing import Final, Protocol

from cloud_tools.simulate.course import Behaviour, Step, plan
from cloud_tools.simulate.models import Models
from cloud_tools.simulate.tally import End, Tally
from edge_agent.errors import DocumentError
from edge_agent.formats import JobDocument, parse
from edge_agent.jobs.effects import Effect, Ignored, Learn, Repeat, Send, Tell
from edge_agent.jobs.happenings import Connected, Disconnected, Happening, Received, Subscribed
from edge_agent.jobs.messages import Event, Identity, JobGone, JobOffered, JobReported, Report, clean_details
from edge_agent.jobs.session import Session
from edge_agent.jobs.topics import Topics

# As the agent: a refused subscription is tried again after a wait of up to so long.
_RESUBSCRIBE_S: Final = 30.0


class Link(Protocol):
    """What a device needs of its connection."""

    def start(self) -> None:
        """Begin to connect."""

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for messages."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message."""


class SimulatedDevice:
    """A device as the cloud sees it.

    Args:
        thing: its name.
        link: its connection.
        behaviour: what becomes of its jobs.
        tally: told of everything.
        start_at: when it begins to connect, monotonic seconds.
    """

    def __init__(self, thing: str, link: Link, behaviour: Behaviour, tally: Tally, *, start_at: float) -> None:
        self._thing, self._link, self._behaviour, self._tally = thing, link, behaviour, tally
        self._topics = Topics(thing)
        rng = random.Random(f"{behaviour.seed}/{thing}")  # noqa: S311 - to be repeated
        self._rng = rng.random
        self._session = Session(self._topics, token=f"{rng.getrandbits(48):012x}", rng=self._rng)
        self._start_at: float | None = start_at
        self._subscribe_at: float | None = None
        self._connection = 0
        self._models = Models()
        self._job: tuple[str, JobDocument | None] = ("", None)
        self._steps: deque[Step] = deque()
        self._step_at = 0.0
        self._reports = 0
        self._known: dict[str, Identity] = {}
        self._finals: dict[Identity, Report] = {}
        self._ended: set[Identity] = set()

    def next_due(self) -> float | None:
        """Return when time alone asks for something."""
        step = self._step_at if self._steps else None
        dues = (self._session.next_due(), self._start_at, self._subscribe_at, step)
        return min((due for due in dues if due is not None), default=None)

    def due(self, now: float) -> None:
        """Do what time alone asks for."""
        if self._start_at is not None and now >= self._start_at:
            self._start_at = None
            self._link.start()
        if self._subscribe_at is not None and now >= self._subscribe_at:
            self._subscribe_at = None
            self._tally.count("subscriptions")
            self._link.subscribe(self._topics.subscriptions())
        while self._steps and now >= self._step_at:
            self._advance(now)
        self._carry_out(self._session.due(now), now)

    def take(self, happened: Happening, now: float) -> None:
        """Take in what happened on the connection."""
        match happened:
            case Received(topic, payload):
                self._tally.received(topic, payload)
                self._carry_out(self._session.received(topic, payload, now), now)
            case Connected(number):
                self._connection, self._subscribe_at = number, now
                self._tally.count("connections")
            case Subscribed(number, fault) if number == self._connection:
                self._subscribed(fault, now)
            case Disconnected(reason):
                self._disconnected(reason)
            case _:
                pass

    def _subscribed(self, fault: str, now: float) -> None:
        if fault:
            self._tally.count("unsubscribed")
            self._subscribe_at = now + self._rng() * _RESUBSCRIBE_S
            return
        self._tally.online(self._thing, whether=True)
        self._carry_out(self._session.connected(now), now)
        self._tell_shadow()

    def _disconnected(self, reason: str) -> None:
        self._session.disconnected()
        self._connection, self._subscribe_at = 0, None
        self._tally.count("refused" if reason.startswith("could not") else "lost")
        self._tally.online(self._thing, whether=False)

    def _carry_out(self, effects: list[Effect], now: float) -> None:
        for effect in effects:
            match effect:
                case Send(topic, payload):
                    self._publish(topic, payload)
                case Tell(event):
                    self._told(event, now)
                case Learn(identity, _):
                    self._known[identity.job_id] = identity
                case Repeat(identity) if identity in self._finals:
                    self._send(self._finals[identity], now)
                case Ignored(why, _):
                    self._tally.ignored(why)
                case _:
                    pass

    def _publish(self, topic: str, payload: bytes) -> None:
        self._tally.sent(topic, payload)
        self._link.publish(topic, payload)

    def _told(self, event: Event, now: float) -> None:
        match event:
            case JobOffered():
                self._tally.offered(event.job_id, self._thing, now)
                self._begin(event, now)
            case JobReported(job_id, status, accepted, code):
                self._reported(job_id, status if accepted else code, accepted=accepted, now=now)
            case JobGone(job_id, reason):
                self._reported(job_id, reason, accepted=False, now=now)
            case _:
                pass

    def _begin(self, offer: JobOffered, now: float) -> None:
        document: JobDocument | None = None
        try:
            document = parse(JobDocument, offer.document, what="job")
            steps = plan(self._behaviour, self._thing, document)
        except DocumentError as exc:
            steps = [Step(0.0, "REJECTED", "REFUSED", exc.code.value, exc.message)]
        self._job, self._steps = (offer.job_id, document), deque(steps)
        self._step_at = now + steps[0].after_s

    def _advance(self, now: float) -> None:
        step = self._steps.popleft()
        if self._steps:
            self._step_at = now + self._steps[0].after_s
        job_id, document = self._job
        details = self._models.details(document, job_id, step.state)
        if step.code:
            details |= {"code": step.code, "message": step.message}
        if step.status == "SUCCEEDED" and document is not None:
            self._models.commit(document)
        self._reports += 1
        report = Report(self._reports, job_id, step.status, clean_details(details), None, self._known.get(job_id))
        self._send(report, now)

    def _send(self, report: Report, now: float) -> None:
        if report.terminal and report.execution is not None:
            self._finals[report.execution] = report
        self._carry_out(self._session.report(report, now), now)

    def _reported(self, job_id: str, status: str, *, accepted: bool, now: float) -> None:
        # A job that was taken away is told as gone and, where its last word was on the way, as refused: one end.
        identity = self._known[job_id]
        if not accepted and identity in self._ended:
            return
        self._ended.add(identity)
        if job_id == self._job[0]:
            self._steps.clear()
        final = self._finals.get(identity)
        code = final.details.get("code", "") if final and accepted else ""
        self._tally.ended(job_id, self._thing, End(status, code, now))
        self._tell_shadow()

    def _tell_shadow(self) -> None:
        job_id, _ = self._job
        final = self._finals.get(self._known.get(job_id, Identity("", 0, 0)))
        code = final.details.get("code", "") if final else ""
        self._publish(f"$aws/things/{self._thing}/shadow/update", self._models.shadow(job_id, code))
