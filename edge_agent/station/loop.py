"""One station: takes the newest picture, asks the agent, tells the line.

Time, waiting and chance arrive as arguments, so that a test needs no second of
its own. Nothing that can go wrong with a camera or the agent ends the loop.
"""

import random
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from edge_agent.config import Station
from edge_agent.errors import AgentError, CameraError, Code
from edge_agent.formats import InspectedFrame, Verdict
from edge_agent.station.answer import Answer, settle
from edge_agent.station.camera import Camera
from edge_agent.station.fresh import fresh
from edge_agent.station.shot import Content, Shot
from edge_agent.station.stream import PictureLostError

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
_UNSEEN = "expected to look at this part's picture in time, it was skipped"


class Inspect(Protocol):
    """The agent, as far as a station needs it."""

    def __call__(self, content: Content, *, source: str, frame_name: str, timeout_s: float) -> InspectedFrame:
        """Return the inspection of a JPEG or PNG, or of packed RGB.

        Raises:
            AgentError: the agent is away or did not answer in time.
        """


class State(str, Enum):
    """What a person is told of a station."""

    STARTING = "STARTING"
    WATCHING = "WATCHING"
    IDLE = "IDLE"  # the camera has no new picture
    CAMERA_AWAY = "CAMERA_AWAY"
    AGENT_AWAY = "AGENT_AWAY"


class Loop:
    """Looks at one camera until it is told to stop.

    Args:
        name: the station's name; the agent hears it as the picture's source.
        camera: where pictures come from.
        inspect: the agent.
        options: rate and deadline.
        tell: hears every answer; must not block.
        clock: seconds that only grow.
        missed: returns when parts stood before the camera, up to a moment, whose pictures nobody took.
        chance: spreads the pauses of stations that fail together.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        inspect: Inspect,
        options: Station,
        *,
        tell: Callable[[Answer], None],
        clock: Callable[[], float],
        missed: Callable[[float], Sequence[float]] = lambda _until: (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.state = State.STARTING
        self.last = Answer(name, Verdict.NO_RESULT)
        self._camera = camera
        self._inspect = inspect
        self._options = options
        self._tell = tell
        self._clock = clock
        self._missed = missed
        self._chance = chance
        self._failures = 0

    def run(self, wait: Callable[[float], bool]) -> None:
        """Look again and again.

        Args:
            wait: sleeps so many seconds at most; True ends the loop.
        """
        due = self._clock()
        while not wait(max(0.0, due - self._clock())):
            pause = self.turn()
            # Never a burst to catch up: a part that was missed has left.
            due = max(due + 1 / self._options.rate_hz, self._clock()) + pause
        self.close()

    def turn(self) -> float:
        """Look once; return the seconds to pause beyond the rate, 0 when all is well."""
        try:
            shot = self._camera.newest(min(1 / self._options.rate_hz, LONGEST_PAUSE_S))
        except PictureLostError as exc:
            # A part stood there, whatever came of its picture.
            self._tell_missed(exc.at)
            return self._away(State.CAMERA_AWAY, "", exc, exc.at)
        except CameraError as exc:
            self._tell_missed()
            return self._away(State.CAMERA_AWAY, "", exc)
        self._tell_missed(None if shot is None else shot.at)
        if shot is None:
            self.state = State.IDLE
            return 0.0
        return self._ask(shot)

    def look_now(self, began: float) -> Answer:
        """Look once for somebody who asked: at a picture taken since then, with one answer whatever happens.

        Args:
            began: when it was asked for, by the clock.
        """
        due = began + self._options.deadline_s
        # Who asks has a part before the camera, also where no picture comes of it: it counts as one without a result.
        try:
            shot = fresh(self._camera, max(0.0, due - self._clock()), self._clock)
        except CameraError as exc:
            self._away(State.CAMERA_AWAY, "", exc, began)
            return self.last
        if shot is None:
            missing = f"expected a picture that was taken since within {self._options.deadline_s:g} s, came none"
            self._away(State.CAMERA_AWAY, "", CameraError(Code.CAMERA_FAILED, missing), began)
        else:
            self._ask(shot, began)
        return self.last

    def close(self) -> None:
        """Let the camera go."""
        self._camera.close()

    def _tell_missed(self, until: float | None = None) -> None:
        """Tell of each part that passed unseen, in the order in which they came: before the one in hand."""
        for part_at in self._missed(self._clock() if until is None else until):
            self._answer(
                Answer(self.name, Verdict.NO_RESULT, message=_UNSEEN, code=Code.DEADLINE_EXCEEDED, part_at=part_at)
            )

    def _ask(self, shot: Shot, asked_at: float | None = None) -> float:
        began = self._clock()
        # A picture may have waited for the look.
        part_at = began if shot.at is None else shot.at
        # Who asked waits since then, not since the picture came.
        deadline_s = self._options.deadline_s - (0.0 if asked_at is None else began - asked_at)
        if deadline_s <= 0:
            late = f"expected a picture within {self._options.deadline_s:g} s, it came later"
            # No name: the agent was not asked about this picture, so nobody but the station can count the part.
            return self._away(State.CAMERA_AWAY, "", CameraError(Code.DEADLINE_EXCEEDED, late), part_at)
        try:
            frame = self._inspect(shot.content, source=self.name, frame_name=shot.name, timeout_s=deadline_s)
        except AgentError as exc:
            return self._away(State.AGENT_AWAY, shot.name, exc, part_at)
        elapsed_s = self._clock() - began
        verdict, message = settle(frame, elapsed_s, deadline_s)
        self.state, self._failures = State.WATCHING, 0
        code = Code.DEADLINE_EXCEEDED if elapsed_s > deadline_s else None
        self._answer(Answer(self.name, verdict, shot.name, frame.id, elapsed_s * 1000, message, code, frame, part_at))
        return 0.0

    def _away(self, state: State, frame_name: str, error: AgentError, part_at: float | None = None) -> float:
        self.state = state
        said = Answer(self.name, Verdict.NO_RESULT, frame_name, message=str(error), code=error.code, part_at=part_at)
        self._answer(said)
        # Where each picture is a part's, the gate is to hear of it before the part is there.
        longest_s = FIRST_PAUSE_S if self._options.has_input else LONGEST_PAUSE_S
        ceiling = min(longest_s, FIRST_PAUSE_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return ceiling * (0.5 + self._chance() / 2)

    def _answer(self, answer: Answer) -> None:
        self.last = answer
        self._tell(answer)
