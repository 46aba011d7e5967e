"""Folders to data sets: ``normal/ anomalous/`` (or named classes) and ``images/ masks/``."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

from cloud_tools.datasets.dataset import GREY, Dataset, DatasetError, Sample, Split
from cloud_tools.datasets.split import Given, assign_splits
from edge_agent import vision
from edge_agent.errors import InferenceError

NORMAL_NAMES = ("normal", "good", "ok")
_SUFFIXES = (".png", ".jpg", ".jpeg")
_WORDS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "test": Split.TEST,
}


def read_classification(root: Path, *, seed: int = 0, part_regex: str = "", only: str = "") -> Dataset:
    """Return ``root/CLASS/*``: one of the classes is called normal, good or ok.

    Args:
        root: the folder; a ``split.csv`` (file, split[, part]) beside the classes is respected.
        seed: of the split where none is given.
        part_regex: its first group (or whole match) in a file's name is the part's id.
        only: regular expression that file names must match at their beginning.

    Raises:
        DatasetError: no such layout, a bad ``split.csv``, a part id that is missing, nothing left.
    """
    folders = sorted(p.name for p in folder_of(root).iterdir() if p.is_dir() and pictures_in(p))
    normal = tuple(name for name in folders if name.lower() in NORMAL_NAMES)
    others = tuple(name for name in folders if name not in normal)
    if not normal or not others:
        raise DatasetError(f"{root}: expected normal/ and anomalous/ (or named classes) with pictures, came {folders}")
    found = [
        Sample(f"{name}/{path.name}", path, name, name not in normal, "", Split.TRAIN)
        for name in (*normal, *others)
        for path in pictures_in(root / name, only)
    ]
    return Dataset(root, (*normal, *others), normal, _finish(root, found, seed, part_regex, only))


def read_segmentation(root: Path, *, seed: int = 0, part_regex: str = "", only: str = "") -> Dataset:
    """Return ``root/images/*`` with ``root/masks/*`` of the same stem; white is defective.

    Args and errors as for ``read_classification``. A picture without a mask keeps ``mask=None``
    (the hygiene gate reports it); a sample is anomalous if its mask is not empty.
    """
    images, masks = folder_of(root / "images"), folder_of(root / "masks")
    by_stem = {path.stem: path for path in pictures_in(masks)}
    found = []
    for path in pictures_in(images, only):
        mask = by_stem.get(path.stem)
        anomalous = mask is not None and _is_set(mask)
        label = "anomalous" if anomalous else "normal"
        found.append(Sample(f"images/{path.name}", path, label, anomalous, "", Split.TRAIN, mask))
    return Dataset(root, ("normal", "anomalous"), ("normal",), _finish(root, found, seed, part_regex, only))


def _is_set(mask: Path) -> bool:
    try:
        return bool((vision.decode(mask.read_bytes()) > GREY).any())
    except InferenceError:
        return False  # the hygiene gate reports an unreadable mask


def folder_of(path: Path) -> Path:
    """Return the folder.

    Raises:
        DatasetError: it is none.
    """
    if not path.is_dir():
        raise DatasetError(f"expected a folder {path}, there is none")
    return path


def pictures_in(folder: Path, only: str = "") -> list[Path]:
    """Return the JPEG and PNG files of a folder whose names match ``only`` at their beginning, sorted."""
    keep = _compiled(only).match
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and keep(p.name))


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as exc:
        raise DatasetError(f"expected a regular expression, came {expression!r}: {exc}") from exc


def _finish(root: Path, found: list[Sample], seed: int, part_regex: str, only: str) -> tuple[Sample, ...]:
    if not found:
        raise DatasetError(f"{root}: no picture" + (f" whose name matches {only!r}" if only else ""))
    return assigned(root, found, seed, part_regex)


def assigned(
    root: Path, found: list[Sample], seed: int, part_regex: str, *, folders_split: bool = False
) -> tuple[Sample, ...]:
    """Return the samples with their parts and splits: as ``split.csv`` says, else as drawn from ``seed``.

    Args:
        root: where ``split.csv`` may lie.
        found: the samples.
        seed: of the split where none is given.
        part_regex: its first group (or whole match) in a file's name is the part's id.
        folders_split: the samples have a split already, which only ``split.csv`` changes. File names repeat
            between such folders: what has no other part's id is a part of its own.

    Raises:
        DatasetError: a bad ``split.csv`` or expression, or a part id that is missing.
    """
    given = _read_split(root / "split.csv")
    part_of = _part_reader(part_regex)
    named = []
    for sample in found:
        row = given.get(sample.file) or (None if folders_split else given.get(sample.path.name)) or Given(None, "")
        own = sample.file if folders_split and not part_regex else part_of(sample.path.name)
        split = row.split or (sample.split if folders_split else None)
        named.append((sample._replace(part=row.part or own), split))
    return assign_splits(named, seed=seed)


def _part_reader(part_regex: str) -> Callable[[str], str]:
    if not part_regex:
        return lambda name: name
    pattern = _compiled(part_regex)

    def part(name: str) -> str:
        match = pattern.search(name)
        if match is None:
            raise DatasetError(f"expected every file name to match --part-regex {part_regex!r}, came {name}")
        return match.group(1) if pattern.groups else match.group(0)

    return part


def _read_split(path: Path) -> dict[str, Given]:
    if not path.exists():
        return {}
    with path.open(newline="") as lines:
        reader = csv.DictReader(lines)
        if "file" not in (reader.fieldnames or ()):
            raise DatasetError(f"{path}: expected a column file, came {reader.fieldnames}")
        return {row["file"].replace("\\", "/"): _given(path, row) for row in reader}


def _given(path: Path, row: dict[str, str]) -> Given:
    word = (row.get("split") or "").strip().lower()
    if word and word not in _WORDS:
        raise DatasetError(f"{path}: expected split train, validation or test, came {word!r}")
    return Given(_WORDS.get(word), (row.get("part") or "").strip())
