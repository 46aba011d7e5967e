"""Which pictures of a data set are worth keeping, and why the others are not."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from cloud_tools.datasets.checks import Seen
from cloud_tools.datasets.dataset import Dataset, Sample, Split
from cloud_tools.datasets.hygiene import see
from cloud_tools.datasets.mask_check import mask_verdict
from cloud_tools.datasets.parallel import each
from edge_agent.formats import Kind

_KEPT_FIRST = (Split.TEST, Split.VALIDATION, Split.TRAIN)
"""Of pictures that are the same the one for the test stays: figures remain comparable."""


class LeftOut(NamedTuple):
    """A picture that is not kept."""

    file: str
    reason: str
    same_as: str = ""


def clean(dataset: Dataset, kind: Kind) -> tuple[list[Sample], list[LeftOut]]:
    """Return the pictures to keep, in order, and the others: unreadable, there twice, of two classes, badly masked.

    Args:
        dataset: all of it.
        kind: of method that it is for; classification looks at no mask.
    """
    seen, unreadable = see(dataset)
    left_out = [LeftOut(sample.file, f"unreadable: {why}") for sample, why in unreadable]
    left_out += _repeated(seen)
    problems = each(partial(_mask_problem, kind=kind, needed=dataset.labels_from_masks), seen)
    left_out += [LeftOut(one.sample.file, f"mask: {why}") for one, why in zip(seen, problems, strict=True) if why]
    gone = {one.file for one in left_out}
    return [sample for sample in dataset.samples if sample.file not in gone], left_out


def _mask_problem(one: Seen, *, kind: Kind, needed: bool) -> str:
    if kind is Kind.CLASSIFICATION or (kind is Kind.ANOMALY and one.sample.mask is None):
        return ""
    return mask_verdict(one, needed=needed).problem


def _repeated(seen: Sequence[Seen]) -> Iterator[LeftOut]:
    same: dict[str, list[Sample]] = defaultdict(list)
    for one in seen:
        same[one.look.digest].append(one.sample)
    for group in same.values():
        if len({sample.label for sample in group}) > 1:
            # Nobody knows which is right.
            names = [sample.file for sample in group]
            yield from (LeftOut(name, "two labels", next(n for n in names if n != name)) for name in names)
            continue
        first, *others = sorted(group, key=lambda sample: _KEPT_FIRST.index(sample.split))
        yield from (LeftOut(sample.file, "duplicate", first.file) for sample in others)
