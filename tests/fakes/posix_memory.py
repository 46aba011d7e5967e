"""A POSIX segment, as clients make theirs."""

import os
import secrets
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

DIRECTORY = Path("/dev/shm")


class PosixMemory:
    """A segment that holds ``content``, or so many zeros; unlinked at the end of the block."""

    def __init__(self, content: bytes | int, *, mode: int = 0o600) -> None:
        self.name = f"/edge-agent-test-{secrets.token_hex(8)}"
        self.path = DIRECTORY / self.name[1:]
        # As shm_open does it.
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        if isinstance(content, int):
            os.ftruncate(self._descriptor, content)
        else:
            self.write(content)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        return os.pread(self._descriptor, self.size - offset if size is None else size, offset)

    def write(self, content: bytes, offset: int = 0) -> None:
        while content:
            written = os.pwrite(self._descriptor, content, offset)
            content, offset = content[written:], offset + written

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
