"""An ``os`` for ``storage.steps`` whose n-th call fails, or after which the process is dead.

fsync does nothing here: what a killed process leaves is the page cache, and that
needs no disk. (What a power cut leaves is ``power_cut``'s subject.)
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHANGES = (
    "open", "write", "fsync", "fchmod", "chmod", "ftruncate", "rename", "link", "symlink", "unlink", "mkdir", "rmdir",
)  # fmt: skip


class Killed(BaseException):
    """The process is gone; not an Exception, so that nothing cleans up after it."""


class FaultyOs:
    """Counts the calls that change something, and breaks one.

    Args:
        at: number of the call that fails, from 1; 0: none does.
        error: errno of the failure; None: the process is killed at that call.
        lasting: the calls after it fail too (a disk that stays full).
    """

    def __init__(self, at: int = 0, error: int | None = None, *, lasting: bool = False) -> None:
        self.calls: list[str] = []
        self._at = at
        self._error = error
        self._lasting = lasting or error is None

    @property
    def fired(self) -> bool:
        """Tell whether the fault happened."""
        return 0 < self._at <= len(self.calls)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CHANGES:
            return real
        return lambda *args, **kwargs: self._change(name, real, args, kwargs)

    def _change(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append(name)
        number = len(self.calls)
        hit = number == self._at or (self._lasting and 0 < self._at < number)
        if not hit:
            return None if name == "fsync" else real(*args, **kwargs)
        if name == "write" and number == self._at:
            # A kill or a full disk in the middle of a write leaves the first half of it.
            real(args[0], bytes(args[1])[: len(args[1]) // 2])
        if self._error is None:
            raise Killed
        raise OSError(self._error, os.strerror(self._error))


@contextmanager
def faults(*, at: int = 0, error: int | None = None, lasting: bool = False) -> Iterator[FaultyOs]:
    """Put a faulty ``os`` below all durable writing for the block."""
    faulty = FaultyOs(at, error, lasting=lasting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_agent.storage.steps.os", faulty)
        yield faulty
