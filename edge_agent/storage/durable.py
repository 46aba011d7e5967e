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

# System calls by their own names: the fault tests put a faulty `os` in this module's place.
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH211
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_agent.errors import Code, StorageError

STAGED_SUFFIX = ".staged"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20
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
        try:
            staged = _stage(path, content, mode)
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            staged = _stage(path, content, mode)
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
        if stat.S_ISDIR(os.lstat(staged).st_mode):
            _sync_tree(staged)
            os.rename(staged, target)
            _sync(target.parent)
            return
        if mode is not None:
            os.chmod(staged, mode)
        try:
            _sync(staged)
        except OSError:
            _forget(staged)
            raise
        os.rename(staged, target)
        _sync(target.parent)


def append(path: Path, content: bytes, *, mode: int = 0o600) -> int:
    """Add ``content`` at the end of ``path``, sync it and return the new length in bytes.

    On any error the file is cut back to where it was: after a failed fsync the bytes
    are the caller's to bring again.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(path):
        created = not path.exists()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with _opened(path, flags, mode) as descriptor:
            start = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, content)
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, start)
                raise
        if created:
            _sync(path.parent)
        return start + len(content)


def truncate(path: Path, size_bytes: int) -> None:
    """Cut ``path`` to ``size_bytes`` and sync it.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(path), _opened(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0) as descriptor:
        os.ftruncate(descriptor, size_bytes)
        os.fsync(descriptor)


def make_directory(path: Path, *, mode: int = 0o755) -> None:
    """Make ``path`` and its parents; each new name is synced in its directory.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(path):
        missing = [directory for directory in (path, *path.parents) if not directory.is_dir()]
        for directory in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(directory, mode)
            try:
                _sync(directory.parent)
            except OSError:
                # Without this a repeated call would find the directory and never sync its name.
                with suppress(OSError):
                    os.rmdir(directory)
                raise
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def link(source: Path, target: Path) -> None:
    """Give the published file ``source`` a second name; where links are impossible, a symlink, else a copy.

    The name is durable once ``target``'s directory is synced (``publish`` of it does).

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(target):
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            _link_otherwise(source, target)


def replace_by_link(source: Path, target: Path) -> None:
    """Make ``target`` another name of ``source``, in one step even if it exists.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    staged = staging_path(target)
    link(source, staged)
    with translated(target):
        _rename(staged, target)
        # rename(2): of two names of one file neither is removed.
        _forget(staged)


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with translated(path):
        _sync(path)


def remove(path: Path) -> None:
    """Delete the file ``path`` if it is there, and sync its directory.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with translated(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        _sync(path.parent)


def remove_tree(path: Path) -> None:
    """Delete a directory and what is in it, without following links; its name goes first.

    A crash leaves either all of it or a staged leftover for ``sweep``.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with translated(path):
        doomed = path if path.name.endswith(STAGED_SUFFIX) else staging_path(path)
        if doomed != path:
            try:
                os.rename(path, doomed)
            except FileNotFoundError:
                return
            _sync(path.parent)
        _clear(doomed)


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
            if entry.is_dir() and not entry.is_symlink():
                _clear(entry)
            else:
                os.unlink(entry)
        return len(leftovers)


def _is_staged(name: str) -> bool:
    return name.startswith(".") and name.endswith(STAGED_SUFFIX)


@contextmanager
def _opened(path: Path, flags: int, mode: int) -> Iterator[int]:
    descriptor = os.open(path, flags, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stage(path: Path, content: bytes, mode: int) -> Path:
    staged = staging_path(path)
    try:
        with _opened(staged, _NEW, 0o600) as descriptor:
            _write_all(descriptor, content)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except OSError:
        _forget(staged)
        raise
    return staged


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _rename(staged: Path, target: Path) -> None:
    try:
        os.rename(staged, target)
    except OSError:
        _forget(staged)
        raise
    _sync(target.parent)


def _sync(path: Path) -> None:
    with _opened(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0) as descriptor:
        os.fsync(descriptor)


def _sync_tree(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _sync_tree(entry)
    _sync(directory)


def _forget(path: Path) -> None:
    with suppress(OSError):
        os.unlink(path)


def _clear(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _clear(entry)
        else:
            os.unlink(entry)
    os.rmdir(directory)


def _link_otherwise(source: Path, target: Path) -> None:
    try:
        os.symlink(os.path.relpath(source, target.parent), target)
    except OSError as exc:
        # FAT knows neither kind of link.
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as reader, _opened(target, _NEW, 0o600) as descriptor:
            while chunk := reader.read(_CHUNK_BYTES):
                _write_all(descriptor, chunk)
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(reader.fileno()).st_mode))
            os.fsync(descriptor)
    except OSError:
        _forget(target)
        raise
