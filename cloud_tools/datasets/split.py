"""Splits by part: what was photographed twice stays on one side."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cloud_tools.datasets.dataset import Sample, Split
from cloud_tools.datasets.phash import distances, phash
from edge_agent.errors import InferenceError

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
    group = [first.setdefault(sample.part, index) for index, sample in enumerate(samples)]
    hashed = [(index, value) for index, sample in enumerate(samples) if (value := _hash(sample)) is not None]
    values = [value for _, value in hashed]
    for left, right in np.argwhere(np.triu(distances(values, values) <= SAME_DISTANCE, 1)):
        one, other = group[hashed[left][0]], group[hashed[right][0]]
        if one != other:
            group = [one if number == other else number for number in group]
    return group


def _hash(sample: Sample) -> int | None:
    try:
        return phash(sample.picture())
    except InferenceError:
        return None  # the hygiene gate reports what cannot be read
