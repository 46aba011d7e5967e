"""The only place that writes files which must survive a power cut.

The order, here and nowhere else: write a temporary file beside the target
(O_EXCL, O_NOFOLLOW, same file system) -> fsync it -> rename -> fsync the directory.
A reader sees the old content or the new, never a mixture, and what a function has
returned from is on the disk.

Limits, to be known by callers:

- After a failed fsync the kernel forgets which pages were bad, so a second fsync
  may lie. The bytes are therefore staged again in a new file (``write``, once) or
  thrown away for the caller to stage again (``publish``, ``append``); the failed
  fsync itself is never retried.
- When the directory's fsync fails after the rename, the new content is visible but
  may be lost by a power cut; the error is raised and repeating the call mends it.
- A disk that acknowledges a flush and loses it cannot be helped from here; readers
  of what matters check digests.
- One writer per path: the state directory's lock sees to that.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import Code, StorageError
from edge_agent.storage import steps

STAGED_SUFFIX = ".staged"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names ``path``.

    Raises:
        StorageError: NO_SPACE when the disk or the quota is full, else STORAGE_FAILED.
    """
    try:
        yield
    except OSError as exc:
        code = Code.NO_SPACE if exc.errno in _FULL else Code.STORAGE_FAILED
        raise StorageError(code, f"{path}: {exc.strerror or exc}") from exc


def staging_path(target: Path) -> Path:
    """Return a fresh name beside ``target`` for content that is not published yet."""
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}{STAGED_SUFFIX}")


def write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content``; afterwards it is on the disk.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED; before the rename nothing has changed.
    """
    with translated(path):
        staged = staging_path(path)
        try:
            steps.stage(staged, content, mode)
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            staged = staging_path(path)
            steps.stage(staged, content, mode)
        _rename(staged, path)


def publish(staged: Path, target: Path, *, mode: int | None = None) -> None:
    """Sync ``staged`` (a file, or a directory and those in it), rename it to ``target``, sync the directory.

    Files inside a staged directory must have come from this module. A staged file
    whose fsync fails is deleted, since its bytes can no longer be trusted. With ``mode``
    the file gets these permissions first.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(target):
        if staged.is_dir() and not staged.is_symlink():
            steps.sync_tree(staged)
            steps.rename(staged, target)
            return
        if mode is not None:
            steps.permit(staged, mode)
        try:
            steps.sync(staged)
        except OSError:
            steps.forget(staged)
            raise
        steps.rename(staged, target)


def move(source: Path, target: Path) -> None:
    """Rename what is durable already, a file over what is there or a directory to where nothing is; repeatable.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED; both names may be looked at to see how far it came.
    """
    with translated(target):
        if source.exists():
            steps.rename(source, target)
        # Also of an earlier try, whose sync may have failed.
        steps.sync(target.parent)


def append(path: Path, content: bytes | bytearray, *, mode: int = 0o600) -> int:
    """Add ``content`` at the end of ``path``, sync it and return the new length in bytes.

    On any error the file is cut back to where it was: after a failed fsync the bytes
    are the caller's to bring again.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(path):
        created = not path.exists()
        size_bytes = steps.extend(path, content, mode)
        if created:
            steps.sync(path.parent)
        return size_bytes


def truncate(path: Path, size_bytes: int) -> None:
    """Cut ``path`` to ``size_bytes`` and sync it.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(path):
        steps.cut(path, size_bytes)


def make_directory(path: Path, *, mode: int = 0o755) -> None:
    """Make ``path`` and its parents; each new name is synced in its directory.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(path):
        missing = [directory for directory in (path, *path.parents) if not directory.is_dir()]
        for directory in reversed(missing):
            steps.make_directory(directory, mode)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def link(source: Path, target: Path) -> None:
    """Give the published file ``source`` a second name; where links are impossible, a symlink, else a copy.

    The name is durable once ``target``'s directory is synced (``publish`` of it does).

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(target):
        steps.link(source, target)


def keep(source: Path, target: Path) -> None:
    """Give a file, or all files of a directory, second names that outlive the first; copies where links are impossible.

    For files that are only ever replaced as a whole. Durable once ``target``'s directory is published.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(target):
        steps.keep(source, target)


def replace_by_link(source: Path, target: Path) -> None:
    """Make ``target`` another name of ``source``, in one step even if it exists.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(target):
        staged = staging_path(target)
        steps.link(source, staged)
        _rename(staged, target)
        # rename(2): of two names of one file neither is removed.
        steps.forget(staged)


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with translated(path):
        steps.sync(path)


def remove(path: Path) -> None:
    """Delete the file ``path`` if it is there, and sync its directory.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with translated(path):
        try:
            steps.remove(path)
        except FileNotFoundError:
            return


def remove_tree(path: Path) -> None:
    """Delete a directory and what is in it, if it is there, without following links.

    Its name goes first: a crash leaves either all of it or a staged leftover for ``sweep``.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with translated(path):
        if not path.is_dir():
            return
        doomed = path
        if not _is_staged(path.name):
            doomed = staging_path(path)
            steps.rename(path, doomed)
        steps.clear(doomed)


def sweep(directory: Path) -> int:
    """Delete what an unclean end left staged in ``directory``; return how many entries.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with translated(directory):
        if not directory.is_dir():
            return 0
        leftovers = [entry for entry in directory.iterdir() if _is_staged(entry.name)]
        for entry in leftovers:
            steps.clear(entry)
        return len(leftovers)


def _is_staged(name: str) -> bool:
    return name.startswith(".") and name.endswith(STAGED_SUFFIX)


def _rename(staged: Path, target: Path) -> None:
    try:
        steps.rename(staged, target)
    except OSError:
        steps.forget(staged)
        raise
