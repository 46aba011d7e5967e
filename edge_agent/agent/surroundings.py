"""What the machine around the agent is like: its clock, its disk, the certificate's end."""

import ctypes
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import IdentityError
from edge_agent.storage import durable

# adjtimex(2): the kernel's word for a clock that nobody sets, and for offsets in nanoseconds.
_UNSYNCHRONISED = 0x0040
_NANOSECONDS = 0x2000
# systemd-timesyncd touches it; where a filter forbids the system call, its file still tells.
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_ROOM = 512


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * _ROOM),
    )


class Synchronisation(NamedTuple):
    """Whether somebody sets the clock, and how far it is off; None: not known."""

    synchronised: bool | None = None
    offset_ms: float | None = None


def synchronisation(*, timesyncd: Path = _TIMESYNCD) -> Synchronisation:
    """Return what the kernel, or else systemd-timesyncd, knows of the clock."""
    told = _Timex()
    failed = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", lambda _: -1)(ctypes.byref(told)) < 0
    if failed:
        return Synchronisation(True if timesyncd.exists() else None)
    per_ms = 1e6 if told.status & _NANOSECONDS else 1e3
    return Synchronisation(not told.status & _UNSYNCHRONISED, round(told.offset / per_ms, 3))


class Disk(NamedTuple):
    """Bytes of the file system."""

    free_bytes: int
    total_bytes: int


def disk(directory: Path) -> Disk:
    """Return the space where a directory lies, as far as this process may use it.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with durable.translated(directory):
        found = shutil.disk_usage(directory)
    return Disk(found.free, found.total)


def certificate_ends(certificate: Path | None) -> float | None:
    """Return when a PEM certificate ends, epoch seconds; None where it cannot be read."""
    if certificate is None or not os.access(certificate, os.R_OK):
        return None
    # Only who has a certificate pays for the import.
    from edge_agent.identity import material  # noqa: PLC0415

    try:
        return material.read_certificate(certificate.read_bytes(), str(certificate)).ends
    except (OSError, IdentityError):
        return None
