"""``data prepare``: any known layout to a clean data set in the layout that a kind of method takes.

It is made beside its place and renamed into it, so that an interruption leaves nothing half made.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from cloud_tools.datasets.cleaning import LeftOut, clean
from cloud_tools.datasets.dataset import Dataset, Sample, Split
from cloud_tools.datasets.layouts.mvtec import GOOD, MASKS
from cloud_tools.datasets.looks import Look, look_at
from cloud_tools.datasets.parts import SPLIT_FILE
from cloud_tools.datasets.reading import find, layout_of, own_kind, read
from cloud_tools.datasets.splitting import write_split
from cloud_tools.errors import CloudError
from edge_agent import __version__, vision
from edge_agent.errors import Code
from edge_agent.formats import Kind

DOCUMENT = "dataset.json"
SCHEMA = "edge-cloud/dataset/1"
_COLUMNS = ("file", "split", "part", "label", "source")


class PrepareOptions(NamedTuple):
    """How a clean data set is made."""

    kind: Kind | None = None
    """For which training; None: what the layout is made for."""
    seed: int = 0
    part_regex: str = ""
    only: str = ""
    link: bool = False
    """Hard links instead of copies, where the disk can."""


class Prepared(NamedTuple):
    """What was made, as in ``dataset.json``."""

    document: dict[str, Any]
    left_out: list[LeftOut]


def prepare(source: Path, out: Path, options: PrepareOptions, origin: str = "") -> Prepared:
    """Write a clean copy of one category to ``out``, with ``split.csv`` and ``dataset.json``.

    Args:
        source: in any known layout; nothing in it is changed.
        out: new or empty.
        options: how.
        origin: what the document names as the source; empty: the folder's name.

    Raises:
        CloudError: ALREADY_EXISTS: ``out`` holds something; NOT_FOUND: no picture is left.
        DatasetError: as ``read``.
    """
    kind = options.kind or own_kind(source)
    dataset = read(source, kind, seed=options.seed, part_regex=options.part_regex, only=options.only)
    kept, left_out = clean(dataset, kind)
    left_out += _not_served(source, dataset, kind, options.only)
    if not kept:
        raise CloudError(Code.NOT_FOUND, f"{source}: no picture is left, {len(left_out)} were left out")
    with made_whole(out) as staged:
        turned = _write(staged, kept, kind, link=options.link)
        document = _document(staged, dataset, kind, options, kept, left_out, turned)
        document |= {"source": _provenance(source, origin)}
        (staged / DOCUMENT).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Prepared(document, left_out)


@contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``out`` when the block ends well, and otherwise disappears.

    Raises:
        CloudError: ALREADY_EXISTS: ``out`` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CloudError(Code.ALREADY_EXISTS, f"expected a new or empty folder, came {out}")
    place = out.resolve()
    staged = place.with_name(f".{place.name}.preparing")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True)
        yield staged
        if place.exists():
            place.rmdir()
        staged.rename(place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _not_served(source: Path, dataset: Dataset, kind: Kind, only: str) -> list[LeftOut]:
    """Return the defects that anomaly detection cannot use: a good picture of the same part is learnt from."""
    if kind is not Kind.ANOMALY or own_kind(source) is Kind.ANOMALY:
        return []
    served = {sample.file for sample in dataset.samples}
    every = (sample.file for sample, _ in find(source, kind, only).samples)
    return [LeftOut(file, "a good picture of its part is learnt from") for file in every if file not in served]


def _write(root: Path, samples: Sequence[Sample], kind: Kind, *, link: bool) -> int:
    """Write pictures, masks and the split; return how many pictures were turned upright."""
    turned = 0
    rows = []
    for sample, stem in zip(samples, _stems(samples), strict=True):
        content = sample.content()
        upright = None if _is_upright(content) else vision.encode_png(sample.picture())
        suffix = ".png" if upright or content.startswith(b"\x89PNG") else ".jpg"
        file = f"{_folder(sample, kind)}/{stem}{suffix}"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        _put(sample.path, root / file, upright, link=link)
        turned += upright is not None
        mask = _mask_place(sample, stem, kind)
        if mask:
            (root / mask).parent.mkdir(parents=True, exist_ok=True)
            (root / mask).write_bytes(_mask(sample))
        part = "" if sample.part in (sample.file, sample.path.name) else sample.part
        rows.append((file, sample.split.value, part, sample.label, sample.file))
    write_split(root / SPLIT_FILE, rows, _COLUMNS)
    return turned


def _folder(sample: Sample, kind: Kind) -> str:
    if kind is Kind.SEGMENTATION:
        return "images"
    if kind is Kind.CLASSIFICATION:
        return sample.label
    return f"{sample.split.value}/{sample.label if sample.anomalous else GOOD}"


def _mask_place(sample: Sample, stem: str, kind: Kind) -> str:
    """Return where a mask goes; empty: it has none there."""
    if kind is Kind.SEGMENTATION:
        return f"masks/{stem}.png"
    if kind is Kind.ANOMALY and sample.anomalous and sample.mask:
        return f"{MASKS}/{sample.label}/{stem}_mask.png"
    return ""


def _mask(sample: Sample) -> bytes:
    """Return the mask in black and white, in its own size; of a good part in the picture's."""
    if sample.mask is None:
        (look,) = look_at([sample.path])
        if not isinstance(look, Look):
            raise CloudError(Code.FAILED_PRECONDITION, f"{sample.file} has changed meanwhile: {look.reason}")
        return vision.encode_png(np.zeros((look.height, look.width), np.uint8))
    marked = sample.marks.of(vision.decode(sample.mask.read_bytes()))
    return vision.encode_png(marked.astype(np.uint8) * 255)


