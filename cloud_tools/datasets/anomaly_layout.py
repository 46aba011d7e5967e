"""The layout of anomaly detection: only good parts to learn from, defects by type to judge with.

``train/good``, ``test/good``, ``test/TYPE`` and ``ground_truth/TYPE`` as in MVTec AD
(Bergmann et al. 2019); ``validation/good`` and ``validation/TYPE`` are optional.
"""

from pathlib import Path

from cloud_tools.datasets.dataset import Dataset, DatasetError, Sample, Split
from cloud_tools.datasets.layouts import NORMAL_NAMES, assigned, folder_of, pictures_in

GOOD = "good"
MASKS = "ground_truth"
_FOLDERS = {"train": Split.TRAIN, "validation": Split.VALIDATION, "test": Split.TEST}
_MASK_ENDING = "_mask"


def read_anomaly(root: Path, *, seed: int = 0, part_regex: str = "", only: str = "") -> Dataset:
    """Return ``root/{train,validation,test}/TYPE/*``; ``good`` (normal, ok) is the one class that means OK.

    The folders are the split; a ``split.csv`` (file as train/good/1.png, split[, part]) goes
    before them. Where nothing is called validation, a quarter of the good parts to learn from
    is held out for it, drawn from ``seed``: a threshold chosen on what was learnt, or on test
    pictures, would promise too much. Masks are ``ground_truth/TYPE/STEM[_mask].*``.

    Args and errors as for ``read_classification``.
    """
    found = [sample for name, split in _FOLDERS.items() for sample in _samples(folder_of(root), name, split, only)]
    if not any(not sample.anomalous and sample.split is Split.TRAIN for sample in found):
        raise DatasetError(f"{root}: expected train/good with pictures, came {_shown(root)}")
    types = sorted({sample.label for sample in found if sample.anomalous})
    samples = assigned(root, found, seed, part_regex, folders_split=True)
    return Dataset(root, (GOOD, *types), (GOOD,), samples, good_only=True)


def _samples(root: Path, name: str, split: Split, only: str) -> list[Sample]:
    if not (root / name).is_dir():
        return []
    found = []
    for folder in sorted(path for path in (root / name).iterdir() if path.is_dir()):
        anomalous = folder.name.lower() not in NORMAL_NAMES
        label = folder.name if anomalous else GOOD
        masks = _masks(root / MASKS / folder.name) if anomalous else {}
        for path in pictures_in(folder, only):
            file = f"{name}/{folder.name}/{path.name}"
            found.append(Sample(file, path, label, anomalous, "", split, masks.get(path.stem)))
    return found


def _masks(folder: Path) -> dict[str, Path]:
    """Return mask files by the stem of the picture that they belong to."""
    if not folder.is_dir():
        return {}
    return {path.stem.removesuffix(_MASK_ENDING): path for path in pictures_in(folder)}


def _shown(root: Path) -> list[str]:
    """Return what lies there, so that a folder of several categories explains itself."""
    categories = [f"{path.name}/train" for path in sorted(root.iterdir()) if (path / "train").is_dir()]
    return categories or sorted(path.name for path in root.iterdir())[:10]
