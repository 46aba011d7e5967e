"""Files of a data set by name."""

import re
from pathlib import Path

from cloud_tools.datasets.dataset import DatasetError

NORMAL_NAMES = ("normal", "good", "ok")
"""What a class may be called that means OK."""
_SUFFIXES = (".png", ".jpg", ".jpeg")


def is_normal(name: str) -> bool:
    """Tell whether a class of this name means OK."""
    return name.lower() in NORMAL_NAMES


def folder_of(path: Path) -> Path:
    """Return the folder.

    Raises:
        DatasetError: it is none.
    """
    if not path.is_dir():
        raise DatasetError(f"expected a folder {path}, there is none")
    return path


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def pictures_in(folder: Path, only: str = "") -> list[Path]:
    """Return the JPEG and PNG files of a folder whose names match ``only`` at their beginning, sorted."""
    keep = compiled(only).match
    return sorted(p for p in folder.iterdir() if is_picture(p) and keep(p.name))


def is_picture(path: Path) -> bool:
    """Tell whether a file's name is that of a JPEG or PNG; copies of some systems (``._x.png``) are none."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def compiled(expression: str) -> re.Pattern[str]:
    """Return a regular expression.

    Raises:
        DatasetError: it is none.
    """
    try:
        return re.compile(expression)
    except re.error as exc:
        raise DatasetError(f"expected a regular expression, came {expression!r}: {exc}") from exc
