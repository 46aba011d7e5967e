"""From captures to samples: which class, which part, which split. Pure, so that a pull can be repeated."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from cloud_tools.captures.pulled import LISTED, SPLIT
from cloud_tools.captures.records import Capture
from cloud_tools.datasets.dataset import Split
from cloud_tools.datasets.layouts import NORMAL_NAMES
from cloud_tools.datasets.split import TEST_SHARE, VALIDATION_SHARE

NORMAL, ANOMALOUS = "normal", "anomalous"
_CLASSES = {"OK": NORMAL, "NG": ANOMALOUS}
# It becomes a folder, beside the files of a data set.
_NAME = re.compile(r"[^\W_][\w .+-]{0,99}")
_LONGEST_BYTES = 255
_ALL_SPLITS = 3


def class_of(capture: Capture, *, unlabelled: bool) -> str:
    """Return a capture's class, empty where it has none: what a person said, and only without that a model's verdict.

    Args:
        capture: the capture.
        unlabelled: take the model's word where there is no person's; no result is no word.
    """
    if capture.label:
        name = _CLASSES.get(capture.label, capture.label)
    elif not unlabelled:
        name = ""
    elif capture.verdict == "NG" and capture.said and not is_normal(capture.said):
        name = capture.said
    else:
        name = _CLASSES.get(capture.verdict, "")
    fits = _NAME.fullmatch(name) and len(name.encode()) <= _LONGEST_BYTES and name not in (LISTED, SPLIT)
    return name if fits else ""


def is_normal(name: str) -> bool:
    """Tell whether a class means OK, as readers of data sets see it."""
    return name.lower() in NORMAL_NAMES


def assign_splits(parts: Mapping[str, str]) -> dict[str, Split]:
    """Return a split for each part, by its name alone wherever its class has enough of them.

    A part stays in its split when others come. Only where a class would lack a split, and has
    three parts, some of them move.

    Args:
        parts: the class of each.
    """
    splits = {part: _split(_place(part)) for part in parts}
    classes: dict[str, list[str]] = defaultdict(list)
    for part in sorted(parts, key=_place):
        classes[parts[part]].append(part)
    for members in classes.values():
        _complete(members, splits)
    return splits


def _complete(members: Sequence[str], splits: dict[str, Split]) -> None:
    if len(members) < _ALL_SPLITS:
        return
    for index, split in ((-1, Split.TRAIN), (0, Split.TEST), (1, Split.VALIDATION)):
        if split not in {splits[part] for part in members}:
            splits[members[index]] = split


def _place(part: str) -> float:
    """Return where a part stands in 0..1, evenly, and for ever."""
    return int.from_bytes(hashlib.sha256(part.encode()).digest()[:6], "big") / (1 << 48)


def _split(place: float) -> Split:
    if place < TEST_SHARE:
        return Split.TEST
    return Split.VALIDATION if place < TEST_SHARE + (1 - TEST_SHARE) * VALIDATION_SHARE else Split.TRAIN
