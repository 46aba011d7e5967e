"""The state directory's layout and how an older one becomes today's.

``layout_version`` holds one number. Each migration takes the directory from its
number to the next and may be repeated, since a power cut can fall anywhere in it and
between it and the new number. There is no way down: an older agent refuses the
directory, and says so, without touching it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from edge_agent.errors import Code, StorageError
from edge_agent.storage import durable
from edge_agent.storage.device_key import device_key

LAYOUT_VERSION = 2
DIRECTORIES = ("blobs", "partial", "versions", "generations", "quarantine")

Migration = Callable[[Path], None]


def _make_directories(root: Path) -> None:
    for name in DIRECTORIES:
        durable.make_directory(root / name)


def _begin_sealing(root: Path) -> None:
    """Engines were believed by a digest that anyone can compute; now only those that the device's key sealed."""
    engines = root / "engines"
    with durable.translated(engines):
        unsealed = sorted(engines.iterdir()) if engines.is_dir() else []
    for engine in unsealed:
        durable.remove(engine)
    device_key(root)


MIGRATIONS: Mapping[int, Migration] = {0: _make_directories, 1: _begin_sealing}


def prepare(root: Path, *, migrations: Mapping[int, Migration] = MIGRATIONS, target: int = LAYOUT_VERSION) -> int:
    """Bring ``root`` to the layout ``target`` and return the version it had before (0: new).

    Raises:
        StorageError: STORAGE_FAILED, the directory is of a newer agent or cannot be written; NO_SPACE.
    """
    before = version = check_version(root, target=target)
    if version == 0:
        durable.make_directory(root)
    while version < target:
        migrations[version](root)
        version += 1
        durable.write(root / "layout_version", f"{version}\n".encode())
    return before


def check_version(root: Path, *, target: int = LAYOUT_VERSION) -> int:
    """Return the layout version of ``root`` if this agent can use it; nothing is written.

    Raises:
        StorageError: STORAGE_FAILED, the directory is of a newer agent, or its version cannot be read.
    """
    version = read_version(root)
    if version > target:
        message = (
            f"{root}: expected layout {target} or older, came {version} of a newer agent; nothing was changed: "
            "install that agent again, or begin anew in another state directory"
        )
        raise StorageError(Code.STORAGE_FAILED, message)
    return version


def read_version(root: Path) -> int:
    """Return the layout version of ``root``, 0 when it has none.

    Raises:
        StorageError: STORAGE_FAILED, the file cannot be read or is no number.
    """
    path = root / "layout_version"
    with durable.translated(path):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return 0
    if not text.strip().isdigit():
        raise StorageError(Code.STORAGE_FAILED, f"{path}: expected a number, came {text[:20]!r}")
    return int(text)
