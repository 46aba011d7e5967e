"""Who did what, in lines that each carry the digest of the one before.

A line that was changed, added in between or taken out breaks the chain. Lines cut
off at the end are noticed only by who remembers the last digest: the log cannot
prove its own length. A line that a power cut tore was never acknowledged; the next
append removes it.

A file that has grown large is set aside as ``audit.1.log``, ``audit.2.log`` … and the
chain goes on in a new one; files set aside are never changed or deleted here. Several
processes may append: the agent, and the verbs of a person beside it.
"""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.errors import Code, StorageError
from edge_agent.storage import durable
from edge_agent.storage.lock import locked

_START = "0" * 64
_TAIL_BYTES = 1 << 16
LIMIT_FILE_BYTES = 4 << 20
_RESERVED = frozenset({"at", "action", "previous", "sha256"})


class AuditLog:
    """The log in the file ``path``.

    Args:
        path: JSON lines; made by the first append.
        now: epoch seconds.
        limit_bytes: a file that has so much is set aside before the next line.
    """

    def __init__(
        self, path: Path, *, now: Callable[[], float] = time.time, limit_bytes: int = LIMIT_FILE_BYTES
    ) -> None:
        """Keep the path; nothing is read yet."""
        self._path = path
        self._now = now
        self._limit_bytes = limit_bytes
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
        with self._lock, locked(self._path.with_name(f".{self._path.name}.lock")):
            self._set_aside()
            line = {"at": round(self._now(), 3), "action": action, **fields, "previous": self._last()}
            durable.append(self._path, _encode({**line, "sha256": _digest(line)}), mode=0o640)

    def verify(self) -> int:
        """Read the whole log, files set aside included, and return the number of its lines.

        Raises:
            StorageError: STORAGE_FAILED names the first line that breaks the chain.
        """
        previous, lines = _START, 0
        for file in [*self._aside(), self._path]:
            previous, count = self._verify_file(file, previous)
            lines += count
        return lines

    def _verify_file(self, file: Path, previous: str) -> tuple[str, int]:
        number = 0
        with durable.translated(file):
            if not file.exists():
                return previous, 0
            with file.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if file == self._path and not line.endswith(b"\n"):
                        return previous, number - 1
                    previous = _follow(file, number, line, previous)
        return previous, number

    def _set_aside(self) -> None:
        with durable.translated(self._path):
            if not self._path.exists() or self._path.stat().st_size < self._limit_bytes:
                return
        # Also cuts off a torn line, which must not be set aside.
        self._last()
        numbers = [_number(self._path, file) for file in self._aside()]
        durable.publish(self._path, _named(self._path, max(numbers, default=0) + 1))

    def _aside(self) -> list[Path]:
        """Return the files that were set aside, the oldest first."""
        with durable.translated(self._path):
            files = [file for file in self._path.parent.glob("*") if _number(self._path, file)]
        return sorted(files, key=lambda file: _number(self._path, file))

    def _last(self) -> str:
        """Return the digest of the last whole line, cutting off a torn one."""
        files = [file for file in (self._path, *reversed(self._aside())) if file.exists()]
        digests = (self._last_of(file) for file in files)
        return next((digest for digest in digests if digest), _START)

    def _last_of(self, file: Path) -> str:
        """Return the digest of a file's last line; empty when it has none."""
        with durable.translated(file), file.open("rb") as reader:
            size = reader.seek(0, os.SEEK_END)
            reader.seek(max(0, size - _TAIL_BYTES))
            tail = reader.read()
        whole, _, torn = tail.rpartition(b"\n")
        if torn:
            durable.truncate(file, size - len(torn))
        line = whole.rpartition(b"\n")[2]
        if not line:
            return ""
        entry = _decode(line)
        if entry is None:
            message = f"{file}: expected the last line to carry its own digest: the log was changed"
            raise StorageError(Code.STORAGE_FAILED, message)
        return str(entry["sha256"])


def _follow(file: Path, number: int, line: bytes, previous: str) -> str:
    entry = _decode(line)
    if entry is None or entry.get("previous") != previous:
        message = f"{file}: line {number} does not follow the one before: the log was changed"
        raise StorageError(Code.STORAGE_FAILED, message)
    return str(entry["sha256"])


def _named(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def _number(path: Path, file: Path) -> int:
    """Return which file set aside this is; 0: none."""
    match = re.fullmatch(rf"{re.escape(path.stem)}\.([1-9][0-9]{{0,8}}){re.escape(path.suffix)}", file.name)
    return int(match[1]) if match else 0


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
