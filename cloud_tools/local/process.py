"""The emulator's process as others find it: a file that names it and cannot be mistaken.

A process id alone can be reused by a stranger. The file therefore holds also the
boot's id and the process's start time in clock ticks since boot, which no clock change
moves; and a signal goes through a descriptor that was opened before the comparison.
"""

import json
import os
import select
import signal
from pathlib import Path
from typing import NamedTuple

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# proc(5): field 22 is the start time, field 3 the state; two fields stand before the state.
_STATE, _START_TIME = 0, 19


class ProcessRecord(NamedTuple):
    """One process, for ever."""

    pid: int
    started: int
    boot: str
    gateway_port: int
    mqtt_port: int

    @property
    def alive(self) -> bool:
        """Tell whether this very process still runs."""
        return self.boot == boot_id() and started_at(self.pid) == self.started


def started_at(pid: int) -> int | None:
    """Return a running process's start time in ticks since boot, None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name stands in brackets and may itself hold brackets and spaces.
    fields = text.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZX" else int(fields[_START_TIME])


def boot_id() -> str:
    """Return what no other boot of this or another machine has."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def write_own(path: Path, gateway_port: int, mqtt_port: int) -> None:
    """Write this process into ``path``, whole or not at all."""
    pid = os.getpid()
    record = ProcessRecord(pid, started_at(pid) or 0, boot_id(), gateway_port, mqtt_port)
    staged = path.with_suffix(".new")
    staged.write_text(to_json(record), encoding="utf-8")
    staged.replace(path)


def to_json(record: ProcessRecord) -> str:
    """Return what the file holds."""
    return json.dumps(record._asdict())


def read(path: Path) -> ProcessRecord | None:
    """Return the process that ``path`` names; None when there is no file or it is torn."""
    try:
        return ProcessRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def terminate(record: ProcessRecord, timeout_s: float) -> bool:
    """Ask that process, and no other, to end; tell whether it did in time."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return True
    try:
        if record.alive:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            waiter = select.poll()
            waiter.register(descriptor, select.POLLIN)
            return bool(waiter.poll(timeout_s * 1000))
        return True
    finally:
        os.close(descriptor)
