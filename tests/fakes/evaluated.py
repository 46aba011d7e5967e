"""Two small categories of planted defects, and an evaluation of them: seconds, so that every test may look at it."""

from pathlib import Path
from typing import NamedTuple

from cloud_tools.datasets import Split
from cloud_tools.datasets.texture import draw, photographs
from edge_agent.vision import encode_png

CATEGORIES = ("brick", "gravel")
BROKEN = "broken.png"
"""A file of the second category that no device can decode."""
_GOOD, _JUDGED, _SEED = 12, 5, 4


class Evaluated(NamedTuple):
    """What an evaluation left."""

    data: Path
    out: Path
    answer: dict[str, object]
    """Its last line."""


def write_categories(root: Path, *, good: int = _GOOD, judged: int = _JUDGED) -> Path:
    """Write ``root/CATEGORY/{train,test,ground_truth}``: good ones to learn from, both kinds to judge with."""
    for surface in CATEGORIES:
        _write(root / surface, "train/good", surface, Split.TRAIN, good, defective=False)
        _write(root / surface, "test/good", surface, Split.TEST, judged, defective=False)
        _write(root / surface, "test/hole", surface, Split.TEST, judged, defective=True)
    (root / CATEGORIES[1] / "test/good" / BROKEN).write_bytes(b"no picture")
    return root


def _write(root: Path, folder: str, surface: str, split: Split, count: int, *, defective: bool) -> None:
    photos = photographs()
    (root / folder).mkdir(parents=True)
    masks = root / "ground_truth/hole"
    masks.mkdir(parents=True, exist_ok=True)
    wanted = "hole" if defective else ""
    found, number = 0, 0
    while found < count:
        drawn = draw(photos, split, _SEED, number, defective=defective)
        number += 1
        if (drawn.surface, drawn.defect) != (surface, wanted):
            continue
        (root / folder / f"{found:02d}.png").write_bytes(encode_png(drawn.picture))
        if defective:
            (masks / f"{found:02d}_mask.png").write_bytes(encode_png(drawn.mask))
        found += 1
