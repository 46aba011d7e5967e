"""What a layout is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cloud_tools.datasets.dataset import Sample, Split
from edge_agent.formats import Kind


class Found(NamedTuple):
    """What a layout says of the pictures in a folder."""

    samples: Sequence[tuple[Sample, Split | None]]
    """Each with the split that the layout gives; the samples' own split and part say nothing yet."""
    names_repeat: bool = False
    """Files of one name in two folders are no one part, and ``split.csv`` must name them with their folders."""
    labels_from_masks: bool = False
    """A picture is anomalous if its mask is not empty."""
    loose_masks: tuple[str, ...] = ()
    """Masks that belong to no picture, relative to the root."""
    good_only: bool = False
    """The layout is that of anomaly detection: a defect in train is a fault of the data."""


class Layout(NamedTuple):
    """One way to lay pictures out."""

    name: str
    kind: Kind
    """What it is made for."""
    expects: str
    """What lies in such a folder, for messages."""
    lies_in: Callable[[Path], bool]
    """Tells whether a folder is one category of this layout."""
    read: Callable[[Path, Kind, str], Found]
    """Reads a category for a kind of method; files whose names match the last argument at their beginning."""
