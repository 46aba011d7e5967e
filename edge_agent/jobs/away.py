"""The connection of a device whose token is away: it tells so, and another one may be made later. Pure."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from edge_agent.errors import Code, JobsError
from edge_agent.jobs.happenings import Disconnected, Happening


class AwayLink:
    """Connects to nothing.

    Args:
        reason: why, for a person.
        hand_over: told of it at the start.
    """

    def __init__(self, reason: str, hand_over: Callable[[Happening], None]) -> None:
        self._reason, self._hand_over = reason, hand_over

    def start(self) -> None:
        """Tell why."""
        self._hand_over(Disconnected(f"could not connect: {self._reason}", reopen=True))

    def stop(self, timeout_s: float) -> bool:
        """Nothing is to be ended, in whatever time."""
        return timeout_s >= 0

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Nobody is asked for messages: there was no ``Connected``."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Lose it, as any connection may."""

    def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
        """Return what says that it was not delivered."""
        lost: Future[Any] = Future()
        lost.set_exception(JobsError(Code.NOT_CONNECTED, f"{topic}: {len(payload)} bytes not sent, {self._reason}"))
        return lost
