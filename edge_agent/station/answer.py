"""What the line is told of a part; on any doubt NO RESULT. Pure."""

from typing import NamedTuple

from edge_agent.errors import Code
from edge_agent.formats import InspectedFrame, Verdict


class Answer(NamedTuple):
    """The line's answer to one look at one camera.

    Attributes:
        station: which station.
        verdict: OK, NG or NO RESULT.
        frame_name: the camera's name of the picture that the agent was asked about; empty: it was asked about none.
        frame_id: the agent's id of the inspection; empty: it answered nothing.
        milliseconds: from the picture in hand to the answer.
        message: why there is no result.
        code: the same as a word, where the agent itself did not answer.
        inspected: what the agent answered.
        part_at: when the part stood before the camera, by the loop's clock: its picture came, damaged or not, or a
            controller asked; None: there was none.
    """

    station: str
    verdict: Verdict
    frame_name: str = ""
    frame_id: str = ""
    milliseconds: float = 0.0
    message: str = ""
    code: Code | None = None
    inspected: InspectedFrame | None = None
    part_at: float | None = None


def settle(inspected: InspectedFrame, elapsed_s: float, deadline_s: float) -> tuple[Verdict, str]:
    """Return the verdict that the line may act on, and why there is none.

    An answer that came too late belongs to a part that has left. OK stands only
    where a model said so and none kept silent.

    Args:
        inspected: the agent's answer.
        elapsed_s: how long it took.
        deadline_s: how long it may take.
    """
    if elapsed_s > deadline_s:
        return Verdict.NO_RESULT, f"expected an answer within {deadline_s:g} s, it came after {elapsed_s:.3f} s"
    if inspected.verdict is not Verdict.OK:
        return inspected.verdict, inspected.message
    # One that was skipped was not asked: in a chain another application's OK stood before it.
    asked = [result for result in inspected.results if not result.skipped]
    silent = [result.application for result in asked if result.verdict is Verdict.NO_RESULT]
    if not asked or silent:
        return Verdict.NO_RESULT, f"no answer from {', '.join(silent) or 'any model'}"
    return Verdict.OK, ""
