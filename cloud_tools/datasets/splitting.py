"""``data split``: draws a split and writes it as ``split.csv``, or says why it would leak."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.datasets.checks import FEWEST_PER_CLASS
from cloud_tools.datasets.dataset import DatasetError, Sample, Split
from cloud_tools.datasets.drawing import Shares, draw
from cloud_tools.datasets.finding import some
from cloud_tools.datasets.parts import SPLIT_FILE, composed, read_split, with_parts
from cloud_tools.datasets.reading import find, own_kind
from cloud_tools.datasets.split import by_part, look_alikes
from cloud_tools.errors import CloudError
from edge_agent.errors import Code
from edge_agent.formats import Kind


class SplitOptions(NamedTuple):
    """How a split is drawn."""

    shares: Shares = Shares()
    seed: int = 0
    part_regex: str = ""
    kind: Kind | None = None
    """For which training; None: what the layout is made for."""
    keep: bool = False
    """What has a split keeps it; only the rest is drawn."""
    replace: bool = False
    """Forget the split that is there."""
    ignore_looks: bool = False
    """Pictures that only look the same need not stay together."""


class Plan(NamedTuple):
    """A split that is drawn and not yet written."""

    root: Path
    rows: list[tuple[str, str, str]]
    """File, split and, where somebody named it, the part."""
    told: dict[str, Any]
    """Pictures by split and class, and the number of parts."""

    def write(self) -> None:
        """Write ``split.csv``."""
        write_split(self.root / SPLIT_FILE, self.rows)


def plan_split(root: Path, options: SplitOptions) -> Plan:
    """Return a split of one category; nothing is written yet, so that several are split together or not at all.

    Raises:
        CloudError: ALREADY_EXISTS: there is a split, and nobody said what becomes of it.
        DatasetError: the split that shall stay leaks, or there are too few parts for a split without leaks.
    """
    kind = options.kind or own_kind(root)
    samples = with_parts(root, find(root, kind), options.part_regex)
    if any(split for _, split in samples) and not (options.keep or options.replace):
        where = SPLIT_FILE if (root / SPLIT_FILE).exists() else "its folders or manifests"
        message = (
            f"{root}: {where} say what is train and test: --keep keeps it and draws the rest, --replace draws anew"
        )
        raise CloudError(Code.ALREADY_EXISTS, message)
    plain = [sample for sample, _ in samples]
    groups = by_part(plain) if options.ignore_looks else look_alikes(plain)
    given = _given(plain, [split for _, split in samples], groups) if options.keep else {}
    good_only = kind is Kind.ANOMALY
    drawn = draw(plain, groups, options.shares, seed=options.seed, given=given, good_only=good_only)
    _refuse_gaps(root, drawn, options.shares, good_only=good_only)
    return Plan(root, _rows(root, drawn, options.part_regex), _told(drawn))


def _given(samples: Sequence[Sample], splits: Sequence[Split | None], groups: Sequence[int]) -> dict[int, Split]:
    """Return the split of each group that has one."""
    given: dict[int, Split] = {}
    crossing: dict[int, str] = {}
    for sample, split, group in zip(samples, splits, groups, strict=True):
        if split is not None and given.setdefault(group, split) is not split:
            crossing[group] = sample.part
    if crossing:
        named = some(sorted(crossing.values()))
        raise DatasetError(f"the split that is there leaks: {len(crossing)} parts stand on two sides: {named}")
    return given


def _refuse_gaps(root: Path, samples: Sequence[Sample], shares: Shares, *, good_only: bool) -> None:
    """Refuse a split that lacks what a training or a judgement needs of it."""
    counts = Counter((sample.label, sample.split) for sample in samples)
    labels = {sample.label: sample.anomalous for sample in samples}
    wanted = [
        (label, split)
        for label, anomalous in labels.items()
        for split in shares.by_split()
        if not (good_only and anomalous and split is Split.TRAIN)
    ]
    least = {Split.TRAIN: FEWEST_PER_CLASS}
    gaps = [
        f"{split.value} would hold {counts[label, split]} of {label}"
        for label, split in wanted
        if counts[label, split] < least.get(split, 1)
    ]
    if gaps:
        why = f"there are too few parts for a split by part in these shares: {some(gaps)}"
        hint = "Parts stay together, and pictures that look the same unless --ignore-looks is given"
        raise DatasetError(f"{root}: {why}. {hint}")


def _rows(root: Path, samples: Sequence[Sample], part_regex: str) -> list[tuple[str, str, str]]:
    named = {file for file, row in read_split(root / SPLIT_FILE).items() if row.part}
    return [
        (s.file, s.split.value, s.part if part_regex or named & {composed(s.file), composed(s.path.name)} else "")
        for s in samples
    ]


def write_split(path: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = ("file", "split", "part")) -> None:
    """Write a table whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    beside.replace(path)


def _told(samples: Sequence[Sample]) -> dict[str, Any]:
    labels = sorted({sample.label for sample in samples})
    counts = Counter((sample.label, sample.split) for sample in samples)
    return {
        "pictures": {split.value: sum(counts[label, split] for label in labels) for split in Split},
        "classes": {label: {split.value: counts[label, split] for split in Split} for label in labels},
        "parts": len({sample.part for sample in samples}),
    }
