"""The state directory's layout and how an older one becomes today's.

``layout_version`` holds one number. Each migration takes the directory from its
number to the next and may be repeated, since a power cut can fall anywhere in it and
between it and the new number. There are no migrations down: what one touches is kept
before (``kept_layouts``), and put back when somebody asks an older agent for it. Unasked
that refuses the directory, and says so, without touching it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import Code, StorageError
from edge_agent.storage import durable
from edge_agent.storage.device_key import device_key
from edge_agent.store import exchange, kept_layouts
from edge_agent.store.kept_layouts import NUMBER_FILE

LAYOUT_VERSION = 2
_BEGUN_FILE = "layout_before"
DIRECTORIES = ("blobs", "partial", "versions", "generations", "quarantine")

# What an older agent goes on with as it is: trust never sinks, the audit log and captures are never undone.
NEVER_PUT_BACK = frozenset({"trust", "audit.log", "blobs", "captures", "quarantine", "device.key", "lock"})


class Migration(NamedTuple):
    """One step from a layout to the next.

    Attributes:
        apply: takes the state directory there; may be repeated.
        touches: what of the directory it changes, deletes or makes, which is all as it was when it is put back:
            files that are only ever replaced as a whole, and directories of such. Databases count their own versions.
    """

    apply: Callable[[Path], None]
    touches: tuple[str, ...] = ()


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


# Agents of layout 1 cannot put anything back, and build engines again by themselves.
MIGRATIONS: Mapping[int, Migration] = {0: Migration(_make_directories), 1: Migration(_begin_sealing)}


def prepare(root: Path, *, migrations: Mapping[int, Migration] = MIGRATIONS, target: int = LAYOUT_VERSION) -> int:
    """Bring ``root`` to the layout ``target`` and return the version it had before (0: new).

    Raises:
        StorageError: STORAGE_FAILED, the directory is of a newer agent or cannot be written; NO_SPACE.
    """
    before = version = check_version(root, target=target)
    if version == 0:
        durable.make_directory(root)
    elif leads_back(root, target=target):
        kept_layouts.put_back(root, now=version, target=target)
    oldest = _begun_at(root, version, target)
    while version < target:
        _migrate(root, version, migrations[version], oldest=oldest)
        version += 1
    if (root / _BEGUN_FILE).exists():
        durable.remove(root / _BEGUN_FILE)
    return before


def _begun_at(root: Path, version: int, target: int) -> int:
    """Return the layout at which this upgrade began, also where it was cut off between two of its steps.

    What was kept of that one is needed until the upgrade has ended: by the agent that was there before.
    """
    path = root / _BEGUN_FILE
    if path.exists():
        return min(version, _read_number(path))
    if version and target > version + 1:
        durable.write(path, f"{version}\n".encode())
    return version


def _migrate(root: Path, version: int, migration: Migration, *, oldest: int) -> None:
    if version:
        kept_layouts.forget(root, before=oldest)
        if migration.touches:
            kept_layouts.keep(root, version, migration.touches)
    migration.apply(root)
    durable.write(root / NUMBER_FILE, f"{version + 1}\n".encode())


def put_back(root: Path, *, target: int = LAYOUT_VERSION) -> int:
    """Bring what a newer agent migrated back to ``target``, as it was before; return the layout that it had.

    Nothing happens where the layout is one that this agent can use.

    Raises:
        StorageError: NOT_FOUND, it was not kept, and nothing was changed; NO_SPACE; STORAGE_FAILED.
    """
    exchange.finish(root)
    now = read_version(root)
    if leads_back(root, target=target):
        kept_layouts.put_back(root, now=now, target=target)
    return now


def leads_back(root: Path, *, target: int = LAYOUT_VERSION) -> bool:
    """Tell whether a newer agent migrated ``root``, or was cut off in it before that counted: nothing was used then.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    now = read_version(root)
    return now > target or (now == target > 0 and now in kept_layouts.kept(root))


def check_version(root: Path, *, target: int = LAYOUT_VERSION) -> int:
    """Return the layout version of ``root`` if this agent can use it; nothing is written.

    Raises:
        StorageError: STORAGE_FAILED, the directory is of a newer agent, or its version cannot be read.
    """
    version = read_version(root)
    if version > target:
        way = "begin anew in another state directory"
        if target in kept_layouts.kept(root):
            way = f"take back what was kept of layout {target} by `edge-agent state back`"
        message = (
            f"{root}: expected layout {target} or older, came {version} of a newer agent; nothing was changed: "
            f"install that agent again, or {way}"
        )
        raise StorageError(Code.STORAGE_FAILED, message)
    return version


def read_version(root: Path) -> int:
    """Return the layout version of ``root``, 0 when it has none.

    Raises:
        StorageError: STORAGE_FAILED, the file cannot be read or is no number.
    """
    return _read_number(root / NUMBER_FILE)


def _read_number(path: Path) -> int:
    with durable.translated(path):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return 0
    if not text.strip().isdigit():
        raise StorageError(Code.STORAGE_FAILED, f"{path}: expected a number, came {text[:20]!r}")
    return int(text)
