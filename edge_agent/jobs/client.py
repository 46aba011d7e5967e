"""The device's side of AWS IoT Jobs, put together: MQTT, session and outbox on one thread of its own."""

import logging
import queue
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, NamedTuple, Protocol

from edge_agent.config import Mqtt
from edge_agent.errors import Code, ConfigError, JobsError, StorageError, TokenError
from edge_agent.jobs.away import AwayLink
from edge_agent.jobs.effects import Effect, Ignored, Learn, Repeat, Send, Settle, Tell
from edge_agent.jobs.happenings import Connected, Disconnected, Happening, Received, Subscribed
from edge_agent.jobs.messages import (
    TERMINAL,
    Connection,
    Event,
    Identity,
    JobReported,
    JobsQueued,
    QueuedJob,
    Report,
    Reportable,
    check_report,
)
from edge_agent.jobs.outbox import Outbox
from edge_agent.jobs.reconnect import first_wait_s
from edge_agent.jobs.session import Session
from edge_agent.jobs.topics import Topics
from edge_agent.telemetry.threads import Watched

_log = logging.getLogger(__name__)

# A refused subscription is tried again after a wait of up to so long.
RESUBSCRIBE_S: Final = 30.0
# The thread shows so often that it lives; a disk or a receiver of events that holds it up for long is reported.
BEAT_S: Final = 10.0
_LEAVE_S: Final = 10.0
_NO_OTHERS: Final[Mapping[str, Callable[[bytes], None]]] = {}
SILENT_S: Final = 120.0


class Link(Protocol):
    """What the client needs of a connection; ``mqtt.MqttConnection`` is the real one."""

    def start(self) -> None:
        """Begin to connect."""

    def stop(self, timeout_s: float) -> bool:
        """Disconnect."""

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for messages."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message."""

    def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
        """Send a message; the result comes when the broker has it."""


class _Prefer(NamedTuple):
    job_id: str


class _Say(NamedTuple):
    event: Event


class _Hold(NamedTuple):
    left: "Future[bool]"


class _Use(NamedTuple):
    link: Link
    settings: Mqtt


class _Stop(NamedTuple):
    pass


_Input = Happening | Report | _Prefer | _Say | _Hold | _Use | _Stop


