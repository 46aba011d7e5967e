"""Shared memory of callers, read and never kept: POSIX by name, System V by id.

A POSIX segment is read, not mapped: its owner could shrink it, and a mapping would then
kill the reader. A System V segment cannot shrink; it is attached read-only, measured
while it is attached (its id cannot pass to another one then), copied and detached.
"""

import ctypes
import mmap
import os
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import Code, InferenceError

LIMIT_BYTES = 64 << 20
_POSIX = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
_IPC_STAT = 2
_SHM_RDONLY = 0o10000
# Fetches all pages in one call instead of one fault each; kernels before 5.14 refuse, which does no harm.
_MADV_POPULATE_READ = 22
_FAILED = ctypes.c_void_p(-1).value
_NAME_LIMIT = 255


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


def read_posix(name: str, offset: int, expected: int) -> bytes:
    """Return ``expected`` bytes of a POSIX segment.

    Raises:
        InferenceError: INVALID_ARGUMENT (no such segment, or it does not hold so many bytes there),
            PERMISSION_DENIED.
    """
    what = f"shared memory {name!r}"
    plain = name.removeprefix("/")
    if not plain or "/" in plain or "\0" in plain or plain in (".", "..") or len(plain.encode()) > _NAME_LIMIT:
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected a name as shm_open takes it, like /frame")
    try:
        # Not blocking: what lies there might be a pipe instead.
        descriptor = os.open(_POSIX / plain, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise _refused(what, exc.errno or 0) from exc
    try:
        _check_bounds(what, os.fstat(descriptor).st_size, offset, expected)
        content = bytearray(expected)
        read = os.preadv(descriptor, [content], offset)
    except OSError as exc:
        raise _refused(what, exc.errno or 0) from exc
    finally:
        os.close(descriptor)
    _check_bounds(what, offset + read, offset, expected)
    return bytes(content)


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


def _refused(what: str, errno: int) -> InferenceError:
    code = Code.PERMISSION_DENIED if errno in (1, 13) else Code.INVALID_ARGUMENT
    return InferenceError(code, f"{what}: cannot be read, {os.strerror(errno).lower()}")
