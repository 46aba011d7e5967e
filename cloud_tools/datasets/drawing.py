"""Draws a split with given shares: whole parts, every class in every split where there are parts enough."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cloud_tools.datasets.dataset import DatasetError, Sample, Split


class Shares(NamedTuple):
    """How much of each class goes where; they add up to one."""

    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2

    def by_split(self) -> dict[Split, float]:
        """Return the shares that are above zero."""
        return {split: share for split, share in zip(Split, self, strict=True) if share > 0}


def shares_of(text: str) -> Shares:
    """Return ``60/20/20`` (train, validation, test; any unit) as shares.

    Raises:
        DatasetError: these are no three numbers, or nothing is left to learn from.
    """
    try:
        numbers = [float(word) for word in text.split("/")]
        train, validation, test = numbers
    except ValueError as exc:
        raise DatasetError(f"expected shares as 60/20/20 (train/validation/test), came {text!r}") from exc
    total = sum(numbers)
    if not (min(numbers) >= 0 and train > 0 and total < float("inf")):
        raise DatasetError(f"expected shares of at least 0 and more than 0 for train, came {text!r}")
    return Shares(train / total, validation / total, test / total)


def draw(
    samples: Sequence[Sample],
    groups: Sequence[int],
    shares: Shares,
    *,
    seed: int,
    given: Mapping[int, Split],
    good_only: bool,
) -> tuple[Sample, ...]:
    """Return the samples with a split each.

    Args:
        samples: in a stable order.
        groups: of each sample; samples of one group stay together.
        shares: how much goes where.
        seed: same seed, same split.
        given: splits that groups have already, which stay.
        good_only: nothing that holds a defect goes to train.
    """
    members: dict[int, list[Sample]] = defaultdict(list)
    for sample, group in zip(samples, groups, strict=True):
        members[group].append(sample)
    order = sorted(group for group in members if group not in given)
    random.Random(seed).shuffle(order)  # noqa: S311 - a split is no secret
    order.sort(key=lambda group: -len(members[group]))  # a large part finds its place while there is room
    placed = _Placed(shares, Counter(sample.label for sample in samples))
    splits = dict(given)
    for group, split in given.items():
        placed.add(split, members[group])
    for group in order:
        defective = good_only and any(sample.anomalous for sample in members[group])
        splits[group] = placed.neediest(members[group], without_train=defective)
        placed.add(splits[group], members[group])
    return tuple(sample._replace(split=splits[group]) for sample, group in zip(samples, groups, strict=True))


class _Placed:
    """How many of each class stand where, and which split lacks most of its share."""

    def __init__(self, shares: Shares, totals: Counter[str]) -> None:
        self._shares = shares.by_split()
        self._totals = totals
        self._counts: dict[Split, Counter[str]] = {split: Counter() for split in Split}

    def add(self, split: Split, samples: Sequence[Sample]) -> None:
        self._counts[split].update(sample.label for sample in samples)

    def neediest(self, samples: Sequence[Sample], *, without_train: bool) -> Split:
        """Return the split that has the least of what it should have of the rarest class among these."""
        rarest = min({sample.label for sample in samples}, key=lambda label: (self._totals[label], label))
        open_to = [split for split in self._shares if not (without_train and split is Split.TRAIN)]
        if not open_to:
            return Split.TEST
        return min(open_to, key=lambda s: (self._counts[s][rarest] / self._shares[s], -self._shares[s]))
