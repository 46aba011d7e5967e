"""``CATEGORY/Data/{Images,Masks}`` and ``split_csv/`` beside the categories, as in VisA (Zou et al. 2022)."""

import csv
import io
from pathlib import Path

from cloud_tools.datasets.dataset import DatasetError, Sample, Split
from cloud_tools.datasets.layouts.files import loose, pictures_in
from cloud_tools.datasets.layouts.layout import Found, Layout
from cloud_tools.datasets.marks import Marks
from edge_agent.formats import Kind

_NORMAL, _ANOMALY = "normal", "anomaly"
_FOLDERS = {_NORMAL: "Data/Images/Normal", _ANOMALY: "Data/Images/Anomaly"}
_MASKS = "Data/Masks/Anomaly"
_MARKS = Marks(above=0)
"""Masks number the defects: whatever is not black is one."""
_SPLITS = {Kind.ANOMALY: "1cls.csv"}
_SUPERVISED = "2cls_highshot.csv"
_WORDS = {"train": Split.TRAIN, "test": Split.TEST}


def _lies_in(root: Path) -> bool:
    return (root / _FOLDERS[_NORMAL]).is_dir()


def _read(root: Path, kind: Kind, only: str) -> Found:
    """Return pictures with the published split: of one class for anomaly detection, else of two, if it is there."""
    splits = _published(root, _SPLITS.get(kind, _SUPERVISED))
    masks = {path.stem: path for path in pictures_in(root / _MASKS)} if (root / _MASKS).is_dir() else {}
    found: list[tuple[Sample, Split | None]] = []
    for label, folder in _FOLDERS.items():
        for path in pictures_in(root / folder, only) if (root / folder).is_dir() else ():
            file, anomalous = f"{folder}/{path.name}", label == _ANOMALY
            mask = masks.get(path.stem) if anomalous else None
            found.append((Sample(file, path, label, anomalous, "", Split.TRAIN, mask, _MARKS), splits.get(file)))
    if splits:  # what the published split does not name does not take part in it
        found = [(sample, split) for sample, split in found if split is not None]
    shown = pictures_in(root / _FOLDERS[_ANOMALY]) if masks else []
    left = loose(root, masks, (path.stem for path in shown))
    return Found(found, names_repeat=True, loose_masks=tuple(left))


def _published(root: Path, name: str) -> dict[str, Split]:
    """Return the splits by file, relative to the category; none where no such split lies beside the categories."""
    path = root.resolve().parent / "split_csv" / name
    if not path.is_file():
        return {}
    try:
        lines = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
        rows = [row for row in csv.DictReader(lines) if row.get("object") == root.resolve().name]
        return {_relative(row["image"]): _WORDS[row["split"].strip().lower()] for row in rows}
    except (KeyError, AttributeError, UnicodeDecodeError, csv.Error) as exc:
        raise DatasetError(f"{path}: expected columns object, split (train or test) and image, came {exc}") from exc


def _relative(image: str) -> str:
    """Return where a picture lies in its category: the first folder is the category's."""
    return image.strip().replace("\\", "/").partition("/")[2]


VISA = Layout("VisA", Kind.ANOMALY, "Data/Images/Normal and Data/Images/Anomaly", _lies_in, _read)
