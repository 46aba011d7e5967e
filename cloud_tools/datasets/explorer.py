"""What a page about a data set shows: small pictures with outlined masks, figures, and findings by picture."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cloud_tools.datasets.checks import Seen
from cloud_tools.datasets.dataset import Dataset, Sample, Split
from cloud_tools.datasets.finding import Finding
from cloud_tools.datasets.hygiene import inspect_dataset, see
from cloud_tools.datasets.parallel import each
from edge_agent import vision
from edge_agent.errors import InferenceError

SIDE = 160
"""Longer side of a small picture in pixels."""
_QUALITY = 78
_SMOOTHED = 0.4
"""An outline may leave the mask's by so many pixels of the small picture."""
BINS = 32


class Tile(NamedTuple):
    """One small picture."""

    sample: Sample
    jpeg: bytes
    """Empty: it cannot be decoded."""
    width: int
    height: int
    outlines: tuple[tuple[tuple[float, float], ...], ...]
    """Borders of the mask's areas, in pixels of the small picture."""
    findings: tuple[int, ...]
    """Which of the findings concern it."""


class Group(NamedTuple):
    """The pictures of one class in one split."""

    label: str
    split: Split
    total: int
    tiles: tuple[Tile, ...]


class Explored(NamedTuple):
    """A category as a page shows it."""

    name: str
    dataset: Dataset
    findings: tuple[Finding, ...]
    groups: tuple[Group, ...]
    sizes: tuple[tuple[int, int, int], ...]
    """Width, height and number of pictures, the most frequent first."""
    brightness: dict[str, list[int]]
    """Of good and of anomalous pictures: how many have a mean brightness in each of ``BINS`` equal steps."""


def explore(name: str, dataset: Dataset, *, limit: int) -> Explored:
    """Return what is shown of one category.

    Args:
        name: of the category.
        dataset: all of it is examined.
        limit: so many pictures of a class in a split are shown, evenly chosen; those with a finding go before.
    """
    findings = inspect_dataset(dataset)
    seen, _ = see(dataset)
    concerned: dict[str, list[int]] = defaultdict(list)
    for number, finding in enumerate(findings):
        for file in finding.files:
            concerned[file].append(number)
    chosen = [
        (label, split, among, _chosen(among, concerned, limit))
        for label in dataset.classes
        for split in Split
        if (among := [s for s in dataset.samples if (s.label, s.split) == (label, split)])
    ]
    groups = tuple(
        Group(label, split, len(among), tuple(each(lambda s: _tile(s, tuple(concerned.get(s.file, ()))), shown)))
        for label, split, among, shown in chosen
    )
    return Explored(name, dataset, findings, groups, _sizes(seen), _brightness(seen))


def _chosen(samples: Sequence[Sample], concerned: dict[str, list[int]], limit: int) -> list[Sample]:
    if len(samples) <= limit:
        return list(samples)
    first = [sample for sample in samples if concerned.get(sample.file)][:limit]
    named = {sample.file for sample in first}
    others = [sample for sample in samples if sample.file not in named]
    places = np.linspace(0, len(others) - 1, limit - len(first)).round().astype(int)
    kept = named | {others[place].file for place in places}
    return [sample for sample in samples if sample.file in kept]


def _tile(sample: Sample, findings: tuple[int, ...]) -> Tile:
    try:
        picture = sample.picture()
    except (InferenceError, OSError):
        return Tile(sample, b"", SIDE, SIDE, (), findings)
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    jpeg = vision.small_jpeg(picture, SIDE, _QUALITY)
    return Tile(sample, jpeg, *size, _outlines(sample, width, height, scale), findings)


def _outlines(sample: Sample, width: int, height: int, scale: float) -> tuple[tuple[tuple[float, float], ...], ...]:
    if sample.mask is None:
        return ()
    try:
        truth = sample.truth(height, width).astype(np.uint8)
    except (InferenceError, OSError):
        return ()  # the gate says so beside the picture
    found, _ = cv2.findContours(truth, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    simple = (cv2.approxPolyDP(contour, _SMOOTHED / scale, closed=True)[:, 0] for contour in found)
    return tuple(
        tuple((round(float(x + 0.5) * scale, 1), round(float(y + 0.5) * scale, 1)) for x, y in border)
        for border in simple
    )


def _sizes(seen: Sequence[Seen]) -> tuple[tuple[int, int, int], ...]:
    counts = Counter((one.look.width, one.look.height) for one in seen)
    return tuple((width, height, number) for (width, height), number in counts.most_common())


def _brightness(seen: Sequence[Seen]) -> dict[str, list[int]]:
    table = {}
    for word, anomalous in (("good", False), ("anomalous", True)):
        values = [one.look.brightness for one in seen if one.sample.anomalous is anomalous]
        table[word] = [int(n) for n in np.histogram(values, bins=BINS, range=(0, 256))[0]]
    return table
