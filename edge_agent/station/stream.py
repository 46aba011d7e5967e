"""What an open stream of pictures is, and how it is watched."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from edge_agent.errors import CameraError
from edge_agent.station.shot import Content

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0

# A picture that is converted only if somebody takes it.
Frame = Callable[[], Content]


class PictureLostError(CameraError):
    """One picture came damaged; the stream goes on.

    Attributes:
        at: when it came, by ``time.monotonic``; None: not told.
    """

    at: float | None = None


class StreamEnded(Exception):  # noqa: N818 - not an error
    """A recording is over, and was not to begin again."""


class Stream(Protocol):
    """An open stream of pictures. One thread uses it.

    Attributes:
        held_up_s: so long the picture that was read last may have waited on its way, beyond what each takes.
    """

    held_up_s: float

    def read(self) -> Frame | None:
        """Return the next picture; None: none came yet, within a second or so.

        Raises:
            PictureLostError: this one is damaged, the next one may be well.
            StreamEnded: there will be no other one.
            CameraError: the stream is over.
        """

    def trigger(self) -> None:
        """Have one picture taken; only streams that are triggered by software are asked for that.

        Raises:
            CameraError: the camera does not answer.
        """

    def close(self) -> None:
        """Let the device go; never raises."""


class Rules(NamedTuple):
    """How a stream is watched.

    Attributes:
        stall_s: a stream that is silent for so long is opened again.
        fresh_s: a picture older than that is nobody's business any more.
        quiet: silence is no fault: pictures come when parts do.
        asked: a picture is taken when the loop asks for one.
        latency_s: from a picture's exposure to its arrival where nothing held it up, at most.
        counted: each picture is a part's: of one that nobody took it is told when it came.
    """

    stall_s: float
    fresh_s: float
    quiet: bool = False
    asked: bool = False
    counted: bool = False
    latency_s: float = 0.0


def pause_s(failures: int, chance: float) -> float:
    """Return how long to wait before a stream is opened again.

    Args:
        failures: since the last picture, this one not counted.
        chance: of 0..1, so that cameras that failed together do not return together.
    """
    ceiling = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 16))
    return ceiling * (0.5 + chance / 2)
