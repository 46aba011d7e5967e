"""The repository as a reader finds it: the files that are tracked."""

import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@lru_cache
def tracked() -> tuple[Path, ...]:
    """Return every tracked file that exists; without git the tree is an export, and all of it counts."""
    ran = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip("expected a git checkout: which files are tracked is not known here")
    return tuple(path for name in ran.stdout.split("\0") if name and (path := ROOT / name).is_file())


def text_of(path: Path) -> str | None:
    """Return a file's text, or None for a binary one."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
