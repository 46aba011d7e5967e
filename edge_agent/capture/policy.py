"""Which inspections are captured, and why. Pure: the count and the chance are arguments."""

from typing import Literal, NamedTuple

from edge_agent.formats import InspectedFrame, Verdict

Policy = Literal["none", "ng", "all", "chosen"]
Reason = Literal["", "ng", "doubt", "band", "every", "share", "all", "far"]


class Sampling(NamedTuple):
    """What is captured beside the policy's own; each is off as it stands here.

    Attributes:
        doubt: inspections without a result.
        band: scores at most this far from their threshold, on either side.
        every: each inspection whose number is a multiple of this; 0: none.
        share: this share of all inspections, by chance, 0..1.
        far: parts that lie farther from what a model learnt than good ones did; that is known a little later.
    """

    doubt: bool = False
    band: float = 0.0
    every: int = 0
    share: float = 0.0
    far: bool = False


def reason(policy: Policy, sampling: Sampling, frame: InspectedFrame, *, number: int, chance: float) -> Reason:
    """Return the first reason to capture a frame, empty where there is none.

    A frame of which no model said anything is never captured: there is nothing to file it
    under, and a model that is away for a night would fill the spool. "none" captures nothing
    whatever the sampling; "chosen" only what the sampling wants.

    Args:
        policy: the line's.
        sampling: beside it.
        frame: what was inspected.
        number: of this inspection, from 1.
        chance: 0 <= chance < 1, drawn for this frame.
    """
    if policy == "none" or not any(result.model and result.version for result in frame.results):
        return ""
    reasons: tuple[tuple[Reason, bool], ...] = (
        ("ng", policy != "chosen" and frame.verdict is Verdict.NG),
        ("doubt", sampling.doubt and frame.verdict is Verdict.NO_RESULT),
        ("band", sampling.band > 0 and _is_close(frame, sampling.band)),
        ("every", sampling.every > 0 and number % sampling.every == 0),
        ("share", chance < sampling.share),
        ("all", policy == "all"),
    )
    return next((name for name, holds in reasons if holds), "")


def far_reason(policy: Policy, sampling: Sampling) -> Reason:
    """Return why a frame that lies far from what a model learnt is captured, empty where it is not."""
    return "far" if sampling.far and policy != "none" else ""


def urgent(verdict: Verdict) -> bool:
    """Tell whether a capture goes before others: defects are what people wait for."""
    return verdict is Verdict.NG


def _is_close(frame: InspectedFrame, band: float) -> bool:
    told = (result for result in frame.results if result.verdict is not Verdict.NO_RESULT and not result.skipped)
    return any(abs(result.score - result.threshold) <= band for result in told)
