"""The data sets under one root, as a kind of model reads them."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloud_tools import datasets
from cloud_tools.datasets import Dataset
from edge_agent.formats import Kind

if TYPE_CHECKING:
    from cloud_tools.training.run import TrainingOptions


class Category(NamedTuple):
    """One data set of those under a root."""

    name: str
    root: Path


def categories_for(root: Path, kind: Kind) -> tuple[Category, ...]:
    """Return the data sets for this kind: the root itself, or its folders.

    A product may keep one folder a kind (``root/anomaly``, ``root/segmentation`` …): then that one's.

    Raises:
        DatasetError: there is none, or they are of different layouts.
    """
    own = root / kind.value
    if not own.is_dir():
        return tuple(Category(name, path) for name, path in datasets.categories(root).items())
    found = datasets.categories(own)
    if set(found.values()) == {own}:
        return (Category(root.resolve().name, own),)
    return tuple(Category(name, path) for name, path in found.items())


def read(root: Path, kind: Kind, options: "TrainingOptions") -> Dataset:
    """Return a data set as a training with these options reads it.

    Raises:
        DatasetError: as ``datasets.read``.
    """
    return datasets.read(root, kind, seed=options.seed, part_regex=options.part_regex, only=options.only)
