"""The hygiene gate: what would make every figure of a training worthless.

Each check returns findings; a finding that blocks stops a training unless somebody
overrides it with a reason, which the report then shows.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from cloud_tools.datasets.dataset import Dataset, Sample, Split
from cloud_tools.datasets.phash import distances, phash
from cloud_tools.evaluation.metrics import auroc
from edge_agent import vision
from edge_agent.errors import InferenceError

UNREADABLE = "unreadable"
BLOCKED_DISTANCE = 2
WARNED_DISTANCE = 4
BLOCKED_AUROC = 0.95
WARNED_AUROC = 0.8
WARNED_SHARE = 0.1
FEWEST_PER_CLASS = 4
_SHOWN = 3


class Level(str, Enum):
    """What a finding means for a training."""

    WARN = "warn"
    BLOCK = "block"


class Finding(NamedTuple):
    """One thing that is wrong, with examples."""

    check: str
    level: Level
    message: str
    files: tuple[str, ...] = ()
    """The pictures that it concerns, where it concerns some."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"check": self.check, "level": self.level.value, "message": self.message, "files": list(self.files)}


class _Look(NamedTuple):
    """What one reading of a picture tells."""

    sample: Sample
    digest: str
    hash: int
    width: int
    height: int
    brightness: float
    size_bytes: int


def inspect_dataset(dataset: Dataset) -> tuple[Finding, ...]:
    """Return everything that the gate finds; each picture is read once."""
    looks: list[_Look] = []
    unreadable: list[str] = []
    for sample in dataset.samples:
        try:
            looks.append(_look(sample))
        except InferenceError as exc:  # noqa: PERF203 - one bad file must not hide the others
            unreadable.append(f"{sample.file} ({exc.message})")
    findings = list(_unreadable(unreadable))
    balance = _good_only if dataset.good_only else _balance
    for check in (balance, _parts, _duplicates, _near_duplicates, _sizes, _artefacts):
        findings.extend(check(looks))
    findings.extend(_masks(looks, needed=dataset.labels_from_masks))
    return tuple(findings)


def _look(sample: Sample) -> _Look:
    content = sample.content()
    picture = vision.decode(content)
    height, width = picture.shape[:2]
    digest = hashlib.sha256(picture.tobytes() + f"{width}x{height}".encode()).hexdigest()
    return _Look(sample, digest, phash(picture), width, height, float(picture.mean()), len(content))


def _unreadable(files: list[str]) -> Iterator[Finding]:
    if files:
        yield Finding(UNREADABLE, Level.BLOCK, f"{len(files)} pictures cannot be decoded: {_some(files)}")


def _balance(looks: list[_Look]) -> Iterator[Finding]:
    for split in Split:
        inside = Counter(look.sample.label for look in looks if look.sample.split is split)
        if not inside and split is Split.TEST:
            yield Finding("balance", Level.WARN, "there is no test picture: the figures will be those of validation")
            continue
        missing = {look.sample.label for look in looks} - set(inside)
        if missing:
            yield Finding("balance", Level.BLOCK, f"{split.value} holds no picture of {_some(sorted(missing))}")
        few = [f"{n} of {label}" for label, n in inside.items() if split is Split.TRAIN and n < FEWEST_PER_CLASS]
        if few:
            yield Finding("balance", Level.BLOCK, f"train holds only {_some(few)}; {FEWEST_PER_CLASS} are the least")
    counts = Counter(look.sample.label for look in looks)
    if counts and min(counts.values()) < WARNED_SHARE * sum(counts.values()):
        yield Finding("balance", Level.WARN, f"the classes are far from even: {dict(counts)}")


def _good_only(looks: list[_Look]) -> Iterator[Finding]:
    """Tell whether there is enough to learn from, and something to judge with."""
    inside = {split: Counter(look.sample.anomalous for look in looks if look.sample.split is split) for split in Split}
    if inside[Split.TRAIN][True]:
        yield Finding("balance", Level.BLOCK, f"train holds {inside[Split.TRAIN][True]} pictures that are not good")
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


def _parts(looks: list[_Look]) -> Iterator[Finding]:
    sides: dict[str, set[Split]] = defaultdict(set)
    for look in looks:
        sides[look.sample.part].add(look.sample.split)
    crossing = sorted(part for part, splits in sides.items() if len(splits) > 1)
    if crossing:
        message = f"{len(crossing)} of {len(sides)} parts stand in more than one split: {_some(crossing)}"
        yield Finding("parts", Level.BLOCK, message)


