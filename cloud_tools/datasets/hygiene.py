"""The hygiene gate: what would make every figure of a training worthless.

Each check returns findings; a finding that blocks stops a training unless somebody
overrides it with a reason, which the report then shows.
"""

from collections.abc import Iterator

from cloud_tools.datasets import checks
from cloud_tools.datasets.checks import Seen
from cloud_tools.datasets.dataset import Dataset, Sample
from cloud_tools.datasets.finding import Finding, Level, some
from cloud_tools.datasets.looks import Look, Unreadable, look_at
from cloud_tools.datasets.mask_check import MASKS, masks

UNREADABLE = "unreadable"
_OTHER_FORMATS = (".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".heic", ".avif", ".pgm", ".ppm")


def inspect_dataset(dataset: Dataset) -> tuple[Finding, ...]:
    """Return everything that the gate finds."""
    seen, unreadable = see(dataset)
    findings = []
    if unreadable:
        named = some([f"{sample.file} ({why})" for sample, why in unreadable])
        message = f"{len(unreadable)} pictures cannot be decoded: {named}"
        findings.append(Finding(UNREADABLE, Level.BLOCK, message, tuple(sample.file for sample, _ in unreadable)))
    balance = checks.good_only if dataset.good_only else checks.balance
    others = (checks.parts, checks.duplicates, checks.near_duplicates, checks.sizes, checks.artefacts)
    for check in (balance, *others):
        findings.extend(check(seen))
    findings.extend(masks(seen, needed=dataset.labels_from_masks))
    findings.extend(_left_aside(dataset))
    return tuple(findings)


def _left_aside(dataset: Dataset) -> Iterator[Finding]:
    """Tell of files that lie among the others and take no part."""
    if dataset.loose_masks:
        message = f"{len(dataset.loose_masks)} masks belong to no picture: {some(dataset.loose_masks)}"
        yield Finding(MASKS, Level.WARN, message)
    folders = sorted({sample.path.parent for sample in dataset.samples})
    others = [p.name for folder in folders for p in sorted(folder.iterdir()) if p.suffix.lower() in _OTHER_FORMATS]
    if others:
        yield Finding("formats", Level.WARN, f"{len(others)} pictures are neither JPEG nor PNG: {some(others)}")


def see(dataset: Dataset) -> tuple[list[Seen], list[tuple[Sample, str]]]:
    """Return the pictures with a look at each, and those that cannot be read with the reason."""
    looks = list(zip(dataset.samples, look_at(sample.path for sample in dataset.samples), strict=True))
    seen = [Seen(sample, look) for sample, look in looks if isinstance(look, Look)]
    return seen, [(sample, look.reason) for sample, look in looks if isinstance(look, Unreadable)]
