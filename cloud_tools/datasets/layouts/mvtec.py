"""``train/good``, ``test/good``, ``test/TYPE`` and ``ground_truth/TYPE`` as in MVTec AD (Bergmann et al. 2019).

``validation/good`` and ``validation/TYPE`` are optional; masks are ``ground_truth/TYPE/STEM[_mask].*``.
"""

from collections.abc import Iterator
from pathlib import Path

from cloud_tools.datasets.dataset import Sample, Split
from cloud_tools.datasets.layouts.files import folders_in, is_normal, pictures_in
from cloud_tools.datasets.layouts.layout import Found, Layout
from edge_agent.formats import Kind

GOOD = "good"
MASKS = "ground_truth"
FOLDERS = {"train": Split.TRAIN, "validation": Split.VALIDATION, "test": Split.TEST}
_MASK_ENDING = "_mask"


def _lies_in(root: Path) -> bool:
    train = root / "train"
    return train.is_dir() and any(is_normal(folder.name) for folder in folders_in(train))


def _read(root: Path, _kind: Kind, only: str) -> Found:
    """Return pictures with the folders' split; ``good`` (normal, ok) is the one class that means OK."""
    there = [(name, split) for name, split in FOLDERS.items() if (root / name).is_dir()]
    found = [(sample, split) for name, split in there for sample in _samples(root, name, split, only)]
    return Found(found, names_repeat=True, good_only=True)


def _samples(root: Path, name: str, split: Split, only: str) -> Iterator[Sample]:
    for folder in folders_in(root / name):
        anomalous = not is_normal(folder.name)
        masks = _masks(root / MASKS / folder.name) if anomalous else {}
        for path in pictures_in(folder, only):
            label = folder.name if anomalous else GOOD
            file = f"{name}/{folder.name}/{path.name}"
            yield Sample(file, path, label, anomalous, "", split, masks.get(path.stem))


def _masks(folder: Path) -> dict[str, Path]:
    """Return mask files by the stem of the picture that they belong to."""
    if not folder.is_dir():
        return {}
    return {path.stem.removesuffix(_MASK_ENDING): path for path in pictures_in(folder)}


MVTEC = Layout("MVTec AD", Kind.ANOMALY, "train/good and test/", _lies_in, _read)
