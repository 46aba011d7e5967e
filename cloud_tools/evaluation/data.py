"""The data sets under one root, as a kind of model reads them."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloud_tools.datasets import Dataset, DatasetError, read_anomaly, read_classification, read_segmentation
from edge_agent.formats import Kind

if TYPE_CHECKING:
    from cloud_tools.training.run import TrainingOptions

_READERS = {
    Kind.CLASSIFICATION: read_classification,
    Kind.SEGMENTATION: read_segmentation,
    Kind.ANOMALY: read_anomaly,
}
_SIGNS = {Kind.SEGMENTATION: "images", Kind.ANOMALY: "train"}


class Category(NamedTuple):
    """One data set of those under a root."""

    name: str
    root: Path


def categories(root: Path, kind: Kind) -> tuple[Category, ...]:
    """Return the data sets for this kind: the root itself, or its folders; under ``root/KIND`` where that is there.

    Raises:
        DatasetError: there is none.
    """
    inner = root / kind.value if (root / kind.value).is_dir() else root
    if _is_one(inner, kind):
        return (Category(root.resolve().name, inner),)
    folders = sorted(path for path in inner.iterdir() if path.is_dir()) if inner.is_dir() else []
    found = tuple(Category(path.name, path) for path in folders if _is_one(path, kind))
    if not found:
        raise DatasetError(f"{root}: expected a data set for {kind.value}, or folders of some, came neither")
    return found


def read(root: Path, kind: Kind, options: "TrainingOptions") -> Dataset:
    """Return a data set as a training with these options reads it.

    Raises:
        DatasetError: as the readers.
    """
    return _READERS[kind](root, seed=options.seed, part_regex=options.part_regex, only=options.only)


def _is_one(root: Path, kind: Kind) -> bool:
    if kind in _SIGNS:
        return (root / _SIGNS[kind]).is_dir()
    names = {path.name.lower() for path in root.iterdir() if path.is_dir()} if root.is_dir() else set()
    return bool(names & {"normal", "good", "ok"})