def _put(source: Path, target: Path, content: bytes | None, *, link: bool) -> None:
    if content is not None:
        target.write_bytes(content)
        return
    if link:
        try:
            os.link(source.resolve(), target)
        except OSError:  # another disk, or one that knows no links
            pass
        else:
            return
    shutil.copyfile(source, target)


def _is_upright(content: bytes) -> bool:
    """Tell whether the pixels lie as EXIF has them shown: programs that ignore it would see another picture."""
    if b"Exif" not in content and b"eXIf" not in content:
        return True
    packed = np.frombuffer(content, np.uint8)
    shown, stored = (cv2.imdecode(packed, cv2.IMREAD_COLOR | flag) for flag in (0, cv2.IMREAD_IGNORE_ORIENTATION))
    return shown is None or stored is None or np.array_equal(shown, stored)


def _stems(samples: Sequence[Sample]) -> list[str]:
    """Return names without ending that no two pictures share, on no disk: the file's, else its whole way."""
    often = Counter(sample.path.stem.lower() for sample in samples)
    taken: set[str] = set()
    stems = []
    for sample in samples:
        whole = Path(sample.file).with_suffix("").as_posix().replace("/", "-")
        first = sample.path.stem if often[sample.path.stem.lower()] == 1 else whole
        names = chain((first, whole), (f"{whole}-{number}" for number in count(2)))
        stems.append(next(name for name in names if name.lower() not in taken))
        taken.add(stems[-1].lower())
    return stems


def _document(
    root: Path,
    dataset: Dataset,
    kind: Kind,
    options: PrepareOptions,
    kept: Sequence[Sample],
    left_out: Sequence[LeftOut],
    turned: int,
) -> dict[str, Any]:
    made = read(root, kind)
    counts = Counter((sample.label, sample.split) for sample in kept)
    return {
        "schema": SCHEMA,
        "kind": kind.value,
        "sha256": made.digest(),
        "pictures": len(kept),
        "classes": {
            label: {split.value: counts[label, split] for split in Split} for label in sorted({s.label for s in kept})
        },
        "parts": len({sample.part for sample in kept}),
        "turned": turned,
        "left_out": [one._asdict() for one in left_out],
        "options": {"seed": options.seed, "part_regex": options.part_regex, "only": options.only},
        "source_sha256": dataset.digest(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "made_by": f"edge-cloud {__version__}",
    }


def _provenance(source: Path, origin: str) -> dict[str, Any]:
    """Return where it came from, without the way on this machine."""
    layout = layout_of(source)
    listed = sorted(p.name for p in source.iterdir() if p.suffix in (".jsonl", ".manifest") or p.name == "SOURCE.txt")
    return {"name": origin or source.resolve().name, "layout": layout.name if layout else "", "documents": listed}
