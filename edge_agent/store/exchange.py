"""Entries of the state directory exchanged as a whole: all of them or none, wherever the power goes.

What shall be there is prepared in a directory beside, with an index of what it replaces and what goes.
Its renaming to ``exchange`` is the moment that counts: from then on the state directory is what the
exchange says, and whoever starts next finishes it before anything else is read. Every step may be
repeated. The caller holds the state directory's lock.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_agent.errors import Code, DocumentError, StorageError
from edge_agent.formats import Document, parse
from edge_agent.storage import durable

NAME = "exchange"
_INDEX = "index.json"


class Index(Document):
    """What an exchange does."""

    place: dict[str, str]
    """Paths in the state directory, and what is prepared for each: a file, or a directory with all that is in it."""
    remove: tuple[str, ...] = ()
    """Paths in the state directory that go before anything is placed."""


def write_index(prepared: Path, *, place: Mapping[str, str], remove: Sequence[str] = ()) -> None:
    """Say what the directory ``prepared`` replaces.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    # Done again, a removal would take what was placed already.
    assert not set(place) & set(remove), f"expected names that are placed or removed, came {set(place) & set(remove)}"
    durable.write(prepared / _INDEX, Index(place=dict(place), remove=tuple(remove)).to_json())


def read_index(prepared: Path) -> Index:
    """Return what a prepared directory replaces.

    Raises:
        StorageError: STORAGE_FAILED, the index cannot be read.
    """
    path = prepared / _INDEX
    with durable.translated(path):
        content = path.read_bytes()
    try:
        index = parse(Index, content, what=str(path))
    except DocumentError as exc:
        raise StorageError(Code.STORAGE_FAILED, exc.message) from exc
    for name in (*index.place, *index.place.values(), *index.remove):
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise StorageError(Code.STORAGE_FAILED, f"{path}: expected paths inside the directory, came {name!r}")
    return index


def begin(root: Path, prepared: Path) -> None:
    """Make ``prepared`` what the state directory ``root`` shall be; ``finish`` is to follow.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    durable.publish(prepared, root / NAME)


def is_pending(root: Path) -> bool:
    """Tell whether an exchange was begun and not finished."""
    return (root / NAME).is_dir()


def finish(root: Path) -> None:
    """Do what is left of an exchange; nothing when there is none.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED; to be called again.
    """
    if not is_pending(root):
        return
    pending = root / NAME
    index = read_index(pending)
    for name in index.remove:
        _clear(root / name)
    for name, source in index.place.items():
        _place(pending / source, root / name)
    durable.remove_tree(pending)


def _place(source: Path, target: Path) -> None:
    if source.is_dir() or (source.exists() and target.is_dir()):
        _clear(target)
    durable.make_directory(target.parent)
    # Gone where an earlier try has placed it.
    durable.move(source, target)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        durable.remove_tree(path)
    else:
        durable.remove(path)
