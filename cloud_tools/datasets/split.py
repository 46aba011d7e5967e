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
    a split of ours shall not be what the hygiene gate stops at.
    """
    splits = [split for _, split in samples]
    plain = [sample for sample, _ in samples]
    groups = look_alikes(plain) if {Split.TEST, Split.VALIDATION} - set(splits) else []
    if Split.TEST not in splits:
        free = [i for i, split in enumerate(splits) if split is None]
        _carve(plain, groups, splits, free, Split.TEST, TEST_SHARE, seed)
    splits = [split or Split.TRAIN for split in splits]
    if Split.VALIDATION not in splits:
        train = [i for i, split in enumerate(splits) if split is Split.TRAIN]
        _carve(plain, groups, splits, train, Split.VALIDATION, VALIDATION_SHARE, seed + 1)
    return tuple(sample._replace(split=split or Split.TRAIN) for sample, split in zip(plain, splits, strict=True))


def _carve(
    samples: Sequence[Sample],
    groups: Sequence[int],
    splits: list[Split | None],
    candidates: Sequence[int],
    target: Split,
    share: float,
    seed: int,
) -> None:
    """Move whole parts to ``target`` until each class gave its share."""
    parts: dict[int, list[int]] = defaultdict(list)
    for index in candidates:
        parts[groups[index]].append(index)
    totals = Counter(samples[index].label for index in candidates)
    moved: Counter[str] = Counter()
    names = sorted(parts)
    random.Random(seed).shuffle(names)  # noqa: S311 - a split is no secret
    for name in names:
        labels = Counter(samples[index].label for index in parts[name])
        rarest = min(labels, key=lambda label: totals[label])
        if moved[rarest] + labels[rarest] / 2 > max(1, totals[rarest] * share):
            continue
        if all(moved[label] + labels[label] < totals[label] for label in labels):
            moved.update(labels)
            for index in parts[name]:
                splits[index] = target


def look_alikes(samples: Sequence[Sample]) -> list[int]:
    """Return for each sample the index of the first of its part, or of those that look the same."""
    first: dict[str, int] = {}
    parent = [first.setdefault(sample.part, index) for index, sample in enumerate(samples)]
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
