"""Tells those who look after many devices how this one is: shadow, heartbeat, alarms, lines of the log.

One thread looks now and then. What must arrive (alarms, lines) is on the disk before it is sent and stays
there until the broker has it; a heartbeat that is lost is made up for by the next one, and the shadow is
told anew on each connection.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from edge_agent.agent.alarms import Alarms, conditions
from edge_agent.agent.wellbeing import Wellbeing
from edge_agent.config import Telemetry
from edge_agent.errors import JobsError, StorageError
from edge_agent.telemetry.cloud_log import CloudLog
from edge_agent.telemetry.message_spool import LOG, Message, MessageSpool
from edge_agent.telemetry.threads import Watched

_log = logging.getLogger(__name__)

LOOK_S = 10.0
# The service takes some shadow updates a second of a device; a person needs none so often.
SHADOW_LEAST_S = 30.0
PER_SECOND = 10
PAUSE_S = 3600.0
FIRST_PAUSE_S = 60.0

_TURN_S = 1.0
_ANSWER_S = 15.0
_WAIT_S = 0.2
_JITTER = 0.1
# What MQTT 5 calls a failure: a policy of before this release does not know the topic.
_FIRST_FAILURE = 0x80
_FAILURES = 3
_DOUBLINGS = 10


class Cloud(Protocol):
    """Where messages go; ``JobsClient`` does it."""

    @property
    def connected(self) -> bool:
        """Whether it can be reached."""

    def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
        """Send a message; the result comes when the broker has it.

        Raises:
            JobsError: NOT_CONNECTED.
        """


class FleetNews:
    """The thread.

    Args:
        thing: this device.
        fleet: its fleet.
        settings: what is told, and how much.
        cloud: where to.
        spool: what waits.
        look: returns how the device is; may raise StorageError.
        shadow: tells the device shadow.
        turn_s: seconds between two turns of the thread.
        look_s: seconds between two looks.
        hold_s: how long a condition stands before it is an alarm.
    """

    def __init__(
        self,
        thing: str,
        fleet: str,
        settings: Telemetry,
        cloud: Cloud,
        spool: MessageSpool,
        look: Callable[[], Wellbeing],
        shadow: Callable[[], None],
        *,
        turn_s: float = _TURN_S,
        look_s: float = LOOK_S,
        hold_s: float = 15.0,
    ) -> None:
        self._topics = f"edge-agent/{thing}/"
        self._settings, self._cloud, self._spool = settings, cloud, spool
        self._look, self._shadow = look, shadow
        self._turn_s, self._look_s = turn_s, look_s
        self._alarms = Alarms(thing, fleet, spool.standing(), hold_s=hold_s)
        self._lines = CloudLog(thing, settings.cloud_level, settings.cloud_actions, settings.cloud_lines_per_minute)
        self._rng = random.SystemRandom()
        self._look_at = 0.0
        self._beat_at = time.monotonic() + self._rng.random() * settings.heartbeat_s
        self._told: tuple[object, ...] = ()
        self._told_at = -SHADOW_LEAST_S
        self._failures: dict[str, int] = {}
        self._paused: dict[str, float] = {}
        self._trouble = ""
        self.newest: Wellbeing | None = None
        self._thread = Watched("fleet-news", self._run)

    def standing(self) -> Mapping[str, str]:
        """Return the severities of the alarms that stand, by key."""
        return {key: alarm.detail.severity for key, alarm in self._alarms.standing.items()}

    def start(self) -> None:
        """Begin; lines of the log are heard from now on."""
        logging.getLogger().addHandler(self._lines)
        self._thread.start()

    def stop(self) -> None:
        """End; what waits stays on the disk."""
        logging.getLogger().removeHandler(self._lines)
        self._thread.stop()
        try:
            self._keep_lines()
        except StorageError as exc:
            self._complain(exc.message)
        self._spool.close()

    # below: on the thread

    def _run(self, thread: Watched) -> None:
        while not thread.stopping.is_set():
            try:
                self._turn(thread)
                self._trouble = ""
            except StorageError as exc:
                self._complain(exc.message)
            thread.wait(self._turn_s)

    def _complain(self, trouble: str) -> None:
        # A full disk is told once, not each second.
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("the cloud is not told: %s", trouble, extra={"action": "fleet_news_failed"})

    def _turn(self, thread: Watched) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + self._look_s
            self.newest = self._look()
            self._tell_alarms(self.newest, now)
            self._tell_shadow(self.newest, now)
        self._keep_lines()
        if self._settings.heartbeat_s and now >= self._beat_at and self.newest is not None:
            self._beat_at = now + self._settings.heartbeat_s * (1 - _JITTER * self._rng.random())
            self._beat(thread, self.newest)
        self._send_waiting(thread)

    def _tell_alarms(self, found: Wellbeing, now: float) -> None:
        # What is wrong is known once the agent has started.
        if found.agent.state not in ("READY", "DEGRADED"):
            return
        # Where they were switched off, those that stood are cleared: nobody else would ever do so.
        wrong = conditions(found.situation, self._alarms.standing) if self._settings.alarms else {}
        changes = self._alarms.look(wrong, found.at, now)
        if changes:
            self._spool.change(changes)
            self._alarms.took(changes)
            # What began and ended shall be seen in the shadow as well.
            self._told = ()

    def _tell_shadow(self, found: Wellbeing, now: float) -> None:
        gist, since = found.gist(), now - self._told_at
        if since >= self._settings.shadow_s or (gist != self._told and since >= SHADOW_LEAST_S):
            self._told, self._told_at = gist, now
            self._shadow()

    def _keep_lines(self) -> None:
        lines = self._lines.take()
        if not lines:
            return
        try:
            self._spool.add([Message(LOG, line.to_json()) for line in lines])
        except StorageError:
            self._lines.lost(lines)
            raise

    def _beat(self, thread: Watched, found: Wellbeing) -> None:
        if self._is_paused("heartbeat"):
            return
        told = found.heartbeat(
            alarms=len(self._alarms.standing),
            waiting=self._spool.waiting(),
            dropped=self._spool.dropped() + self._lines.suppressed,
        )
        self._deliver(thread, Message("heartbeat", told.to_json()))

    def _send_waiting(self, thread: Watched) -> None:
        paused = [word for word in list(self._paused) if self._is_paused(word)]
        if not self._cloud.connected:
            return
        for message in self._spool.oldest(max(1, int(PER_SECOND * self._turn_s)), paused):
            if thread.stopping.is_set() or not self._deliver(thread, message):
                return
            self._spool.done([message])

    def _deliver(self, thread: Watched, message: Message) -> bool:
        """Send a message; tell whether the broker has it."""
        answered = threading.Event()
        try:
            future = self._cloud.deliver(self._topics + message.word, message.payload)
        except JobsError:
            return False
        future.add_done_callback(lambda _done: answered.set())
        limit = time.monotonic() + _ANSWER_S
        while not answered.wait(_WAIT_S):
            if thread.stopping.is_set() or time.monotonic() > limit:
                return False
        trouble = _refusal(future)
        self._note(message.word, trouble)
        return not trouble

    def _note(self, word: str, trouble: str) -> None:
        """Leave a topic alone for a while that the broker does not take: some end the connection over it.

        A connection that is often lost looks the same, so without a refusal the first pauses are short.
        """
        self._failures[word] = self._failures.get(word, 0) + 1 if trouble else 0
        more = self._failures[word] - _FAILURES
        refused = trouble.startswith("refused")
        if refused or more >= 0:
            pause_s = PAUSE_S if refused else min(PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(more, _DOUBLINGS))
            self._paused[word] = time.monotonic() + pause_s
            text = "the cloud does not take %s%s (%s): its policy may be of an older release"
            _log.warning(text, self._topics, word, trouble, extra={"action": "topic_refused", "topic": word})

    def _is_paused(self, word: str) -> bool:
        if time.monotonic() < self._paused.get(word, 0.0):
            return True
        self._paused.pop(word, None)
        return False


def _refusal(done: "Future[Any]") -> str:
    """Return why the broker has not taken a message; empty when it has."""
    failure = done.exception()
    if failure is not None:
        return str(failure) or type(failure).__name__
    code = int(getattr(getattr(done.result(), "puback", None), "reason_code", 0) or 0)
    return f"refused: {code:#04x}" if code >= _FIRST_FAILURE else ""
