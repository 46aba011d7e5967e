"""What an earlier pull left in a data set's folder, and what a person did to it since."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

LISTED = "captures.jsonl"
SPLIT = "split.csv"


class Corrected(NamedTuple):
    """A mask that a person changed: what it was when it was pulled, and its file."""

    pulled_sha256: str
    path: Path


class Known(NamedTuple):
    """What was pulled before, by device and capture.

    Attributes:
        names: what each picture is called; it stays so, as masks that were corrected are found by it.
        pictures: their files, of those that are still there.
    """

    names: dict[tuple[str, str], str]
    pictures: dict[tuple[str, str], Path]


def mask_of(name: str) -> str:
    """Return where the mask of the picture ``name`` lies in the data set."""
    return f"masks/{name}.png"


def known_pictures(out: Path) -> Known:
    """Return the pictures that were pulled before; where two captures were called the same, neither is known.

    Raises:
        CloudError: ALREADY_EXISTS, the folder holds something that no pull wrote.
    """
    if not out.exists():
        return Known({}, {})
    ours = {LISTED, SPLIT}
    rows = _rows(out)
    called = Counter(Path(str(row["file"])).stem for row in rows)
    names: dict[tuple[str, str], str] = {}
    pictures: dict[tuple[str, str], Path] = {}
    for row in rows:
        file, identity = str(row["file"]), (str(row["thing"]), str(row["id"]))
        name = Path(file).stem
        ours |= {file, mask_of(name)}
        if called[name] == 1:
            names[identity] = name
            pictures[identity] = out / file
    foreign = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    foreign = [name for name in foreign if name not in ours]
    if foreign:
        message = f"{out}: expected a new or empty folder or one that was pulled before, it also holds {foreign[0]}"
        raise CloudError(Code.ALREADY_EXISTS, message)
    return Known(names, {identity: path for identity, path in pictures.items() if path.is_file()})


def corrected_masks(out: Path) -> dict[str, Corrected]:
    """Return the masks that differ from what was pulled, by name."""
    found: dict[str, Corrected] = {}
    for row in _rows(out):
        name = Path(str(row["file"])).stem
        mask, pulled = out / mask_of(name), str(row.get("mask_sha256", ""))
        if pulled and mask.is_file() and hashlib.sha256(mask.read_bytes()).hexdigest() != pulled:
            found[name] = Corrected(pulled, mask)
    return found


def _rows(out: Path) -> list[dict[str, Any]]:
    path = out / LISTED
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
