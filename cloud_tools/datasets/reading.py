"""From a folder to a data set for a kind of method: which layout lies there, and what the method may learn from."""

from collections.abc import Callable
from pathlib import Path

from cloud_tools.datasets.dataset import Dataset, DatasetError, Sample, Split
from cloud_tools.datasets.layouts.classes import CLASSES
from cloud_tools.datasets.layouts.files import folder_of, folders_in
from cloud_tools.datasets.layouts.kolektor import KOLEKTOR
from cloud_tools.datasets.layouts.layout import Found, Layout
from cloud_tools.datasets.layouts.lookout import LOOKOUT
from cloud_tools.datasets.layouts.mvtec import MVTEC
from cloud_tools.datasets.layouts.pairs import PAIRS
from cloud_tools.datasets.layouts.visa import VISA
from cloud_tools.datasets.marks import GREY
from cloud_tools.datasets.parts import with_parts
from cloud_tools.datasets.split import assign_splits, look_alikes
from edge_agent.formats import Kind

LAYOUTS = (KOLEKTOR, MVTEC, VISA, PAIRS, LOOKOUT, CLASSES)
"""The narrower ones first."""


def categories(root: Path) -> dict[str, Path]:
    """Return the categories in a folder by name: itself, or its folders that are data sets of one layout.

    Raises:
        DatasetError: there is none, or they are of different layouts.
    """
    if layout_of(folder_of(root)) is not None:
        return {root.resolve().name: root}
    found = {path.name: (path, layout) for path in folders_in(root) if (layout := layout_of(path)) is not None}
    if not found:
        raise DatasetError(f"{root}: expected {_expected()}, or folders that hold that, came {_came(root)}")
    if len({layout for _, layout in found.values()}) > 1:
        came = ", ".join(f"{name} ({layout.name})" for name, (_, layout) in found.items())
        raise DatasetError(f"{root}: expected categories of one layout, came {came}: name one of them")
    return {name: path for name, (path, _) in found.items()}


def layout_of(root: Path) -> Layout | None:
    """Return the layout of which a folder is a category."""
    return next((layout for layout in LAYOUTS if layout.lies_in(root)), None)


def own_kind(root: Path) -> Kind:
    """Return what the layout of a category is made for.

    Raises:
        DatasetError: no such layout.
    """
    return _the_layout(root).kind


def read(root: Path, kind: Kind, *, seed: int = 0, part_regex: str = "", only: str = "") -> Dataset:
    """Return the data set in a folder, in whatever known layout it lies there, for a kind of method.

    A ``split.csv`` (file, split[, part]) goes before the split that folders or manifests give,
    and what neither gives is drawn from ``seed``, whole parts at a time.

    Classification and segmentation learn from defects too: where the folders keep all of
    them for the test, as in MVTec AD, that split cannot serve, and one is drawn over everything.
    Anomaly detection learns from good parts alone: where a layout or a drawn split has defects in train,
    they help to choose the threshold instead (validation), unless a picture in train shows the same part.

    Args:
        root: the folder of one category.
        kind: of the method that will learn.
        seed: of the split where none is given.
        part_regex: its first group (or whole match) in a file's name is the part's id.
        only: regular expression that file names must match at their beginning.

    Raises:
        DatasetError: no such layout, or it cannot serve this kind; a bad ``split.csv``, a part id that is missing,
            nothing left.
    """
    found = find(root, kind, only)
    samples = _SERVE[kind](root, found, part_regex, seed)
    normal = tuple(sorted({sample.label for sample in samples if not sample.anomalous}))
    others = tuple(sorted({sample.label for sample in samples if sample.anomalous}))
    about = (found.labels_from_masks, found.loose_masks)
    return Dataset(root, (*normal, *others), normal, samples, kind is Kind.ANOMALY, *about)


def find(root: Path, kind: Kind, only: str = "") -> Found:
    """Return what the layout of a category says of its pictures, of which there is at least one.

    Args and errors as for ``read``; a name that is no UTF-8 is refused too.
    """
    found = _the_layout(root).read(root, kind, only)
    if not found.samples:
        raise DatasetError(f"{root}: no picture" + (f" whose name matches {only!r}" if only else ""))
    for name in (*(sample.file for sample, _ in found.samples), *found.loose_masks):
        _require_text(root, name)
    return found


def _require_text(root: Path, name: str) -> None:
    """Refuse a name that is no text: archives of old systems leave them, and no table or page could hold one."""
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise DatasetError(f"{root}: expected file names in UTF-8, came {name!a}: rename it") from exc


def _the_layout(root: Path) -> Layout:
    layout = layout_of(folder_of(root))
    if layout is not None:
        return layout
    several = [path.name for path in folders_in(root) if layout_of(path) is not None]
    if several:
        raise DatasetError(f"{root}: expected one category, came several: {', '.join(several)}")
    raise DatasetError(f"{root}: expected {_expected()}, came {_came(root)}")


def _classification(root: Path, found: Found, part_regex: str, seed: int) -> tuple[Sample, ...]:
    if len({sample.anomalous for sample, _ in found.samples}) == 1:
        came = sorted({sample.label for sample, _ in found.samples})
        raise DatasetError(f"{root}: expected both normal and anomalous (or named) pictures, came only {came}")
    return _with_defects(root, found, part_regex, seed)


def _segmentation(root: Path, found: Found, part_regex: str, seed: int) -> tuple[Sample, ...]:
    if all(sample.mask is None for sample, _ in found.samples):
        raise DatasetError(f"{root}: expected masks, as in images/ and masks/ or ground_truth/TYPE, there are none")
    if not any(sample.anomalous for sample, _ in found.samples):
        raise DatasetError(f"{root}: expected masks in which defects are white (above {GREY}), none marks any")
    return _with_defects(root, found, part_regex, seed)


def _with_defects(root: Path, found: Found, part_regex: str, seed: int) -> tuple[Sample, ...]:
    named = with_parts(root, found, part_regex)
    learnt = {split for sample, split in named if sample.anomalous}
    if found.good_only and Split.TRAIN not in learnt:
        free = found._replace(samples=[(sample, None) for sample, _ in found.samples])
        named = with_parts(root, free, part_regex)
    return assign_splits(named, seed=seed)


def _anomaly(root: Path, found: Found, part_regex: str, seed: int) -> tuple[Sample, ...]:
    samples = assign_splits(with_parts(root, found, part_regex), seed=seed)
    if not found.good_only:
        samples = _without_learnt_defects(samples)
    if not any(not sample.anomalous and sample.split is Split.TRAIN for sample in samples):
        raise DatasetError(f"{root}: expected good pictures to learn from (train/good, normal/), there are none")
    return samples


_SERVE: dict[Kind, Callable[[Path, Found, str, int], tuple[Sample, ...]]] = {
    Kind.CLASSIFICATION: _classification,
    Kind.SEGMENTATION: _segmentation,
    Kind.ANOMALY: _anomaly,
}


def _without_learnt_defects(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Move defects from train to validation; one whose part is learnt from goes nowhere, it would leak."""
    groups = look_alikes(samples)
    rows = list(zip(samples, groups, strict=True))
    learnt = {group for sample, group in rows if sample.split is Split.TRAIN and not sample.anomalous}
    kept = []
    for sample, group in rows:
        if not (sample.anomalous and sample.split is Split.TRAIN):
            kept.append(sample)
        elif group not in learnt:
            kept.append(sample._replace(split=Split.VALIDATION))
    return tuple(kept)


def _expected() -> str:
    return ", ".join(layout.expects for layout in sorted(LAYOUTS, key=lambda layout: layout is not CLASSES))


def _came(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())[:10]
