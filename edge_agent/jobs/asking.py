"""One question at a time over a connection of its own: for who has no identity yet, or tries a new one."""

import queue
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, NamedTuple, TypeVar

from typing_extensions import Self

from edge_agent.config import Mqtt
from edge_agent.errors import Code, JobsError
from edge_agent.jobs.happenings import Connected, Disconnected, Happening, Received, Subscribed
from edge_agent.jobs.topics import Topics

_STOP_S: Final = 10.0
_Kind = TypeVar("_Kind", Received, Subscribed)
_ACCEPTED, _REJECTED = "/accepted", "/rejected"


def prove(settings: Mqtt, thing: str, timeout_s: float) -> None:
    """Connect as ``thing`` and listen on its job topics: whoever may do that works.

    Raises:
        ConfigError, JobsError: as ``Asking``; UPDATE_REJECTED, it may not listen.
    """
    with Asking(settings, thing, timeout_s) as device:
        device.subscribe(*Topics(thing).subscriptions())


class Answer(NamedTuple):
    """What came, and whether it was agreed to."""

    accepted: bool
    payload: bytes


class Asking(AbstractContextManager["Asking"]):
    """A connection that is there while the block runs.

    Args:
        settings: endpoint, certificate, key and authority.
        client_id: who we are to the broker.
        timeout_s: for the connection, and for each answer.

    Raises:
        ConfigError: a setting is missing or its file cannot be used.
        JobsError: NOT_CONNECTED, with the last reason.
    """

    def __init__(self, settings: Mqtt, client_id: str, timeout_s: float) -> None:
        # Only who asks pays for the import of the MQTT library.
        from edge_agent.jobs.mqtt import MqttConnection  # noqa: PLC0415

        self._happened: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._timeout_s = timeout_s
        self._where = f"{settings.endpoint}:{settings.port}"
        self._link = MqttConnection(settings, client_id, hand_over=self._happened.put)

    def __enter__(self) -> Self:
        self._link.start()
        limit, reason = time.monotonic() + self._timeout_s, "it does not answer"
        # A certificate that was only just activated is refused for a moment, so a refusal is no end.
        while (happened := self._next(limit)) is not None:
            if isinstance(happened, Connected):
                return self
            if isinstance(happened, Disconnected):
                reason = happened.reason
        self._link.stop(_STOP_S)
        raise JobsError(
            Code.NOT_CONNECTED, f"{self._where}: expected a connection within {self._timeout_s:g} s, {reason}"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.stop(_STOP_S)

    def subscribe(self, *filters: str) -> None:
        """Ask for messages, and wait until the broker agreed.

        Raises:
            JobsError: NOT_CONNECTED, UPDATE_REJECTED (it did not agree), DEADLINE_EXCEEDED.
        """
        self._link.subscribe(filters)
        happened = self._wait(Subscribed, filters[0])
        if happened.fault:
            raise JobsError(Code.UPDATE_REJECTED, f"{filters[0]}: {happened.fault}", permanent=True)

    def ask(self, topic: str, payload: bytes) -> Answer:
        """Publish a request and return what comes on its topic's ``/accepted`` or ``/rejected``.

        Raises:
            JobsError: as ``subscribe``.
        """
        self.subscribe(topic + _ACCEPTED, topic + _REJECTED)
        self._link.publish(topic, payload)
        while True:
            happened = self._wait(Received, topic)
            if happened.topic in (topic + _ACCEPTED, topic + _REJECTED):
                return Answer(happened.topic.endswith(_ACCEPTED), happened.payload)

    def _wait(self, kind: type[_Kind], what: str) -> _Kind:
        limit = time.monotonic() + self._timeout_s
        while (happened := self._next(limit)) is not None:
            if isinstance(happened, Disconnected):
                raise JobsError(Code.NOT_CONNECTED, f"{self._where}: {what}: {happened.reason}")
            if isinstance(happened, kind):
                return happened
        raise JobsError(Code.DEADLINE_EXCEEDED, f"{what}: expected an answer within {self._timeout_s:g} s, none came")

    def _next(self, limit: float) -> Happening | None:
        try:
            return self._happened.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            return None
