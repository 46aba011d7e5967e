"""Tells the agent how the cameras do: each second, and at once when something changed.

Polled from the loops by a thread of its own, so that an agent that hangs keeps no camera waiting.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from edge_agent.errors import AgentError, Code
from edge_agent.formats import CameraStatus
from edge_agent.station.answer import Answer
from edge_agent.station.loop import Loop, State

EVERY_S = 1.0
LOOK_S = 0.2
_TIMEOUT_S = 2.0
# A camera that is slower than its loop has no new picture now and then.
_IDLE_AFTER_S = 2.0
_RATE_OVER_S = 5.0
_AWAY = (State.CAMERA_AWAY, State.AGENT_AWAY)


class Report(Protocol):
    """The agent, as far as reports need it."""

    def __call__(self, camera: CameraStatus, *, timeout_s: float) -> None:
        """Take a report.

        Raises:
            AgentError: the agent is away or does not take it.
        """


class _Shown(NamedTuple):
    state: State
    message: str


class Figures:
    """What is counted of one station.

    Hears its answers, in the thread of its loop; is asked for a status in another one.

    Args:
        kind: of the camera.
        clock: seconds that only grow.
        now: epoch seconds.
    """

    def __init__(
        self, kind: str, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._kind = kind
        self._clock = clock
        self._now = now
        self._frames = 0
        self._failures = 0
        self._lost = 0
        self._away: str | None = None
        self._answered_at = -_IDLE_AFTER_S
        self._marks: list[tuple[float, int]] = [(clock(), 0)]
        self._shown = _Shown(State.STARTING, "")
        self._since = now()

    def __call__(self, answer: Answer) -> None:
        """Hear one answer."""
        if answer.frame_id:
            self._frames += 1
            self._away = None
            self._answered_at = self._clock()
            return
        # A part stood there, and no picture of it was inspected.
        self._lost += answer.part_at is not None and not answer.frame_name
        if answer.code is Code.DEADLINE_EXCEEDED and not answer.frame_name:
            return
        # Which of the two is away: without a picture it is the camera.
        away = "agent" if answer.frame_name else "camera"
        self._failures += away != self._away
        self._away = away

    def status(self, loop: Loop, skipped: int) -> CameraStatus:
        """Return what is told of a station now.

        Args:
            loop: the station's.
            skipped: pictures that nobody took.
        """
        self._note(loop)
        return CameraStatus(
            id=loop.name,
            kind=self._kind,
            state=self._shown.state.value,
            message=self._shown.message,
            since=self._since,
            frames=self._frames,
            skipped=skipped,
            failures=self._failures,
            rate_hz=self._rate_hz(),
            lost=self._lost,
        )

    def _note(self, loop: Loop) -> None:
        state = loop.state
        if state is State.IDLE and self._clock() - self._answered_at < _IDLE_AFTER_S:
            state = State.WATCHING
        shown = _Shown(state, loop.last.message if state in _AWAY else "")
        if shown.state is not self._shown.state:
            self._since = self._now()
        self._shown = shown

    def _rate_hz(self) -> float:
        at = self._clock()
        if at - self._marks[-1][0] >= EVERY_S:
            self._marks = [*self._marks, (at, self._frames)]
        while len(self._marks) > 1 and at - self._marks[0][0] > _RATE_OVER_S:
            del self._marks[0]
        began, frames = self._marks[0]
        return (self._frames - frames) / (at - began) if at > began else 0.0


class Reporter:
    """Reports all stations of this process.

    Args:
        report: the agent.
        stations: each loop, its figures, and how many pictures its camera skipped.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        report: Report,
        stations: Sequence[tuple[Loop, Figures, Callable[[], int]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._stations = stations
        self._clock = clock
        self._told: dict[str, tuple[tuple[str, str, int], float]] = {}

    def run(self, wait: Callable[[float], bool]) -> None:
        """Report until ``wait``, which sleeps so many seconds at most, returns True."""
        while not wait(LOOK_S):
            self.turn()

    def turn(self) -> None:
        """Report each station that has news, or whose last report is a second old."""
        for loop, figures, skipped in self._stations:
            self._tell(figures.status(loop, skipped()))

    def _tell(self, status: CameraStatus) -> None:
        news = (status.state, status.message, status.failures)
        told, at = self._told.get(status.id, (None, 0.0))
        if told == news and self._clock() - at < EVERY_S:
            return
        # An agent that is away is the loop's matter; it hears the next report.
        with contextlib.suppress(AgentError):
            self._report(status, timeout_s=_TIMEOUT_S)
        self._told[status.id] = (news, self._clock())
