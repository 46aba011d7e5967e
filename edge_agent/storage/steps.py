"""The single steps of durable writing; their order is ``durable``'s business.

Everything that changes the state directory (SQLite apart) is a system call of this
module, so a fault test that puts a faulty ``os`` in its place sees every one. All
functions raise OSError.
"""

# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH211  (system calls by their own names)
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20
_NO_HARD_LINKS = (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)
# FAT knows neither kind of link.
_NO_SYMLINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def opened(path: Path, flags: int, mode: int = 0) -> Iterator[int]:
    """Yield a descriptor that children do not inherit and that no symlink leads to."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def stage(staged: Path, content: bytes, mode: int) -> None:
    """Write and sync the new file ``staged``; on an error there is none."""
    try:
        with opened(staged, _NEW, 0o600) as descriptor:
            _write_all(descriptor, content)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except OSError:
        forget(staged)
        raise


def extend(path: Path, content: bytes | bytearray, mode: int) -> int:
    """Append and sync; return the new length. On an error the file is cut back to where it was."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode) as descriptor:
        start = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, start)
            raise
    return start + len(content)


def cut(path: Path, size_bytes: int) -> None:
    """Truncate and sync."""
    with opened(path, os.O_WRONLY) as descriptor:
        os.ftruncate(descriptor, size_bytes)
        os.fsync(descriptor)


def sync(path: Path) -> None:
    """Sync a file, or the names in a directory."""
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


def sync_tree(directory: Path) -> None:
    """Sync the names in a directory and in those below it."""
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            sync_tree(entry)
    sync(directory)


def make_directory(directory: Path, mode: int) -> None:
    """Make one directory and sync its name; one that is there is fine."""
    with suppress(FileExistsError):
        os.mkdir(directory, mode)
    try:
        sync(directory.parent)
    except OSError:
        # Else a repeated call would find the directory and never sync its name.
        with suppress(OSError):
            os.rmdir(directory)
        raise


def permit(path: Path, mode: int) -> None:
    """Set permissions."""
    os.chmod(path, mode)


def rename(source: Path, target: Path) -> None:
    """Rename in one step, over what is there, and sync the target's directory."""
    os.rename(source, target)
    sync(target.parent)


def link(source: Path, target: Path) -> None:
    """Give a file a second name: a hard link, else a symlink, else a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        _link_otherwise(source, target)


def keep(source: Path, target: Path) -> None:
    """Give a file, or the files of a directory, second names; a copy where hard links are impossible."""
    if source.is_dir() and not source.is_symlink():
        os.mkdir(target, stat.S_IMODE(source.stat().st_mode))
        for entry in source.iterdir():
            keep(entry, target / entry.name)
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        _copy(source, target)


def remove(path: Path) -> None:
    """Delete a file and sync its directory."""
    os.unlink(path)
    sync(path.parent)


def forget(path: Path) -> None:
    """Delete a staged file if that can be done; the sweep finds it otherwise."""
    with suppress(OSError):
        os.unlink(path)


def clear(path: Path) -> None:
    """Delete a file, a link, or a directory with what is in it, unsynced."""
    if path.is_symlink() or not path.is_dir():
        os.unlink(path)
        return
    for entry in path.iterdir():
        clear(entry)
    os.rmdir(path)


def _write_all(descriptor: int, content: bytes | bytearray) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _link_otherwise(source: Path, target: Path) -> None:
    try:
        os.symlink(os.path.relpath(source, target.parent), target)
    except OSError as exc:
        if exc.errno not in _NO_SYMLINKS:
            raise
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as reader, opened(target, _NEW, 0o600) as descriptor:
            while chunk := reader.read(_CHUNK_BYTES):
                _write_all(descriptor, chunk)
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(reader.fileno()).st_mode))
            os.fsync(descriptor)
    except OSError:
        forget(target)
        raise