class JobsClient:
    """Asks for jobs, hands them over, and tells the service how they went.

    After ``JobGone`` the next job may be offered at once: the receiver ends its work on the old one first.

    Args:
        settings: where the service is and who we are.
        thing: this device's name.
        outbox: keeps reports until they are settled.
        events: told of everything that happens, on this client's own thread: it only hands over.
        connect: makes the connection, which is told where to hand over what happens.
        others: told of messages on other topics (at most two, as AWS IoT takes 8 filters at once), on this thread.
        uptime: how long ago this machine was started, seconds; a whole site may have been started with it.

    Raises:
        ConfigError: the endpoint, certificate, key or authority is missing.
    """

    def __init__(
        self,
        settings: Mqtt,
        thing: str,
        outbox: Outbox,
        *,
        events: Callable[[Event], None],
        connect: Callable[[Callable[[Happening], None]], Link] | None = None,
        others: Mapping[str, Callable[[bytes], None]] = _NO_OTHERS,
        uptime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._outbox = outbox
        self._events = events
        self._topics = Topics(thing)
        self._inputs: queue.SimpleQueue[_Input] = queue.SimpleQueue()
        self._rng = random.SystemRandom()
        self._others = others
        self._make: Callable[[Mqtt, Callable[[Happening], None]], Link] = (
            (lambda _, hand_over: connect(hand_over))
            if connect
            else (lambda settings, hand_over: _connection(settings, thing, hand_over))
        )
        self._links = 0
        self._link, self._settings = self._new_link(settings), settings
        self._reopen_at: float | None = None
        self._session, self._loaded = self._load()
        self._thread = Watched("jobs", self._run, silent_s=SILENT_S)
        self._connected = threading.Event()
        self._connection = 0
        self._subscribe_at: float | None = None
        self._first_wait_s = first_wait_s(settings.reconnect_max_s, uptime(), self._rng.random())
        self._start_at: float | None = None
        self._linked, self._stopped = False, False
        self._link_lock = threading.Lock()
        self._queued: tuple[QueuedJob, ...] = ()

    def start(self) -> None:
        """Connect, and keep connected until stopped; returns at once."""
        self._start_at = time.monotonic() + self._first_wait_s
        self._thread.start()

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Disconnect and end the thread; reports that wait stay in the outbox."""
        if not self._thread.is_alive():
            return
        with self._link_lock:
            self._start_at, self._stopped = None, True
        if self._linked and not self._link.stop(timeout_s):
            _log.warning("the connection did not end in time", extra={"action": "jobs_stop"})
        self._inputs.put(_Stop())
        if not self._thread.stop(timeout_s):
            _log.warning("the thread did not end in time", extra={"action": "jobs_stop"})

    @property
    def connected(self) -> bool:
        """Whether the service can be reached now, subscriptions included."""
        return self._connected.is_set()

    def report(
        self,
        job_id: str,
        status: Reportable,
        details: Mapping[str, str],
        *,
        step_timeout_minutes: int | None = None,
    ) -> None:
        """Keep a report, durable before this returns, and send it in its turn until it is settled.

        Details are shortened to what the service takes. A report that follows the terminal one is dropped;
        the same terminal report again only repeats the ``JobReported`` event.

        Raises:
            JobsError: (permanent) the status, details or time-out are not ones a device may report.
            StorageError: it could not be made durable.
        """
        check_report(job_id, status, details, step_timeout_minutes)
        report = self._outbox.add(job_id, status, details, step_timeout_minutes=step_timeout_minutes)
        if report is not None:
            self._inputs.put(report)
        elif status in TERMINAL:
            self._report_again(job_id, status)

    def pending_reports(self, job_id: str) -> int:
        """Return how many reports of the job wait for the service."""
        return len(self._outbox.pending(job_id))

    def settled(self, job_id: str, execution_number: int, queued_at: int) -> str | None:
        """Tell whether the service is through with the last report of an execution.

        Returns:
            Why it will never take it, in its own word; empty when it took it; None when that is open, or unknown.
        """
        seen = self._outbox.seen(job_id)
        mine = seen is not None and seen.identity == Identity(job_id, execution_number, queued_at)
        return seen.final_code if seen is not None and mine else None

    def queued(self) -> tuple[QueuedJob, ...]:
        """Return the jobs that wait behind the one in work, the oldest first."""
        return self._queued

    def prefer(self, job_id: str) -> None:
        """Take this queued job next, before older ones (a rollback that preempts)."""
        self._inputs.put(_Prefer(job_id))

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish anything else, at least once while the connection lasts.

        Raises:
            JobsError: NOT_CONNECTED; nothing was sent, and nothing is kept to be sent later.
        """
        if not self.connected:
            raise JobsError(Code.NOT_CONNECTED, f"expected a connection to publish on {topic}, there is none")
        self._link.publish(topic, payload)

    def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
        """Publish, and tell by the result when the broker has it; what it never got is the caller's to send again.

        Raises:
            JobsError: NOT_CONNECTED; nothing was sent.
        """
        if not self.connected:
            raise JobsError(Code.NOT_CONNECTED, f"expected a connection to publish on {topic}, there is none")
        return self._link.deliver(topic, payload)

    def hold(self) -> bool:
        """Disconnect until ``use``, so that another connection may have our name; return whether it is free.

        Jobs and reports go on and wait, as they do on any lost connection.
        """
        left: Future[bool] = Future()
        self._inputs.put(_Hold(left))
        try:
            return left.result(2 * _LEAVE_S)
        except FutureTimeoutError:
            return False

    def use(self, settings: Mqtt) -> None:
        """Connect with these settings from now on, after ``hold``.

        Raises:
            ConfigError: a setting is missing or its file cannot be used; still not connected.
        """
        self._inputs.put(_Use(self._new_link(settings), settings))

    def _new_link(self, settings: Mqtt) -> Link:
        self._links += 1
        number = self._links

        def hand_over(happened: Happening) -> None:
            # What the one before still has to tell would be taken for this one's.
            if number == self._links:
                self._inputs.put(happened)

        return self._make(settings, hand_over)

    def _load(self) -> tuple[Session, int]:
        reports, seen = self._outbox.pending(), self._outbox.all_seen()
        session = Session(
            self._topics,
            token=secrets.token_hex(6),
            rng=self._rng.random,
            reports=reports,
            versions={known.identity.job_id: (known.identity, known.version_number) for known in seen},
            finished=[known.identity for known in seen if known.final_status],
        )
        return session, max((report.id for report in reports), default=0)

    def _report_again(self, job_id: str, status: str) -> None:
        seen = self._outbox.seen(job_id)
        if seen is not None and seen.final_status not in (None, status):
            _log.warning(
                "the job already ended as %s; %s is dropped",
                seen.final_status,
                status,
                extra={"action": "report_dropped", "job": job_id},
            )
        if seen is not None and seen.final_status and seen.final_code is not None:
            said = JobReported(job_id, seen.final_status, not seen.final_code, seen.final_code)
            self._inputs.put(_Say(said))

    # below: on the thread

    def _run(self, thread: Watched) -> None:
        while True:
            thread.beat()
            try:
                happened = self._inputs.get(timeout=self._wait_s())
            except queue.Empty:
                happened = None
            if isinstance(happened, _Stop):
                thread.stopping.set()
                self._disconnected("stopped")
                return
            now = time.monotonic()
            effects = [] if happened is None else self._take(happened, now)
            self._carry_out([*effects, *self._due(now)], now)

    def _wait_s(self) -> float:
        all_dues = (self._session.next_due(), self._subscribe_at, self._start_at, self._reopen_at)
        dues = [due for due in all_dues if due is not None]
        return min([BEAT_S, *(max(0.0, due - time.monotonic()) for due in dues)])

    def _start_link(self, now: float) -> None:
        with self._link_lock:
            if self._start_at is not None and now >= self._start_at:
                self._start_at, self._linked = None, True
                self._link.start()

    def _due(self, now: float) -> list[Effect]:
        self._start_link(now)
        if self._reopen_at is not None and now >= self._reopen_at:
            self._reopen(now)
        if self._subscribe_at is not None and now >= self._subscribe_at:
            self._subscribe_at = None
            self._link.subscribe((*self._topics.subscriptions(), *self._others))
        return self._session.due(now)

    def _take(self, happened: _Input, now: float) -> list[Effect]:
        match happened:
            case Received(topic, payload) if topic in self._others:
                self._others[topic](payload)
            case Received(topic, payload):
                return self._session.received(topic, payload, now)
            case Report():
                return self._session.report(happened, now) if happened.id > self._loaded else []
            case Connected(number):
                self._connection = number
                self._subscribe_at = now
            case Subscribed(number, fault):
                return self._subscribed(number, fault, now)
            case Disconnected(reason, reopen):
                self._disconnected(reason)
                # The same link may say so again; on hold somebody else makes the next one.
                if reopen and self._linked and self._reopen_at is None:
                    self._reopen_at = self._some_time_after(now)
            case _:
                return self._asked(happened, now)
        return []

    def _asked(self, asked: _Input, now: float) -> list[Effect]:
        match asked:
            case _Prefer(job_id):
                return self._session.prefer(job_id, now)
            case _Say(event):
                return [Tell(event)]
            case _Hold(left):
                left.set_result(self._leave("another certificate is tried"))
            case _Use(link, settings):
                self._settings, self._reopen_at = settings, None
                self._take_up(link)
            case _:
                pass
        return []

    def _leave(self, reason: str) -> bool:
        with self._link_lock:
            linked = self._linked
            self._start_at, self._reopen_at, self._linked = None, None, False
        free = not linked or self._link.stop(_LEAVE_S)
        self._disconnected(reason)
        return free

    def _some_time_after(self, now: float) -> float:
        return now + self._rng.random() * self._settings.reconnect_max_s

    def _reopen(self, now: float) -> None:
        """Make another connection in the place of one that its token lost."""
        self._leave("the token is opened anew")
        try:
            link = self._new_link(self._settings)
        except ConfigError as exc:
            _log.warning("the token cannot be opened: %s", exc.message, extra={"action": "jobs_reopen"})
            self._reopen_at = self._some_time_after(now)
        else:
            self._take_up(link)

    def _take_up(self, link: Link) -> None:
        with self._link_lock:
            if not self._stopped:
                self._link, self._linked = link, True
                link.start()

    def _subscribed(self, number: int, fault: str, now: float) -> list[Effect]:
        if number != self._connection:
            return []
        if fault:
            _log.warning("could not subscribe: %s", fault, extra={"action": "jobs_subscribe"})
            self._subscribe_at = now + self._rng.random() * RESUBSCRIBE_S
            return []
        self._connected.set()
        _log.info("connected", extra={"action": "jobs_connected"})
        return [Tell(Connection(connected=True, reason="")), *self._session.connected(now)]

    def _disconnected(self, reason: str) -> None:
        self._session.disconnected()
        self._connection, self._subscribe_at = 0, None
        if self._connected.is_set():
            self._connected.clear()
            self._events(Connection(connected=False, reason=reason))
        _log.info("not connected: %s", reason, extra={"action": "jobs_disconnected"})

    def _carry_out(self, effects: list[Effect], now: float) -> None:
        for effect in effects:
            match effect:
                case Send(topic, payload):
                    self._link.publish(topic, payload)
                case Tell(event):
                    self._tell(event)
                case Ignored(why, detail):
                    _log.warning("ignored: %s", detail, extra={"action": "jobs_ignored", "why": why})
                case Learn() | Settle() | Repeat():
                    self._keep(effect, now)

    def _tell(self, event: Event) -> None:
        if isinstance(event, JobsQueued):
            self._queued = event.jobs
        self._events(event)

    def _keep(self, effect: Learn | Settle | Repeat, now: float) -> None:
        try:
            match effect:
                case Learn(identity, version_number):
                    self._outbox.learn(identity, version_number)
                case Settle(report, code, version_number):
                    self._outbox.settle(report, code, version_number)
                case Repeat(identity):
                    repeated = self._outbox.repeat(identity)
                    self._carry_out([] if repeated is None else self._session.report(repeated, now), now)
        except StorageError as exc:
            # A report that stays although it is settled is sent once more and found settled: no reason to end.
            _log.error("could not keep what the service said: %s", exc, extra={"action": "jobs_storage"})


def _connection(settings: Mqtt, thing: str, hand_over: Callable[[Happening], None]) -> Link:
    # Only who has a cloud pays for the import of the MQTT library.
    from edge_agent.jobs.mqtt import MqttConnection  # noqa: PLC0415

    try:
        return MqttConnection(settings, thing, hand_over=hand_over)
    except TokenError as exc:
        # Inspecting needs no cloud, and whoever took the token away may bring it back.
        return AwayLink(exc.message, hand_over)
