"""Writes the sample line as a data set in both layouts, and as frames for a camera that reads a folder."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cloud_tools.datasets.dataset import Split
from cloud_tools.datasets.texture import Drawn, draw, photographs
from cloud_tools.errors import CloudError
from edge_agent.errors import Code
from edge_agent.vision import encode_jpeg, encode_png

_SHARES = {Split.TRAIN: 0.6, Split.VALIDATION: 0.2, Split.TEST: 0.2}
_FRAMES_FROM = 100_000
"""Frames are drawn with numbers that no data set reaches."""
_FRAME_QUALITY = 92
_EVERY = 3
"""Each third frame is defective."""
FEWEST = 40


class Written(NamedTuple):
    """What was written."""

    pictures: int
    anomalous: int
    bytes: int


class _Named(NamedTuple):
    name: str
    split: Split
    drawn: Drawn


def write_dataset(out: Path, *, count: int, seed: int) -> Written:
    """Write ``out/classification`` and ``out/segmentation`` with the same pictures, half of them defective.

    Raises:
        CloudError: too few pictures for three splits, or ``out`` is not empty.
    """
    if count < FEWEST:
        raise CloudError(Code.OUT_OF_RANGE, f"expected a count of at least {FEWEST}, came {count}")
    _make_empty(out)
    named = _draw_all(count, seed)
    by_class = [("anomalous" if n.drawn.defect else "normal", n) for n in named]
    for folder in ("classification/normal", "classification/anomalous", "segmentation/images", "segmentation/masks"):
        (out / folder).mkdir(parents=True)
    for label, item in by_class:
        content = encode_png(item.drawn.picture)
        (out / "classification" / label / item.name).write_bytes(content)
        (out / "segmentation" / "images" / item.name).write_bytes(content)
        (out / "segmentation" / "masks" / item.name).write_bytes(encode_png(item.drawn.mask))
    _write_split(out / "classification", [(f"{label}/{n.name}", n.split) for label, n in by_class])
    _write_split(out / "segmentation", [(n.name, n.split) for n in named])
    return Written(len(named), sum(bool(n.drawn.defect) for n in named), _size(out))


def write_frames(out: Path, *, count: int, seed: int) -> Written:
    """Write ``out/*.jpg``: parts from the unseen strip, about a third defective, and ``truth.csv``.

    Raises:
        CloudError: ``out`` is not empty.
    """
    _make_empty(out)
    photos = photographs()
    rows = []
    for index in range(count):
        drawn = draw(photos, Split.TEST, seed, _FRAMES_FROM + index, defective=index % _EVERY == _EVERY - 1)
        name = f"part-{index + 1:02d}.jpg"
        (out / name).write_bytes(encode_jpeg(drawn.picture, _FRAME_QUALITY))
        rows.append((name, "anomalous" if drawn.defect else "normal", drawn.defect, drawn.surface))
    _write_rows(out / "truth.csv", ("file", "label", "defect", "surface"), rows)
    return Written(count, sum(row[1] == "anomalous" for row in rows), _size(out))


def _draw_all(count: int, seed: int) -> list[_Named]:
    photos = photographs()
    found = []
    for split, share in _SHARES.items():
        for index in range(round(count * share / 2)):
            for defective in (False, True):
                drawn = draw(photos, split, seed, index, defective=defective)
                what = drawn.defect or "good"
                found.append(_Named(f"{split.value}-{drawn.surface}-{what}-{index:03d}.png", split, drawn))
    return found


def _make_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CloudError(Code.ALREADY_EXISTS, f"expected a new or empty folder, came {out}")
    out.mkdir(parents=True, exist_ok=True)


def _write_split(folder: Path, rows: Sequence[tuple[str, Split]]) -> None:
    _write_rows(folder / "split.csv", ("file", "split"), [(name, split.value) for name, split in rows])


def _write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
