"""From captures to a folder that ``train`` takes as it is.

It is made beside its place and renamed into it, so that an interruption leaves what was there.
``captures.jsonl`` in it says where each picture came from; a folder without it is not ours to replace.
"""

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from cloud_tools.captures.choice import ANOMALOUS, NORMAL, assign_splits, class_of, is_normal
from cloud_tools.captures.pulled import LISTED, SPLIT, Corrected, Known, corrected_masks, known_pictures, mask_of
from cloud_tools.captures.records import Capture, content_of
from cloud_tools.datasets.dataset import Sample, Split
from cloud_tools.datasets.split import look_alikes
from cloud_tools.errors import CloudError
from cloud_tools.storage import Storage
from edge_agent import vision
from edge_agent.errors import AgentError, Code

_LONGEST_NAME = 200
# They tell nothing of the capture that was asked for: the rest would go the same way.
_OUTAGES = (Code.UNAVAILABLE, Code.ACCESS_DENIED)


class PullOptions(NamedTuple):
    """How captures become a data set.

    Attributes:
        kind: classification (a folder for each class) or segmentation (images/ and masks/).
        unlabelled: also what no person said anything of, by the model's verdict.
    """

    kind: str = "classification"
    unlabelled: bool = False


class Pulled(NamedTuple):
    """What a pull made, and what it left out and why."""

    pictures: int
    classes: dict[str, int]
    splits: dict[str, int]
    left_out: dict[str, int]


class _Item(NamedTuple):
    capture: Capture
    name: str
    file: str
    sha256: str
    mask_sha256: str = ""


def pull(
    source: Storage, captures: Sequence[Capture], out: Path, options: PullOptions, say: Callable[[str], None]
) -> Pulled:
    """Make the data set ``out`` of captures, in place of what was pulled there before.

    Args:
        source: where their pictures lie.
        captures: the oldest first; of pictures with the same bytes one is taken, with the last label that a person
            gave any of them.
        out: new, empty, or pulled before.
        options: how.
        say: told of what is left out.

    Raises:
        CloudError: ALREADY_EXISTS, ``out`` holds something else, or a mask that a person corrected and that would be
            lost; NOT_FOUND, no capture makes a sample; or as
            the source says. ``out`` is as it was.
    """
    # A link stays one: it may lead to the disk that has the room.
    out = out.resolve()
    staged, former = out.with_name(f".{out.name}.pulling"), out.with_name(f".{out.name}.before")
    if former.exists() and not out.exists():
        former.rename(out)  # an interruption came between two renames
    known, corrected = known_pictures(out), corrected_masks(out)
    for leftover in (staged, former):
        shutil.rmtree(leftover, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        pulled = _write(source, captures, staged, options, known, corrected, say)
        _exchange(staged, out, former)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)
    return pulled


def _exchange(staged: Path, out: Path, former: Path) -> None:
    if not out.exists():
        staged.rename(out)
        return
    try:
        out.rename(former)
        staged.rename(out)
    except BaseException:
        if not out.exists():
            former.rename(out)
        raise


def _write(
    source: Storage,
    captures: Sequence[Capture],
    root: Path,
    options: PullOptions,
    known: Known,
    corrected: dict[str, Corrected],
    say: Callable[[str], None],
) -> Pulled:
    left_out: Counter[str] = Counter()
    items: dict[str, _Item] = {}
    taken = set(known.names.values())
    for capture, content in _pictures(source, captures, options, known, left_out, say):
        digest = hashlib.sha256(content).hexdigest()
        first = items.get(digest)
        if first is not None:
            left_out["duplicate"] += 1
            items[digest] = first._replace(capture=_said_last(first.capture, capture))
            continue
        items[digest] = _Item(capture, _name(capture, known, taken), _suffix(content), digest)
        taken.add(items[digest].name)
        (root / f"{digest}.picture").write_bytes(content)
    if not items:
        told = ", ".join(f"{amount} {why}" for why, amount in left_out.items()) or "none was found"
        raise CloudError(Code.NOT_FOUND, f"expected captures for a data set, left out: {told}")
    place = _place_segmentation if options.kind == "segmentation" else _place_classification
    placed = [
        done for item in items.values() if (done := place(source, root, item, options, left_out, say)) is not None
    ]
    _keep_corrected(root, [item for item, _ in placed], corrected)
    return _finish(root, placed, left_out)


def _pictures(
    source: Storage,
    captures: Sequence[Capture],
    options: PullOptions,
    known: Known,
    left_out: Counter[str],
    say: Callable[[str], None],
) -> Iterator[tuple[Capture, bytes]]:
    for capture in captures:
        if not class_of(capture, unlabelled=options.unlabelled):
            left_out["without a class" if capture.label or options.unlabelled else "unlabelled"] += 1
            continue
        try:
            pulled = known.pictures.get(_identity(capture))
            content = pulled.read_bytes() if pulled else _fetched(source, capture)
            _check_size(content)
        except AgentError as exc:
            if exc.code in _OUTAGES:
                raise
            left_out["unreadable"] += 1
            say(f"{capture.id}: left out, {exc.message}")
            continue
        yield capture, content


def _fetched(source: Storage, capture: Capture) -> bytes:
    return content_of(source, capture.picture)


def _check_size(picture: bytes) -> None:
    # A header may announce anything, and a mask is made in its size.
    width, height = vision.size_of(picture)
    if width * height > vision.MAX_PIXELS:
        expected = f"a picture of at most {vision.MAX_PIXELS} pixels"
        raise CloudError(Code.OUT_OF_RANGE, f"expected {expected}, came {width} x {height}")


