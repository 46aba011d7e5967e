"""What is told of a graph from elsewhere: how it wants its pictures, and what its outputs mean.

A graph says none of it itself, and a wrong guess gives wrong verdicts that look like a bad model. So it
is told, and only what can be read off the graph beyond doubt may be left out.
"""

from enum import Enum
from typing import NamedTuple


class Layout(str, Enum):
    """The order of the input's dimensions."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Channels(str, Enum):
    """What the input's channels are."""

    RGB = "rgb"
    BGR = "bgr"
    GREY = "grey"


class Range(str, Enum):
    """Where a pixel of 0..255 goes before mean and standard deviation are applied."""

    BYTE = "0..255"
    UNIT = "0..1"
    SIGNED = "-1..1"

    @property
    def scale(self) -> float:
        """Return what a pixel is multiplied by."""
        return {"0..255": 1.0, "0..1": 1 / 255, "-1..1": 2 / 255}[self.value]

    @property
    def offset(self) -> float:
        """Return what is added then."""
        return -1.0 if self is Range.SIGNED else 0.0


class OutputKind(str, Enum):
    """What an output says."""

    PROBABILITIES = "probabilities"
    """[N, C] after a softmax; [N] or [N, 1] after a sigmoid: of the second class."""
    LOGITS = "logits"
    """The same before the softmax or sigmoid."""
    SCORE = "score"
    """[N] or [N, 1], greater is worse, any unit."""
    MAP = "map"
    """[N, h, w] or with one channel: logits (or a sigmoid's shares) of being defective; with several channels
    one for each class."""


class Head(NamedTuple):
    """One output of the graph and what it means."""

    output: str = ""
    """Its name; empty: the only one."""
    kind: OutputKind | None = None
    """None: to be recognised by the operator that makes it."""


class Told(NamedTuple):
    """Everything that is told of a graph."""

    range: Range | None = None
    """None: only a graph of our contract, uint8 NHWC, does without."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted after the range, for all channels or each, in the order of the graph's channels."""
    std: tuple[float, ...] = (1.0,)
    """Divided by."""
    layout: Layout | None = None
    """None: read off the input's shape."""
    channels: Channels = Channels.RGB
    size: tuple[int, int] | None = None
    """Width and height, for a graph whose input leaves them free."""
    heads: tuple[Head, ...] = (Head(),)
    """At most one of classes or a score, and one of a map."""
    labels: tuple[str, ...] = ()
    """Of the classes, in the output's order."""
    normal_labels: tuple[str, ...] = ()
    normal_channels: tuple[int, ...] = (0,)
    """Of a map of several channels: those that mean good."""
    scale: float = 1.0
    """Of a score: the calibrated score is the sigmoid of scale * raw + offset."""
    offset: float = 0.0
