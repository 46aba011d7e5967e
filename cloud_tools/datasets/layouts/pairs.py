"""``images/`` with ``masks/`` of the same stem; white is defective."""

from collections.abc import Sequence
from pathlib import Path

from cloud_tools.datasets.dataset import Sample, Split
from cloud_tools.datasets.layouts.files import loose, pictures_in
from cloud_tools.datasets.layouts.layout import Found, Layout
from cloud_tools.datasets.marks import Marks
from cloud_tools.datasets.parallel import each
from edge_agent import vision
from edge_agent.errors import InferenceError
from edge_agent.formats import Kind


def _lies_in(root: Path) -> bool:
    return (root / "images").is_dir() and (root / "masks").is_dir()


def _read(root: Path, _kind: Kind, only: str) -> Found:
    """Return pictures of which one is anomalous if its mask is not empty; one without a mask keeps none."""
    by_stem = {path.stem: path for path in pictures_in(root / "masks")}
    pictures = [(path, by_stem.get(path.stem)) for path in pictures_in(root / "images", only)]
    left = loose(root, by_stem, (path.stem for path in pictures_in(root / "images")))
    samples = judged_by_masks([(f"images/{path.name}", path, mask, None) for path, mask in pictures])
    return Found(samples, labels_from_masks=True, loose_masks=tuple(left))


def judged_by_masks(
    pictures: Sequence[tuple[str, Path, Path | None, Split | None]],
) -> list[tuple[Sample, Split | None]]:
    """Return samples of (file, path, mask, split), anomalous where the mask is not empty."""
    marked = each(_is_marked, [mask for _, _, mask, _ in pictures])
    return [
        (Sample(file, path, "anomalous" if anomalous else "normal", anomalous, "", Split.TRAIN, mask), split)
        for (file, path, mask, split), anomalous in zip(pictures, marked, strict=True)
    ]


def _is_marked(mask: Path | None) -> bool:
    if mask is None:
        return False
    try:
        return bool(Marks().of(vision.decode(mask.read_bytes())).any())
    except (InferenceError, OSError):
        return False  # the hygiene gate reports an unreadable mask


PAIRS = Layout("images and masks", Kind.SEGMENTATION, "images/ and masks/", _lies_in, _read)
