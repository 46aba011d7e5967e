"""One agent per state directory, one writer at a time of a file that several processes may change."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from edge_agent.errors import Code, StorageError
from edge_agent.storage.durable import make_directory, translated


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for the block, after whoever holds it now.

    For blocks that end at once; nothing is written into the file.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with translated(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        with translated(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class StateLock:
    """Holds the lock file ``path`` for the life of a ``with`` block.

    The kernel frees it when the process ends, however it ends. Children that are
    spawned do not inherit it (O_CLOEXEC).
    """

    def __init__(self, path: Path) -> None:
        """Keep the path; nothing is locked yet."""
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> None:
        """Take the lock.

        Raises:
            StorageError: STORE_LOCKED, another process holds it; STORAGE_FAILED.
        """
        make_directory(self._path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with translated(self._path):
            descriptor = os.open(self._path, flags, 0o644)
        try:
            with translated(self._path):
                self._take(descriptor)
        except StorageError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            message = f"{self._path}: expected to be free, process {holder} holds it"
            raise StorageError(Code.STORE_LOCKED, message) from exc
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the lock; the file stays, since deleting it would let two agents lock two files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
