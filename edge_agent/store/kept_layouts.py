"""What an older agent needs of the state directory, kept before a migration changes it, and put back.

``kept-layout-N`` holds what the migration away from layout N touches, as a prepared exchange. It costs
little: unchanged files are second names. It is made before the migration's first step, so an agent of
layout N that finds it beside its own number knows that a newer one was cut off in between.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from edge_agent.errors import Code, StorageError
from edge_agent.storage import durable
from edge_agent.store import exchange
from edge_agent.store.generations import Committed, Generations

NUMBER_FILE = "layout_version"
_NAME = re.compile(r"kept-layout-([1-9][0-9]{0,8})")


def keep(root: Path, version: int, touches: Sequence[str]) -> None:
    """Keep what a migration away from layout ``version`` touches; once, however often the migration is tried.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED; nothing was kept.
    """
    kept = path_of(root, version)
    if kept.exists():
        return
    staged = durable.staging_path(kept)
    durable.make_directory(staged)
    names = [*touches, NUMBER_FILE]
    place = {name: str(number) for number, name in enumerate(names) if (root / name).exists()}
    for name, number in place.items():
        durable.keep(root / name, staged / number)
    exchange.write_index(staged, place=place, remove=[name for name in names if name not in place])
    durable.publish(staged, kept)


def kept(root: Path) -> list[int]:
    """Return the layouts that can be put back, the oldest first.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with durable.translated(root):
        names = [path.name for path in root.iterdir()] if root.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def forget(root: Path, *, before: int) -> None:
    """Delete what is kept of layouts older than ``before``: no agent that is still at hand asks for them.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    for version in kept(root):
        if version < before:
            durable.remove_tree(path_of(root, version))


def put_back(root: Path, *, now: int, target: int) -> None:
    """Bring ``root`` from the layout ``now`` back to the older one ``target``, one migration after the other.

    Raises:
        StorageError: NOT_FOUND, what is needed for it was not kept, and nothing was changed; NO_SPACE; STORAGE_FAILED.
    """
    for version in reversed(check(root, now=now, target=target)):
        exchange.begin(root, path_of(root, version))
        exchange.finish(root)


def check(root: Path, *, now: int, target: int) -> Sequence[int]:
    """Return the layouts that lead from ``now`` back to ``target``, the oldest first.

    Raises:
        StorageError: NOT_FOUND, one was not kept.
    """
    # The target's own in any case: its migration may have been cut off before the number changed.
    needed = range(target, max(now, target + 1))
    missing = sorted(set(needed) - set(kept(root)))
    if missing:
        message = f"{root}: expected what was kept of layout {missing[0]} before it was migrated, there is nothing"
        raise StorageError(Code.NOT_FOUND, message)
    return needed


def committed(root: Path, *, now: int, target: int) -> Mapping[str, Committed]:
    """Return what would be committed again, by model, if ``root`` were brought back; none where that stays as it is.

    Raises:
        StorageError: NOT_FOUND, as ``check``; STORAGE_FAILED.
    """
    kept = _generations(root, now, target)
    return kept.current().models if kept else {}


def leave_out(root: Path, models: Collection[str], *, now: int, target: int) -> None:
    """See to it that these models are not committed again when ``root`` is brought back; the others are.

    Raises:
        StorageError: NOT_FOUND, as ``check``; NO_SPACE; STORAGE_FAILED.
    """
    kept = _generations(root, now, target)
    if kept and models:
        left = {name: entry for name, entry in kept.current().models.items() if name not in models}
        kept.commit(left)


def _generations(root: Path, now: int, target: int) -> Generations | None:
    # The oldest is put back last.
    for version in check(root, now=now, target=target):
        place = exchange.read_index(path_of(root, version)).place
        if "generations" in place:
            return Generations(path_of(root, version) / place["generations"])
    return None


def path_of(root: Path, version: int) -> Path:
    """Return where a layout is kept, or would be."""
    return root / f"kept-layout-{version}"
