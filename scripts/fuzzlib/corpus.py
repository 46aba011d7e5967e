"""Inputs that a reader once choked on, by what they are: kept in the tests, one file each."""

import hashlib
from pathlib import Path

from scripts.fuzzlib.seeds import ROOT

CORPUS = ROOT / "tests" / "corpus"


def keep(target: str, content: bytes) -> Path:
    """Keep an input of a target, and return where."""
    path = CORPUS / target / f"{hashlib.sha256(content).hexdigest()[:16]}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def kept(target: str) -> list[bytes]:
    """Return all that is kept of a target."""
    directory = CORPUS / target
    return [path.read_bytes() for path in sorted(directory.iterdir())] if directory.is_dir() else []
