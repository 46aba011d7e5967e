"""Which part a picture shows, and the split that people wrote down: ``split.csv`` and ``--part-regex``."""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cloud_tools.datasets.dataset import DatasetError, Sample, Split
from cloud_tools.datasets.layouts.files import compiled
from cloud_tools.datasets.layouts.layout import Found
from cloud_tools.datasets.split import Given

SPLIT_FILE = "split.csv"
_WORDS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "test": Split.TEST,
}


def with_parts(root: Path, found: Found, part_regex: str) -> list[tuple[Sample, Split | None]]:
    """Return the samples with their parts, and the split that ``split.csv`` gives, else the layout's.

    Args:
        root: where ``split.csv`` (file, split[, part]) may lie.
        found: the samples.
        part_regex: its first group (or whole match) in a file's name is the part's id.

    Raises:
        DatasetError: a bad ``split.csv`` or expression, or a part id that is missing.
    """
    given = read_split(root / SPLIT_FILE)
    part_of = _part_reader(part_regex)
    often = Counter(sample.path.name for sample, _ in found.samples) if found.names_repeat else Counter()
    rows = [
        given.get(composed(sample.file))
        or (given.get(composed(sample.path.name)) if often[sample.path.name] <= 1 else None)
        for sample, _ in found.samples
    ]
    if given and not any(rows):
        expected, came = found.samples[0][0].file, next(iter(given))
        raise DatasetError(f"{root / SPLIT_FILE}: expected files as {expected}, came {came}: none of them is here")
    named = []
    for (sample, split), given_row in zip(found.samples, rows, strict=True):
        row = given_row or Given(None, "")
        own = sample.file if found.names_repeat and not part_regex else part_of(sample.path.name)
        named.append((sample._replace(part=row.part or own), row.split or split))
    return named


def _part_reader(part_regex: str) -> Callable[[str], str]:
    if not part_regex:
        return lambda name: name
    pattern = compiled(part_regex)

    def part(name: str) -> str:
        match = pattern.search(name)
        if match is None:
            raise DatasetError(f"expected every file name to match --part-regex {part_regex!r}, came {name}")
        return str(match.group(1) if pattern.groups else match.group(0))

    return part


def composed(name: str) -> str:
    """Return a name by which files are compared: some systems write an umlaut as one letter, others as two."""
    return unicodedata.normalize("NFC", name)


def read_split(path: Path) -> dict[str, Given]:
    """Return what ``split.csv`` says of each file, by its ``composed`` name; nothing if it does not exist.

    Raises:
        DatasetError: no column ``file``, or a word that is no split.
    """
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        fields, rows = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as exc:
        raise DatasetError(f"{path}: expected a table in UTF-8, came {exc}") from exc
    if "file" not in fields:
        raise DatasetError(f"{path}: expected a column file, came {fields}")
    found: dict[str, Given] = {}
    for row in rows:
        name, said = composed((row["file"] or "").replace("\\", "/")), _given(path, row)
        if found.setdefault(name, said) != said:
            raise DatasetError(f"{path}: expected each file once, came {name} twice, and not the same")
    return found


def _given(path: Path, row: dict[str, str]) -> Given:
    word = (row.get("split") or "").strip().lower()
    if word and word not in _WORDS:
        raise DatasetError(f"{path}: expected split train, validation or test, came {word!r}")
    return Given(_WORDS.get(word), (row.get("part") or "").strip())
