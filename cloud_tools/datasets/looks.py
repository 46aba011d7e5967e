"""One look at each picture: what the split, the gate and the explorer need to know of it.

Pictures are decoded by several threads, one picture in memory for each; what is kept of a
picture are a few hundred bytes, for as long as its file does not change.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cloud_tools.datasets.parallel import each
from cloud_tools.datasets.phash import phash
from edge_agent import vision
from edge_agent.errors import InferenceError

_KEPT = 100_000


class Look(NamedTuple):
    """What one reading of a picture tells."""

    digest: str
    """SHA-256 of size and pixels: what was only packed anew is the same picture."""
    hash: int
    """64 bits (``phash``)."""
    width: int
    height: int
    brightness: float
    """Mean over all pixels and channels, 0..255."""
    size_bytes: int


class Unreadable(NamedTuple):
    """Why a file is no picture that the device takes."""

    reason: str


def look_at(paths: Iterable[Path]) -> list[Look | Unreadable]:
    """Return one look a file, in order; a file beyond the device's limit of pixels is refused undecoded."""
    return each(_look, paths)


def _look(path: Path) -> Look | Unreadable:
    try:
        about = path.stat()
    except OSError as exc:
        return Unreadable(exc.strerror or "it cannot be read")
    return _read(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=_KEPT)
def _read(path: Path, _changed_ns: int, _size: int) -> Look | Unreadable:
    try:
        content = path.read_bytes()
        picture = vision.decode(content)
    except InferenceError as exc:
        return Unreadable(exc.message)
    except OSError as exc:
        return Unreadable(exc.strerror or "it cannot be read")
    height, width = picture.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}".encode())
    digest.update(picture.data)
    return Look(digest.hexdigest(), phash(picture), width, height, float(picture.mean()), len(content))
