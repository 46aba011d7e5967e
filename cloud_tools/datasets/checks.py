"""The single checks of the hygiene gate; each yields what it finds among pictures that can be read."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from cloud_tools.datasets.dataset import Sample, Split
from cloud_tools.datasets.finding import Finding, Level, some
from cloud_tools.datasets.looks import Look
from cloud_tools.datasets.phash import close_pairs
from cloud_tools.evaluation.metrics import auroc

BLOCKED_DISTANCE = 2
WARNED_DISTANCE = 4
BLOCKED_AUROC = 0.95
WARNED_AUROC = 0.8
WARNED_SHARE = 0.1
FEWEST_PER_CLASS = 4
_EXAMPLES = 3


class Seen(NamedTuple):
    """A sample and what a look at it told."""

    sample: Sample
    look: Look


def balance(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Tell whether each split holds enough of each class."""
    labels = {one.sample.label for one in seen}
    for split in Split:
        inside = Counter(one.sample.label for one in seen if one.sample.split is split)
        if not inside and split is Split.TEST:
            yield Finding("balance", Level.WARN, "there is no test picture: the figures will be those of validation")
            continue
        if labels - set(inside):
            missing = some(sorted(labels - set(inside)))
            yield Finding("balance", Level.BLOCK, f"{split.value} holds no picture of {missing}")
        few = [f"{n} of {label}" for label, n in inside.items() if split is Split.TRAIN and n < FEWEST_PER_CLASS]
        if few:
            yield Finding("balance", Level.BLOCK, f"train holds only {some(few)}; {FEWEST_PER_CLASS} are the least")
    counts = Counter(one.sample.label for one in seen)
    if counts and min(counts.values()) < WARNED_SHARE * sum(counts.values()):
        yield Finding("balance", Level.WARN, f"the classes are far from even: {dict(counts)}")


def good_only(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Tell whether there is enough to learn from, and something to judge with."""
    inside = {split: Counter(one.sample.anomalous for one in seen if one.sample.split is split) for split in Split}
    wrong = [one.sample.file for one in seen if one.sample.split is Split.TRAIN and one.sample.anomalous]
    if wrong:
        yield Finding("balance", Level.BLOCK, f"train holds {len(wrong)} pictures that are not good", tuple(wrong))
    for split in (Split.TRAIN, Split.VALIDATION):
        few = inside[split][False]
        if few < FEWEST_PER_CLASS:
            message = f"{split.value} holds only {few} of good; {FEWEST_PER_CLASS} are the least"
            yield Finding("balance", Level.BLOCK, message)
    if not inside[Split.TEST]:
        yield Finding("balance", Level.WARN, "there is no test picture: the figures will be those of validation")
    elif len(inside[Split.TEST]) == 1:
        word = "defective" if inside[Split.TEST][True] else "good"
        yield Finding(
            "balance", Level.WARN, f"test holds only {word} pictures: it cannot show that they are told apart"
        )


def parts(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Tell which parts stand in more than one split."""
    sides: dict[str, set[Split]] = defaultdict(set)
    for one in seen:
        sides[one.sample.part].add(one.sample.split)
    crossing = sorted(part for part, splits in sides.items() if len(splits) > 1)
    if crossing:
        files = tuple(one.sample.file for one in seen if len(sides[one.sample.part]) > 1)
        message = f"{len(crossing)} of {len(sides)} parts stand in more than one split: {some(crossing)}"
        yield Finding("parts", Level.BLOCK, message, files)


def duplicates(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Tell which pictures are there more than once, pixel by pixel."""
    same: dict[str, list[Sample]] = defaultdict(list)
    for one in seen:
        same[one.look.digest].append(one.sample)
    groups = [group for group in same.values() if len(group) > 1]
    crossing = [group for group in groups if len({sample.split for sample in group}) > 1]
    contradicting = [group for group in groups if len({sample.label for sample in group}) > 1]
    inside = [group for group in groups if len({sample.split for sample in group}) == 1]
    if crossing:
        yield _repeated("duplicates", Level.BLOCK, f"{len(crossing)} pictures stand in two splits", crossing)
    if contradicting:
        yield _repeated("labels", Level.BLOCK, "the same picture has two labels", contradicting)
    if inside:
        yield _repeated("duplicates", Level.WARN, f"{len(inside)} pictures stand twice within a split", inside)


def _repeated(check: str, level: Level, what: str, groups: Sequence[Sequence[Sample]]) -> Finding:
    named = some([_equal(group) for group in groups])
    return Finding(check, level, f"{what}: {named}", tuple(sample.file for group in groups for sample in group))


def _equal(samples: Sequence[Sample]) -> str:
    return " = ".join(sample.file for sample in samples[:_EXAMPLES])


class _Pairs:
    """Similar pairs: how many, a few in words, and all files of them, those of a pair beside each other."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[str] = []
        self.files: dict[str, None] = {}

    def add(self, one: Sample, other: Sample, bits: int) -> None:
        self.count += 1
        self.files |= {one.file: None, other.file: None}
        if len(self.examples) <= _EXAMPLES:  # one more than is shown tells that there are more
            self.examples.append(f"{_equal((one, other))} ({bits} bits)")


def near_duplicates(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Tell which pictures of two splits look the same; exact duplicates are reported on their own."""
    blocked, warned = _Pairs(), _Pairs()
    for left, right in combinations((Split.TRAIN, Split.TEST, Split.VALIDATION), 2):
        a, b = ([one for one in seen if one.sample.split is side] for side in (left, right))
        for close in close_pairs([one.look.hash for one in a], [one.look.hash for one in b], WARNED_DISTANCE):
            for i, j, bits in zip(close.left, close.right, close.bits, strict=True):
                if a[i].look.digest != b[j].look.digest:
                    pairs = blocked if bits <= BLOCKED_DISTANCE else warned
                    pairs.add(a[i].sample, b[j].sample, int(bits))
    for level, what, found in ((Level.BLOCK, "", blocked), (Level.WARN, "similar ", warned)):
        if found.count:
            message = f"{found.count} {what}pairs across splits: {some(found.examples)}"
            yield Finding("near duplicates", level, message, tuple(found.files))


def sizes(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Tell which pictures have another size than most."""
    counts = Counter((one.look.width, one.look.height) for one in seen)
    odd = [f"{w} x {h} ({n})" for (w, h), n in counts.most_common()[1:]]
    if odd:
        (width, height), _ = counts.most_common(1)[0]
        files = tuple(one.sample.file for one in seen if (one.look.width, one.look.height) != (width, height))
        yield Finding("sizes", Level.WARN, f"most pictures are {width} x {height}, others {some(odd)}", files)


def artefacts(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Tell whether something that is no defect predicts the label."""
    truth = np.array([one.sample.anomalous for one in seen], np.bool_)
    if min(truth.sum(), (~truth).sum()) < FEWEST_PER_CLASS:
        return  # so few are in some order by chance alone
    features: dict[str, list[float]] = {
        "file size": [one.look.size_bytes for one in seen],
        "height": [one.look.height for one in seen],
        "width": [one.look.width for one in seen],
        "mean brightness": [one.look.brightness for one in seen],
    }
    for name, values in features.items():
        area = auroc(truth, values)
        extreme = max(area, 1 - area) if area is not None else 0.5
        if area is not None and extreme >= WARNED_AUROC:
            level = Level.BLOCK if extreme >= BLOCKED_AUROC else Level.WARN
            yield Finding("artefact", level, f"{name} alone predicts the label: AUROC {area:.3f}")
