"""Starts processes in sessions of their own, writes them down, and ends them, whoever started them.

What is written down outlives a SIGKILL of the demo: the next run ends what is left. A
process is known by id, start time and boot, so a stranger that got the id is left alone.
"""

import ipaddress
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from cloud_tools.local.process import ProcessRecord, boot_id, started_at, terminate

_GRACE_S = 15.0


class Known(NamedTuple):
    """One process that was started."""

    name: str
    pid: int
    started: int
    boot: str

    @property
    def record(self) -> ProcessRecord:
        """Return it as the local cloud's tools take it."""
        return ProcessRecord(self.pid, self.started, self.boot, 0, 0)


class Processes:
    """The processes of one demo, in the order in which they were started.

    Args:
        record: the file that names them.
        logs: directory of their output.
    """

    def __init__(self, record: Path, logs: Path) -> None:
        self._record = record
        self._logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._known: dict[str, Known] = {}

    @property
    def pids(self) -> list[int]:
        """Return the ids of those that were started and not ended."""
        return [child.pid for child in self._children.values()]

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start ``command``; its output goes to ``name``.log."""
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(environment),
            )
        self._children[name] = child
        self._known[name] = Known(name, child.pid, started_at(child.pid) or 0, boot_id())
        self._write()

    def log(self, name: str) -> Path:
        """Return where a process's output is."""
        return self._logs / f"{name}.log"

    def tail(self, name: str, characters: int = 2000) -> str:
        """Return the end of a process's output."""
        try:
            return self.log(name).read_text(encoding="utf-8", errors="replace")[-characters:]
        except OSError:
            return ""

    def ended(self) -> dict[str, int]:
        """Return those that ended by themselves, with their exit codes."""
        codes = {name: child.poll() for name, child in self._children.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def kill(self, name: str) -> None:
        """End one as a power cut does."""
        child = self._children.pop(name)
        child.kill()
        child.wait()
        self._forget(name)

    def stop(self, name: str) -> int:
        """End one in good order, or by force when it takes too long; return its exit code."""
        child = self._children.pop(name)
        _end(self._known[name])
        code = child.wait()
        self._forget(name)
        return code

    def stop_all(self) -> None:
        """End all of them, the last one first."""
        for name in reversed(list(self._children)):
            self.stop(name)

    def end_leftovers(self) -> list[str]:
        """End what an earlier run that was killed has left; return the names."""
        left = [known for known in self._read() if known.record.alive]
        for known in reversed(left):
            _end(known)
        self._record.unlink(missing_ok=True)
        return [known.name for known in left]

    def _forget(self, name: str) -> None:
        del self._known[name]
        self._write()

    def _write(self) -> None:
        staged = self._record.with_suffix(".new")
        staged.write_text(json.dumps([known._asdict() for known in self._known.values()]), encoding="utf-8")
        staged.replace(self._record)

    def _read(self) -> list[Known]:
        try:
            return [Known(**entry) for entry in json.loads(self._record.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return []


def _end(known: Known) -> None:
    # Found before the end of their parent, by which they would be nobody's children.
    family = descendants([known.pid])
    if not terminate(known.record, _GRACE_S) and known.record.alive:
        os.kill(known.pid, signal.SIGKILL)
    limit = time.monotonic() + _GRACE_S
    for process in family:
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            process.wait(max(0.0, limit - time.monotonic()))
        with suppress(psutil.NoSuchProcess):
            process.kill()


def descendants(pids: Iterable[int]) -> list[psutil.Process]:
    """Return the processes that those of ``pids`` have started, they themselves not."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.update((child.pid, child) for child in psutil.Process(pid).children(recursive=True))
    return list(found.values())


def listening(pids: Iterable[int]) -> set[str]:
    """Return where these processes and their descendants accept TCP connections or UDP packets."""
    pids = list(pids)
    everyone = [*descendants(pids)]
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            everyone.append(psutil.Process(pid))
    found = set()
    for process in everyone:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for connection in process.net_connections(kind="inet"):
                open_udp = connection.type == 2 and not connection.raddr  # noqa: PLR2004 - SOCK_DGRAM
                if connection.laddr and (connection.status == psutil.CONN_LISTEN or open_udp):
                    found.add(f"{_plain(connection.laddr.ip)}:{connection.laddr.port}")
    return found


def _plain(address: str) -> str:
    """Return an IPv4 address as such where an IPv6 socket is bound to it (RFC 4291, 2.5.5.2)."""
    mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    return str(mapped or address)
