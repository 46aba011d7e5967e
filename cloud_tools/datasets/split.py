"""Splits by part: what was photographed twice stays on one side."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from cloud_tools.datasets.dataset import Sample, Split
from cloud_tools.datasets.looks import Look, look_at
from cloud_tools.datasets.phash import close_pairs

TEST_SHARE = 0.25
VALIDATION_SHARE = 0.25
SAME_DISTANCE = 2


class Given(NamedTuple):
    """What ``split.csv`` says of a file."""

    split: Split | None
    part: str


def assign_splits(samples: Sequence[tuple[Sample, Split | None]], *, seed: int) -> tuple[Sample, ...]:
    """Return the samples with a split each, in their order.

    A given split stays. Files without one are distributed, and where nothing is called test or
    validation, a share of the rest (of train for validation) becomes it: whole parts at a time,
    stratified by class, drawn from ``seed``. Pictures that look the same count as one part here:
    a split of ours shall not be what the hygiene gate stops at. Only where so many look the same,
    as parts in a fixture may, that a class would not give half of its share, parts alone stay together,
    and the gate says what stands on two sides.
    """
    splits = [split for _, split in samples]
    plain = [sample for sample, _ in samples]
    drawn = {Split.TEST, Split.VALIDATION} - set(splits)
    groupings = (look_alikes(plain), by_part(plain)) if drawn else ()
    if Split.TEST in drawn:
        free = [i for i, split in enumerate(splits) if split is None]
        for index in _carved(plain, groupings, free, TEST_SHARE, seed):
            splits[index] = Split.TEST
    splits = [split or Split.TRAIN for split in splits]
    if Split.VALIDATION in drawn:
        train = [i for i, split in enumerate(splits) if split is Split.TRAIN]
        for index in _carved(plain, groupings, train, VALIDATION_SHARE, seed + 1):
            splits[index] = Split.VALIDATION
    return tuple(sample._replace(split=split or Split.TRAIN) for sample, split in zip(plain, splits, strict=True))


def _carved(
    samples: Sequence[Sample], groupings: Sequence[Sequence[int]], candidates: Sequence[int], share: float, seed: int
) -> list[int]:
    """Return which candidates move, by the first grouping that gives enough of each class, else by the last."""
    totals = Counter(samples[index].label for index in candidates)
    moved: list[int] = []
    for groups in groupings:
        moved = _whole_groups(samples, groups, candidates, share, seed)
        gave = Counter(samples[index].label for index in moved)
        if all(gave[label] >= total * share / 2 for label, total in totals.items() if total > 1):
            break
    return moved


def _whole_groups(
    samples: Sequence[Sample], groups: Sequence[int], candidates: Sequence[int], share: float, seed: int
) -> list[int]:
    """Return whole groups of candidates until each class gave its share."""
    parts: dict[int, list[int]] = defaultdict(list)
    for index in candidates:
        parts[groups[index]].append(index)
    totals = Counter(samples[index].label for index in candidates)
    moved: Counter[str] = Counter()
    chosen: list[int] = []
    names = sorted(parts)
    random.Random(seed).shuffle(names)  # noqa: S311 - a split is no secret
    for name in names:
        labels = Counter(samples[index].label for index in parts[name])
        rarest = min(labels, key=lambda label: totals[label])
        if moved[rarest] + labels[rarest] / 2 > max(1, totals[rarest] * share):
            continue
        if all(moved[label] + labels[label] < totals[label] for label in labels):
            moved.update(labels)
            chosen += parts[name]
    return chosen


def by_part(samples: Sequence[Sample]) -> list[int]:
    """Return for each sample the index of the first of its part."""
    first: dict[str, int] = {}
    return [first.setdefault(sample.part, index) for index, sample in enumerate(samples)]


def look_alikes(samples: Sequence[Sample]) -> list[int]:
    """Return for each sample the index of the first of its part, or of those that look the same."""
    parent = by_part(samples)
    # What cannot be read the hygiene gate reports.
    looks = [(i, look) for i, look in enumerate(look_at(s.path for s in samples)) if isinstance(look, Look)]
    same: dict[int, int] = {}
    for index, look in looks:
        _join(parent, same.setdefault(look.hash, index), index)
    hashes = list(same)
    for close in close_pairs(hashes, hashes, SAME_DISTANCE):
        for left, right in zip(close.left, close.right, strict=True):
            _join(parent, same[hashes[left]], same[hashes[right]])
    return [_root(parent, index) for index in range(len(samples))]


def _join(parent: list[int], one: int, other: int) -> None:
    low, high = sorted((_root(parent, one), _root(parent, other)))
    parent[high] = low


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
