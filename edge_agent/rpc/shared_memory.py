"""Shared memory of callers, read or filled and never kept: POSIX by name, System V by id.

A POSIX segment is read and written, not mapped: its owner could shrink it, and a mapping would
then kill the reader. A System V segment cannot shrink; it is attached read-only, measured
while it is attached (its id cannot pass to another one then), copied and detached. Callers from
the network lend none: their name would mean a segment of somebody on this machine.
"""

import ctypes
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.callers import check_on_this_machine

LIMIT_BYTES = 64 << 20
_POSIX = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
_IPC_STAT = 2
_SHM_RDONLY = 0o10000
# Fetches all pages in one call instead of one fault each; kernels before 5.14 refuse, which does no harm.
_MADV_POPULATE_READ = 22
_FAILED = ctypes.c_void_p(-1).value
_NAME_LIMIT = 255
# glibc keeps named semaphores beside the segments.
_SEMAPHORES = "sem."


class SharedMemory(NamedTuple):
    """A part of a System V segment; ``size`` 0: as much as its reader expects."""

    segment_id: int
    offset: int
    size: int


class _Permissions(ctypes.Structure):
    _fields_ = (
        ("key", ctypes.c_int),
        ("owners", ctypes.c_uint * 4),
        ("mode", ctypes.c_uint),
        ("sequence", ctypes.c_ushort),
        ("reserved", ctypes.c_ulong * 2),
    )


class _Segment(ctypes.Structure):
    # struct shmid_ds of 64-bit Linux; the tail leaves room for what is not read.
    _fields_ = (("permissions", _Permissions), ("size", ctypes.c_size_t), ("tail", ctypes.c_byte * 256))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.shmdt.argtypes = (ctypes.c_void_p,)
_libc.shmctl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Segment))


def read_system_v(memory: SharedMemory, expected: int) -> bytes:
    """Return the bytes of a System V segment.

    Args:
        memory: where they are.
        expected: how many they must be.

    Raises:
        InferenceError: INVALID_ARGUMENT (no such segment, or it does not hold so many bytes there),
            PERMISSION_DENIED.
    """
    what = f"shared memory segment {memory.segment_id}"
    check_on_this_machine(what)
    if memory.size not in (0, expected):
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected size {expected} or 0, came {memory.size}")
    if memory.segment_id >= 1 << 31:
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected the id that shmget returned")
    address = _libc.shmat(memory.segment_id, None, _SHM_RDONLY)
    if address == _FAILED:
        raise _refused(what, ctypes.get_errno())
    try:
        _check_bounds(what, _attached_size(what, memory.segment_id), memory.offset, expected)
        page = memory.offset % mmap.PAGESIZE
        _libc.madvise(address + memory.offset - page, expected + page, _MADV_POPULATE_READ)
        return ctypes.string_at(address + memory.offset, expected)
    finally:
        _libc.shmdt(address)


def read_posix(name: str, offset: int, expected: int) -> memoryview:
    """Return ``expected`` bytes of a POSIX segment, copied once.

    Raises:
        InferenceError: INVALID_ARGUMENT (no such segment, or it does not hold so many bytes there),
            PERMISSION_DENIED.
    """
    what = _what(name)
    descriptor = _open(name, os.O_RDONLY)
    try:
        _check_bounds(what, os.fstat(descriptor).st_size, offset, expected)
        content = np.empty(expected, np.uint8).data
        read = os.preadv(descriptor, [content], offset)
    except OSError as exc:
        raise _refused(what, exc.errno or 0) from exc
    finally:
        os.close(descriptor)
    _check_bounds(what, offset + read, offset, expected)
    return content


def check_posix(name: str, offset: int, size_bytes: int) -> None:
    """Check that a POSIX segment holds bytes there; its owner may take them away at any time.

    Raises:
        InferenceError: INVALID_ARGUMENT (no such segment, or it does not hold so many bytes there),
            PERMISSION_DENIED.
    """
    descriptor = _open(name, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode) or offset + size_bytes > status.st_size:
        message = f"{_what(name)}: expected {size_bytes} bytes from {offset} on, it holds {status.st_size}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)


