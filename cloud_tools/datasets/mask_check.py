"""The hygiene gate's check of masks: each fits its picture and does not contradict its label."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from cloud_tools.datasets.checks import Seen
from cloud_tools.datasets.dataset import Sample
from cloud_tools.datasets.finding import Finding, Level, some
from cloud_tools.datasets.marks import GREY
from cloud_tools.datasets.parallel import each
from edge_agent import vision
from edge_agent.errors import InferenceError
from edge_agent.vision import RGB

MASKS = "masks"


class MaskVerdict(NamedTuple):
    """What is to be said of one mask."""

    problem: str = ""
    """Why it does not fit; empty: it does."""
    grey: bool = False
    """It holds values between black and white."""


def masks(seen: Sequence[Seen], *, needed: bool) -> Iterator[Finding]:
    """Tell which masks do not fit.

    Args:
        seen: the pictures.
        needed: a good picture has a mask too, which is empty.
    """
    if all(one.sample.mask is None for one in seen):
        return
    verdicts = list(zip(seen, each(partial(mask_verdict, needed=needed), seen), strict=True))
    wrong = {one.sample.file: verdict.problem for one, verdict in verdicts if verdict.problem}
    grey = tuple(one.sample.file for one, verdict in verdicts if verdict.grey)
    if wrong:
        named = some([f"{file} ({problem})" for file, problem in wrong.items()])
        message = f"{len(wrong)} masks do not match their pictures: {named}"
        yield Finding(MASKS, Level.BLOCK, message, tuple(wrong))
    if grey:
        message = f"{len(grey)} masks hold values between black and white; above 127 is defective"
        yield Finding(MASKS, Level.WARN, message, grey)


def mask_verdict(one: Seen, *, needed: bool) -> MaskVerdict:
    """Return whether the mask of a picture fits it; ``needed`` as for ``masks``."""
    sample, look = one
    if sample.mask is None:
        return MaskVerdict("none" if needed or sample.anomalous else "")
    try:
        mask = vision.decode(sample.mask.read_bytes())
    except InferenceError as exc:
        return MaskVerdict(exc.message)
    except OSError as exc:
        return MaskVerdict(exc.strerror or "it cannot be read")
    height, width = mask.shape[:2]
    if (width, height) != (look.width, look.height):
        return MaskVerdict(f"{width} x {height}, the picture is {look.width} x {look.height}")
    return _of_marks(one.sample, mask)


def _of_marks(sample: Sample, mask: RGB) -> MaskVerdict:
    marked, unsure = bool(sample.marks.of(mask).any()), sample.marks.unsure(mask)
    if unsure and not marked:
        return MaskVerdict(f"it marks nothing, for it holds only values up to {mask.max()}: defects are above {GREY}")
    if marked != sample.anomalous:
        return MaskVerdict("it marks a defect, the picture is good" if marked else "empty, the picture is anomalous")
    return MaskVerdict(grey=unsure)