def _said_last(first: Capture, other: Capture) -> Capture:
    # An older capture may have been labelled after a newer one.
    if not other.label or (first.label and first.labelled_at > other.labelled_at):
        return first
    return first._replace(label=other.label, labelled_by=other.labelled_by, labelled_at=other.labelled_at)


def _place_classification(
    source: Storage, root: Path, item: _Item, options: PullOptions, left_out: Counter[str], say: Callable[[str], None]
) -> tuple[_Item, Sample] | None:
    del source, left_out, say
    label = class_of(item.capture, unlabelled=options.unlabelled)
    return _placed(root, item, label, label, anomalous=not is_normal(label))


def _place_segmentation(
    source: Storage, root: Path, item: _Item, options: PullOptions, left_out: Counter[str], say: Callable[[str], None]
) -> tuple[_Item, Sample] | None:
    """Place a picture with its mask: an empty one where it is normal, the model's where it is not."""
    picture = root / f"{item.sha256}.picture"
    anomalous = not is_normal(class_of(item.capture, unlabelled=options.unlabelled))
    try:
        mask = _mask(source, item.capture, picture.read_bytes(), anomalous=anomalous)
    except AgentError as exc:
        if exc.code in _OUTAGES:
            raise
        left_out["without a mask"] += 1
        say(f"{item.capture.id}: left out, {exc.message}")
        picture.unlink()
        return None
    (root / "masks").mkdir(exist_ok=True)
    (root / mask_of(item.name)).write_bytes(mask)
    item = item._replace(mask_sha256=hashlib.sha256(mask).hexdigest())
    return _placed(root, item, "images", ANOMALOUS if anomalous else NORMAL, anomalous=anomalous)


def _mask(source: Storage, capture: Capture, picture: bytes, *, anomalous: bool) -> bytes:
    if not anomalous:
        width, height = vision.size_of(picture)
        return vision.encode_png(np.zeros((height, width), np.uint8))
    if capture.mask is None:
        raise CloudError(Code.NOT_FOUND, "it is defective, and no model drew a mask of it")
    return content_of(source, capture.mask)


def _placed(root: Path, item: _Item, folder: str, label: str, *, anomalous: bool) -> tuple[_Item, Sample]:
    file = f"{folder}/{item.name}.{item.file}"
    (root / folder).mkdir(exist_ok=True)
    (root / f"{item.sha256}.picture").rename(root / file)
    return item._replace(file=file), Sample(file, root / file, label, anomalous, item.name, Split.TRAIN)


def _keep_corrected(root: Path, items: Sequence[_Item], corrected: dict[str, Corrected]) -> None:
    """Put the masks that a person corrected in place of those they were made of.

    Raises:
        CloudError: ALREADY_EXISTS, one of them is of another mask or of no picture any more.
    """
    made = {item.name: item.mask_sha256 for item in items}
    for name, mask in corrected.items():
        if made.get(name) != mask.pulled_sha256:
            message = f"{mask.path}: expected a mask as it was pulled, it was changed and would be lost; pull elsewhere"
            raise CloudError(Code.ALREADY_EXISTS, message)
        (root / mask_of(name)).write_bytes(mask.path.read_bytes())


def _finish(root: Path, placed: Sequence[tuple[_Item, Sample]], left_out: Counter[str]) -> Pulled:
    """Write which picture belongs to which part and split, and where each came from."""
    samples = [sample for _, sample in placed]
    # Pictures that look alike are one part, called as the oldest of them.
    groups = look_alikes(samples)
    oldest = {group: sample.part for group, sample in reversed(list(zip(groups, samples, strict=True)))}
    parts = [oldest[group] for group in groups]
    labels: dict[str, str] = {}
    for part, sample in zip(parts, samples, strict=True):
        labels.setdefault(part, sample.label)
    splits = assign_splits(labels)
    with (root / SPLIT).open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("file", "split", "part"))
        writer.writerows((sample.file, splits[part].value, part) for part, sample in zip(parts, samples, strict=True))
    with (root / LISTED).open("w") as lines:
        for item, _ in placed:
            lines.write(json.dumps(_listed(item)) + "\n")
    return Pulled(
        pictures=len(samples),
        classes=dict(sorted(Counter(sample.label for sample in samples).items())),
        splits=dict(sorted(Counter(splits[part].value for part in parts).items())),
        left_out=dict(sorted(left_out.items())),
    )


def _listed(item: _Item) -> dict[str, Any]:
    told = item.capture._asdict()
    mask = {"mask_sha256": item.mask_sha256} if item.mask_sha256 else {}
    return {"file": item.file, "sha256": item.sha256, **mask} | {
        name: value for name, value in told.items() if name not in ("picture", "mask")
    }


def _identity(capture: Capture) -> tuple[str, str]:
    # Two devices may give the same id.
    return capture.thing, capture.id


def _name(capture: Capture, known: Known, taken: Collection[str]) -> str:
    """Return what a capture's picture is called, no two the same; the split follows from it, so it stays.

    Of press-4 and 1, and of press and 4-1, the first is called by both words, and the other also by a digest.
    """
    kept = known.names.get(_identity(capture))
    if kept:
        return kept
    name = f"{quote(capture.thing, safe='')}-{quote(capture.id, safe='')}"
    if name[:_LONGEST_NAME] not in taken:
        return name[:_LONGEST_NAME]
    digest = hashlib.sha256("/".join(map(quote, _identity(capture))).encode()).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - 17]}-{digest}"


def _suffix(content: bytes) -> str:
    return "png" if content.startswith(b"\x89PNG") else "jpg"
