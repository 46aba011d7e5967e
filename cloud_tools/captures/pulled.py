"""What an earlier pull left in a data set's folder, and what a person did to it since."""

import hashlib
import json
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


def mask_of(name: str) -> str:
    """Return where the mask of the picture ``name`` lies in the data set."""
    return f"masks/{name}.png"


def known_pictures(out: Path) -> dict[str, Path]:
    """Return the pictures that were pulled before, by name.

    Raises:
        CloudError: ALREADY_EXISTS, the folder holds something that no pull wrote.
    """
    if not out.exists():
        return {}
    ours = {LISTED, SPLIT}
    found: dict[str, Path] = {}
    for row in _rows(out):
        file = str(row["file"])
        ours |= {file, mask_of(Path(file).stem)}
        found[Path(file).stem] = out / file
    foreign = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    foreign = [name for name in foreign if name not in ours]
    if foreign:
        message = f"{out}: expected a new or empty folder or one that was pulled before, it also holds {foreign[0]}"
        raise CloudError(Code.ALREADY_EXISTS, message)
    return {name: path for name, path in found.items() if path.is_file()}


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
