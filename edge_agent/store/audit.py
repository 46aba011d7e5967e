"""Who did what, in lines that each carry the digest of the one before.

A line that was changed, added in between or taken out breaks the chain. Lines cut
off at the end are noticed only by who remembers the last digest: the log cannot
prove its own length. A line that a power cut tore was never acknowledged; the next
append removes it.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.errors import Code, StorageError
from edge_agent.storage import durable

_START = "0" * 64
_TAIL_BYTES = 1 << 16
_RESERVED = frozenset({"at", "action", "previous", "sha256"})


class AuditLog:
    """The log in the file ``path``.

    Args:
        path: JSON lines; made by the first append.
        now: epoch seconds.
    """

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        """Keep the path; nothing is read yet."""
        self._path = path
        self._now = now
        self._lock = threading.Lock()

    def append(self, action: str, **fields: Any) -> None:
        """Add a line; afterwards it is on the disk.

        Args:
            action: what was done, in the past tense.
            fields: values that JSON knows; not ``at``, ``previous`` or ``sha256``.

        Raises:
            ValueError: a field's name is reserved or its value is not JSON's.
            StorageError: NO_SPACE or STORAGE_FAILED; the log is as it was.
        """
        if taken := _RESERVED & set(fields):
            raise ValueError(f"expected other field names than {sorted(taken)}")
        with self._lock:
            line = {"at": round(self._now(), 3), "action": action, **fields, "previous": self._last()}
            durable.append(self._path, _encode({**line, "sha256": _digest(line)}), mode=0o640)

    def verify(self) -> int:
        """Read the whole log and return the number of its lines.

        Raises:
            StorageError: STORAGE_FAILED names the first line that breaks the chain.
        """
        previous, number = _START, 0
        with durable.translated(self._path):
            if not self._path.exists():
                return 0
            with self._path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if not line.endswith(b"\n"):
                        return number - 1
                    previous = self._follow(number, line, previous)
        return number

    def _follow(self, number: int, line: bytes, previous: str) -> str:
        entry = _decode(line)
        if entry is None or entry.get("previous") != previous:
            message = f"{self._path}: line {number} does not follow the one before: the log was changed"
            raise StorageError(Code.STORAGE_FAILED, message)
        return str(entry["sha256"])

    def _last(self) -> str:
        """Return the digest of the last whole line, cutting off a torn one."""
        with durable.translated(self._path):
            if not self._path.exists():
                return _START
            with self._path.open("rb") as reader:
                size = reader.seek(0, os.SEEK_END)
                reader.seek(max(0, size - _TAIL_BYTES))
                tail = reader.read()
        whole, _, torn = tail.rpartition(b"\n")
        if torn:
            durable.truncate(self._path, size - len(torn))
        line = whole.rpartition(b"\n")[2]
        if not line:
            return _START
        entry = _decode(line)
        if entry is None:
            message = f"{self._path}: expected the last line to carry its own digest: the log was changed"
            raise StorageError(Code.STORAGE_FAILED, message)
        return str(entry["sha256"])


def _encode(entry: dict[str, Any]) -> bytes:
    try:
        line = json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except TypeError as exc:
        raise ValueError(f"expected values that JSON knows, {exc}") from exc
    if len(line) >= _TAIL_BYTES:
        raise ValueError(f"expected a line of less than {_TAIL_BYTES} bytes, came {len(line)}")
    return line


def _digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(_encode(entry)).hexdigest()


def _decode(line: bytes) -> dict[str, Any] | None:
    """Return the line's entry if its digest is its own."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    claimed = entry.pop("sha256", None)
    return {**entry, "sha256": claimed} if claimed == _digest(entry) else None