def _duplicates(looks: list[_Look]) -> Iterator[Finding]:
    same: dict[str, list[Sample]] = defaultdict(list)
    for look in looks:
        same[look.digest].append(look.sample)
    groups = [group for group in same.values() if len(group) > 1]
    crossing = [_names(g) for g in groups if len({sample.split for sample in g}) > 1]
    contradicting = [_names(g) for g in groups if len({sample.label for sample in g}) > 1]
    inside = len(groups) - len(crossing)
    if crossing:
        yield Finding("duplicates", Level.BLOCK, f"{len(crossing)} pictures stand in two splits: {_some(crossing)}")
    if contradicting:
        yield Finding("labels", Level.BLOCK, f"the same picture has two labels: {_some(contradicting)}")
    if inside > 0:
        yield Finding("duplicates", Level.WARN, f"{inside} pictures stand twice within a split")


def _near_duplicates(looks: list[_Look]) -> Iterator[Finding]:
    blocked: list[str] = []
    warned: list[str] = []
    for left, right in ((Split.TRAIN, Split.TEST), (Split.TRAIN, Split.VALIDATION), (Split.VALIDATION, Split.TEST)):
        a, b = ([look for look in looks if look.sample.split is side] for side in (left, right))
        if not a or not b:
            continue
        table = distances([look.hash for look in a], [look.hash for look in b])
        for i, j in np.argwhere(table <= WARNED_DISTANCE):
            if a[i].digest != b[j].digest:  # exact ones are reported on their own
                pair = f"{_names([a[i].sample, b[j].sample])} ({table[i, j]} bits)"
                (blocked if table[i, j] <= BLOCKED_DISTANCE else warned).append(pair)
    if blocked:
        yield Finding("near duplicates", Level.BLOCK, f"{len(blocked)} pairs across splits: {_some(blocked)}")
    if warned:
        yield Finding("near duplicates", Level.WARN, f"{len(warned)} similar pairs across splits: {_some(warned)}")


def _sizes(looks: list[_Look]) -> Iterator[Finding]:
    counts = Counter((look.width, look.height) for look in looks)
    odd = [f"{w} x {h} ({n})" for (w, h), n in counts.most_common()[1:]]
    if odd:
        (width, height), _ = counts.most_common(1)[0]
        yield Finding("sizes", Level.WARN, f"most pictures are {width} x {height}, others {_some(odd)}")


def _artefacts(looks: list[_Look]) -> Iterator[Finding]:
    """Tell whether something that is no defect predicts the label."""
    truth = [look.sample.anomalous for look in looks]
    features: dict[str, list[float]] = {
        "file size": [look.size_bytes for look in looks],
        "height": [look.height for look in looks],
        "width": [look.width for look in looks],
        "mean brightness": [look.brightness for look in looks],
    }
    for name, values in features.items():
        area = auroc(truth, values)
        extreme = max(area, 1 - area) if area is not None else 0.5
        if area is not None and extreme >= WARNED_AUROC:
            level = Level.BLOCK if extreme >= BLOCKED_AUROC else Level.WARN
            yield Finding("artefact", level, f"{name} alone predicts the label: AUROC {area:.3f}")


def _masks(looks: list[_Look], *, needed: bool) -> Iterator[Finding]:
    """Tell which masks do not fit; ``needed``: a good picture has one too, which is empty."""
    if all(look.sample.mask is None for look in looks):
        return
    wrong: list[str] = []
    grey = 0
    for look in looks:
        problem, is_grey = _mask_problem(look, needed=needed)
        wrong += [f"{look.sample.file} ({problem})"] if problem else []
        grey += is_grey
    if wrong:
        yield Finding("masks", Level.BLOCK, f"{len(wrong)} masks do not match their pictures: {_some(wrong)}")
    if grey:
        yield Finding("masks", Level.WARN, f"{grey} masks hold values between black and white; above 127 is defective")


def _mask_problem(look: _Look, *, needed: bool) -> tuple[str, bool]:
    sample = look.sample
    if sample.mask is None:
        return "none" if needed or sample.anomalous else "", False
    try:
        mask = vision.decode(sample.mask.read_bytes())
    except InferenceError as exc:
        return exc.message, False
    if mask.shape[:2] != (look.height, look.width):
        return f"{mask.shape[1]} x {mask.shape[0]}, the picture is {look.width} x {look.height}", False
    marked = bool(sample.marks.of(mask).any())
    if marked != sample.anomalous:
        return "it marks a defect, the picture is good" if marked else "empty, the picture is anomalous", False
    return "", sample.marks.unsure(mask)


def _names(samples: list[Sample]) -> str:
    return " = ".join(sample.file for sample in samples[:_SHOWN])


def _some(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", …" if len(items) > _SHOWN else "")
