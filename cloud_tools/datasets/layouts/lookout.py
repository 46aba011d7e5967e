"""Manifests of Amazon Lookout for Vision: JSON lines with a label, for segmentation also a coloured mask.

What they refer to in a bucket is looked for beside them: of ``s3://bucket/a/b/1.jpg`` the
longest end of ``a/b/1.jpg`` that lies there.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloud_tools.datasets.dataset import DatasetError, Sample, Split
from cloud_tools.datasets.layouts.files import compiled
from cloud_tools.datasets.layouts.layout import Found, Layout
from cloud_tools.datasets.marks import Colour, Marks
from edge_agent.formats import Kind

_FOLDERS = ("", "manifests")
_WORDS = {"train": Split.TRAIN, "val": Split.VALIDATION, "test": Split.TEST}
_BACKGROUND = "background"
_HEX_DIGITS = 6


def _lies_in(root: Path) -> bool:
    return bool(_manifests(root))


def _manifests(root: Path) -> list[Path]:
    folders = [root / name for name in _FOLDERS if (root / name).is_dir()]
    return sorted(path for folder in folders for path in folder.iterdir() if _is_manifest(path))


def _is_manifest(path: Path) -> bool:
    named = path.suffix == ".manifest" or (path.suffix == ".jsonl" and path.stem.endswith("manifest"))
    return named and path.is_file()


def _read(root: Path, _kind: Kind, only: str) -> Found:
    """Return pictures with the split that the manifests' names give; one with a mask goes before the same without."""
    keep = compiled(only).match
    found: dict[str, tuple[Sample, Split | None]] = {}
    for manifest in _manifests(root):
        split = next((split for word, split in _WORDS.items() if word in manifest.stem.lower()), None)
        for sample in _samples(root, manifest):
            known = found.get(sample.file)
            if keep(sample.path.name) and (known is None or known[0].mask is None):
                found[sample.file] = (sample, split)
    return Found(list(found.values()), names_repeat=True)


def _samples(root: Path, manifest: Path) -> Iterator[Sample]:
    for number, line in enumerate(manifest.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _sample(root, manifest.parent, json.loads(line))
        except DatasetError as exc:
            raise DatasetError(f"{manifest}, line {number}: {exc.message}") from exc
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            expected = "source-ref and anomaly-label 0 or 1, with a mask also its colours"
            raise DatasetError(f"{manifest}, line {number}: expected {expected}, came {exc!r}") from exc


def _sample(root: Path, beside: Path, line: dict[str, Any]) -> Sample:
    anomalous = {0: False, 1: True}[int(line["anomaly-label"])]
    path = _local(root, beside, str(line["source-ref"]))
    mask, marks = None, Marks()
    if "anomaly-mask-ref" in line:
        mask = _local(root, beside, str(line["anomaly-mask-ref"]))
        marks = Marks(colours=tuple(_colours(line["anomaly-mask-ref-metadata"]["internal-color-map"])))
    file = path.relative_to(root).as_posix()
    return Sample(file, path, "anomaly" if anomalous else "normal", anomalous, "", Split.TRAIN, mask, marks)


def _local(root: Path, beside: Path, reference: str) -> Path:
    """Return the file that a reference means; never one outside of the data set."""
    key = reference.removeprefix("s3://").partition("/")[2] if reference.startswith("s3://") else reference
    names = [name for name in key.split("/") if name not in ("", ".")]
    if ".." in names:
        raise DatasetError(f"expected a reference into the data set, came {reference}")
    for first in range(len(names)):
        for folder in (beside, root):
            path = folder.joinpath(*names[first:])
            if path.is_file():
                return path
    raise DatasetError(f"expected the file of {reference} beside the manifest or in {root}, there is none")


def _colours(entries: dict[str, dict[str, Any]]) -> Iterator[Colour]:
    """Yield the colours of everything that is not the background."""
    for entry in entries.values():
        if str(entry["class-name"]).lower() == _BACKGROUND:
            continue
        digits = str(entry["hex-color"]).removeprefix("#")
        if len(digits) != _HEX_DIGITS:
            raise ValueError(f"hex-color {entry['hex-color']}")
        red, green, blue = bytes.fromhex(digits)
        yield red, green, blue


LOOKOUT = Layout(
    "Lookout for Vision", Kind.CLASSIFICATION, "a Lookout manifest (.manifest, manifest.jsonl)", _lies_in, _read
)