class PosixTarget:
    """A part of a caller's POSIX segment that waits to be filled.

    Args:
        descriptor: the segment, open for writing; whoever opened it closes it.
        name: as the caller told it.
        offset: of the first byte.
    """

    def __init__(self, descriptor: int, name: str, offset: int) -> None:
        self._descriptor = descriptor
        self.name = name
        self.offset = offset

    def write(self, content: bytes | memoryview) -> None:
        """Fill it.

        Raises:
            InferenceError: INVALID_ARGUMENT: the segment does not hold so many bytes there (any more).
        """
        what, rest, at = _what(self.name), memoryview(content), self.offset
        try:
            _check_bounds(what, os.fstat(self._descriptor).st_size, at, len(rest))
            while rest:
                written = os.pwrite(self._descriptor, rest, at)
                rest, at = rest[written:], at + written
        except OSError as exc:
            raise _refused(what, exc.errno or 0, "written") from exc


@contextmanager
def posix_target(name: str, offset: int, expected: int) -> Iterator[PosixTarget]:
    """Open a POSIX segment that is to take ``expected`` bytes from ``offset`` on; nothing is written yet.

    Raises:
        InferenceError: INVALID_ARGUMENT (no such segment, or it does not hold so many bytes there),
            PERMISSION_DENIED.
    """
    what = _what(name)
    if name.removeprefix("/").startswith(_SEMAPHORES):
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected shared memory, came a semaphore's name")
    descriptor = _open(name, os.O_WRONLY)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected shared memory, something else lies there")
        _check_bounds(what, status.st_size, offset, expected)
        yield PosixTarget(descriptor, name, offset)
    finally:
        os.close(descriptor)


def rest_of_system_v(memory: SharedMemory) -> int:
    """Return how many bytes a System V segment holds from the offset on.

    Raises:
        InferenceError: INVALID_ARGUMENT (no such segment, or it ends before), PERMISSION_DENIED.
    """
    what = f"shared memory segment {memory.segment_id}"
    check_on_this_machine(what)
    if memory.segment_id >= 1 << 31:
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected the id that shmget returned")
    size = _attached_size(what, memory.segment_id)
    _check_bounds(what, size, memory.offset, 0)
    return size - memory.offset


def _what(name: str) -> str:
    return f"shared memory {name[: _NAME_LIMIT + 1]!r}"


def _open(name: str, access: int) -> int:
    check_on_this_machine(_what(name))
    plain = name.removeprefix("/")
    if not plain or "/" in plain or "\0" in plain or plain in (".", "..") or len(plain.encode()) > _NAME_LIMIT:
        message = f"{_what(name)}: expected a name as shm_open takes it, like /frame"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    try:
        # Not blocking: what lies there might be a pipe instead.
        return os.open(_POSIX / plain, access | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        act = "written" if access == os.O_WRONLY else "read"
        raise _refused(_what(name), exc.errno or 0, act) from exc


def _attached_size(what: str, segment_id: int) -> int:
    segment = _Segment()
    if _libc.shmctl(segment_id, _IPC_STAT, ctypes.byref(segment)) != 0:
        raise _refused(what, ctypes.get_errno())
    return int(segment.size)


def _check_bounds(what: str, size: int, offset: int, expected: int) -> None:
    if expected > LIMIT_BYTES:
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected at most {LIMIT_BYTES} bytes, came {expected}")
    if offset + expected > size:
        message = f"{what}: expected {expected} bytes from {offset} on, it holds {size}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)


def _refused(what: str, errno: int, act: str = "read") -> InferenceError:
    code = Code.PERMISSION_DENIED if errno in (1, 13) else Code.INVALID_ARGUMENT
    return InferenceError(code, f"{what}: cannot be {act}, {os.strerror(errno).lower()}")
