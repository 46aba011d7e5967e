"""Which pictures become golden samples: both verdicts, easy and hard ones, and the threshold's neighbours.

A device that computes a little differently turns a verdict near the threshold first, so the nearest
pictures on both sides are among the samples: as near as may be without the tolerance itself turning them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edge_agent.vision import RGB, encode_png

TOLERANCE = 1e-3
"""By how much a device's calibrated score may differ from the signed one, in fp32."""
INT8_TOLERANCE = 2e-2
"""The same for int8: where two kernels round apart, the score moves by steps, not by noise."""
MOST_CHOSEN = 10

_EASY_TO_HARD = (0.25, 0.5, 0.75)
_NEIGHBOURS = 2
_APART = 2.0
"""In tolerances: a neighbour of the threshold that is nearer could turn on a device that is right."""


class Candidate(NamedTuple):
    """A picture that may become a golden sample."""

    file: str
    score: float
    """Calibrated, 0..1."""
    right: bool = True
    """Its verdict is the truth; where nobody knows the truth, it is believed."""


def choose(candidates: Sequence[Candidate], threshold: float, tolerance: float = TOLERANCE) -> list[Candidate]:
    """Return at most ten of them: of each verdict three between easy and hard, and the two nearest to the threshold.

    Args:
        candidates: in any order; the choice does not depend on it.
        threshold: at or above it a score is NG.
        tolerance: that the golden samples will have.
    """
    chosen: list[Candidate] = []
    for is_ng in (False, True):
        side = sorted(
            (c for c in candidates if (c.score >= threshold) == is_ng),
            key=lambda c: (abs(c.score - threshold), c.file),
        )
        safe = [c for c in side if abs(c.score - threshold) >= _APART * tolerance]
        chosen += dict.fromkeys((*_spread(safe or side), *safe[:_NEIGHBOURS]))
    return chosen


def steady(scores: Sequence[float], threshold: float, tolerance: float) -> list[int]:
    """Return which scores the tolerance cannot turn; all of them where there is none such."""
    return [i for i, score in enumerate(scores) if abs(score - threshold) > tolerance] or list(range(len(scores)))


def write(folder: Path, chosen: Sequence[Candidate], picture: Callable[[str], RGB]) -> None:
    """Write the chosen pictures into a new folder, as PNG.

    Args:
        folder: made here.
        chosen: what ``choose`` returned.
        picture: returns the picture of a file.
    """
    folder.mkdir()
    for index, candidate in enumerate(chosen):
        (folder / f"{index}.png").write_bytes(encode_png(picture(candidate.file)))


def _spread(side: Sequence[Candidate]) -> list[Candidate]:
    right = [candidate for candidate in side if candidate.right] or list(side)
    places = _EASY_TO_HARD[: len(right)]
    return [right[int(place * (len(right) - 1))] for place in places]
