"""strace at one thread: lists what it changes on disk, or lets its n-th call of a name fail or be its last.

strace counts a call's occurrences for each thread apart; without ``-f`` it sees the one thread only, so that
a pair (call, n) means the same moment in every run.
"""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

# What can change a directory tree; openat counts when it may make or empty a file.
CHANGES = (
    "openat", "write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "truncate", "fallocate",
    "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir",
    "mkdirat", "rmdir", "mknodat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "lchown", "utimensat",
    "setxattr", "fsetxattr", "sendfile", "copy_file_range", "splice", "sync", "syncfs", "msync",
)  # fmt: skip
_CALL = re.compile(r"(?:\d+ )?(\w+)\((.*)")
INJECTED = "(INJECTED)"


class Call(NamedTuple):
    """The n-th occurrence of a system call in a thread, and what it was about."""

    name: str
    number: int
    line: str


class Tracer:
    """One strace process.

    Args:
        log: where it writes.
        options: beside the thread to look at.
    """

    def __init__(self, log: Path, *options: str) -> None:
        self._log = log
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def attach(self, thread: int) -> None:
        """Look at a thread from now on; returns when it is looked at."""
        command = ["strace", "-y", "-o", str(self._log), *self._options, "-p", str(thread)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        if "attached" not in said:
            raise AssertionError(f"strace: expected to attach, came {said!r}")

    def detach(self) -> None:
        """Let the thread run on alone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self.wait()

    def wait(self) -> None:
        """Wait until what is looked at has ended."""
        assert self._process is not None
        assert self._process.stderr is not None
        self._process.wait(30)
        self._process.stderr.close()

    def text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def fired(self) -> int:
        """Return how often the fault happened."""
        text = self.text()
        return text.count(INJECTED) or text.count("+++ killed by SIGKILL")


def counting(log: Path) -> Tracer:
    """Return a tracer that lists every call that can change something."""
    return Tracer(log, "-s", "0", "-e", f"trace={','.join(CHANGES)}", "-e", "signal=none")


def killing(log: Path, call: Call) -> Tracer:
    """Return a tracer that ends the process as it enters the call."""
    return _injecting(log, call, "signal=KILL")


def failing(log: Path, call: Call, error: str) -> Tracer:
    """Return a tracer that lets the call fail without being made."""
    return _injecting(log, call, f"error={error}")


def failing_all(log: Path, error: str) -> Tracer:
    """Return a tracer that lets every change to a file or a directory fail, as long as it looks.

    Opening is let through: what is opened can be read, as on a disk that is full or read-only.
    """
    names = [name for name in CHANGES if name not in ("openat", "write", "writev", "sendfile", "splice")]
    calls = ",".join(names)
    return Tracer(log, "-s", "0", "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}")


def _injecting(log: Path, call: Call, fault: str) -> Tracer:
    return Tracer(log, "-s", "0", "-e", f"trace={call.name}", "-e", f"inject={call.name}:{fault}:when={call.number}")


def changes(text: str, directory: Path) -> list[Call]:
    """Return the calls of a listing that change something in ``directory``."""
    counts: dict[str, int] = {}
    found = []
    for line in text.splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        name = match[1]
        counts[name] = counts.get(name, 0) + 1
        if f"{directory}/" in line or f"{directory}>" in line or f'{directory}"' in line:
            found.append(Call(name, counts[name], line))
    return found


def makes_something(call: Call) -> bool:
    """Tell whether a call changes the tree; one that only opens what is there does not."""
    return call.name != "openat" or "O_CREAT" in call.line or "O_TRUNC" in call.line
