"""A whole deployment as strace saw it, replayed change by change into what a power cut may leave.

``PowerCut`` stands in for one module's ``os``; this is for everything that a thread does, SQLite and the
runtimes included. Shared-memory files of SQLite are left out: whoever opens a database first makes them anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.fakes.power_cut import PowerCut
from tests.fakes.tracer import CHANGES, Tracer

_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
_WORD = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>(?:\(deleted\))?|([^,\s][^,]*)')
_MEGABYTES = str(64 << 20)
_NOTHING = ("fchmod", "chmod", "fchmodat", "fchown", "chown", "lchown", "fchownat", "utimensat")


class Did(NamedTuple):
    """A call that succeeded: its words (paths and contents as bytes) and what it returned."""

    name: str
    words: list[bytes]
    returned: int


def recording(log: Path) -> Tracer:
    """Return a tracer that writes down every change with its bytes."""
    calls = ",".join([*CHANGES, "close", "lseek", "read"])
    return Tracer(log, "-xx", "-s", _MEGABYTES, "-e", f"trace={calls}", "-e", "signal=none")


def calls(text: str) -> Iterator[Did]:
    """Return the calls of a recording that succeeded, in order."""
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is not None and int(match[3]) >= 0:
            yield Did(match[1], [_word(found) for found in _WORD.finditer(match[2])], int(match[3]))


def _word(found: re.Match[str]) -> bytes:
    coded = found[1] if found[1] is not None else found[2]
    if coded is None:
        return found[3].encode()
    return bytes.fromhex(coded.replace("\\x", ""))


class RecordedDisk:
    """Feeds a recording to a ``PowerCut``, and what lies beside the directory to others.

    Args:
        disk: knows the directory as it was when the recording began.
        beside: told of bytes written elsewhere (path, bytes) with the moment.
    """

    def __init__(self, disk: PowerCut, beside: Callable[[Path, bytes, int], None]) -> None:
        self._disk = disk
        self._beside = beside
        self._at: dict[Path, int] = {}

    def replay(self, text: str) -> int:
        """Replay a recording and return the number of calls that changed something."""
        return sum(self._take(did) for did in calls(text))

    def _take(self, did: Did) -> bool:
        paths = [Path(os.fsdecode(word)) for word in did.words]
        act = getattr(self, f"_{did.name}", None)
        if did.name in _NOTHING or act is None:
            # A call that nobody thought of must not be dropped in silence.
            assert did.name in (*_NOTHING, "read", "lseek", "close"), did
            return False
        return bool(act(did, paths))

    def _is_ours(self, path: Path) -> bool:
        return path.is_relative_to(self._disk.root) and not path.name.endswith("-shm")

    def _openat(self, did: Did, paths: list[Path]) -> bool:
        path, flags = paths[0] / paths[1], did.words[2].decode()
        self._at[path] = 0
        if not self._is_ours(path) or "O_CREAT" not in flags:
            return False
        self._disk.note_file(path)
        if "O_APPEND" in flags:
            self._at[path] = self._disk.size_of(path)
        if "O_TRUNC" in flags and self._disk.size_of(path):
            self._disk.note_size(path, 0)
        return True

    def _write(self, did: Did, paths: list[Path]) -> bool:
        path, content = paths[0], did.words[1][: did.returned]
        if not self._is_ours(path):
            self._beside(path, content, self._disk.clock)
            return False
        start = self._at.get(path, 0)
        self._at[path] = start + len(content)
        self._disk.note_bytes(path, start, content)
        return True

    def _pwrite64(self, did: Did, paths: list[Path]) -> bool:
        if not self._is_ours(paths[0]):
            return False
        self._disk.note_bytes(paths[0], int(did.words[3]), did.words[1][: did.returned])
        return True

    def _ftruncate(self, did: Did, paths: list[Path]) -> bool:
        if not self._is_ours(paths[0]):
            return False
        self._disk.note_size(paths[0], int(did.words[1]))
        return True

    def _fsync(self, _did: Did, paths: list[Path]) -> bool:
        if not self._is_ours(paths[0]):
            return False
        self._disk.note_sync(paths[0])
        return True

    _fdatasync = _fsync

    def _rename(self, _did: Did, paths: list[Path]) -> bool:
        if not self._is_ours(paths[0]):
            return False
        self._disk.note_rename(*paths[:2])
        return True

    def _linkat(self, _did: Did, paths: list[Path]) -> bool:
        self._disk.note_link(paths[0] / paths[1], paths[2] / paths[3])
        return True

    def _link(self, _did: Did, paths: list[Path]) -> bool:
        self._disk.note_link(*paths[:2])
        return True

    def _symlink(self, did: Did, paths: list[Path]) -> bool:
        self._disk.note_symlink(os.fsdecode(did.words[0]), paths[1])
        return True

    def _unlink(self, _did: Did, paths: list[Path]) -> bool:
        if not self._is_ours(paths[0]):
            return False
        self._disk.note_removal(paths[0])
        return True

    def _unlinkat(self, _did: Did, paths: list[Path]) -> bool:
        return self._unlink(_did, [paths[0] / paths[1]])

    _rmdir = _unlink

    def _mkdir(self, _did: Did, paths: list[Path]) -> bool:
        if not self._is_ours(paths[0]):
            return False
        self._disk.note_directory(paths[0])
        return True
