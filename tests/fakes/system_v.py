"""A System V segment, as SageMaker Edge's clients make theirs."""

import ctypes
from types import TracebackType

from typing_extensions import Self

_IPC_PRIVATE, _IPC_CREAT, _IPC_RMID = 0, 0o1000, 0
_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.shmdt.argtypes = (ctypes.c_void_p,)


def remove_segment(segment_id: int) -> None:
    """Remove a segment that its maker left."""
    assert _libc.shmctl(segment_id, _IPC_RMID, None) == 0


class SystemV:
    """A segment that holds ``content``, removed at the end of the block."""

    def __init__(self, content: bytes, *, mode: int = 0o400) -> None:
        self.id = _libc.shmget(_IPC_PRIVATE, ctypes.c_size_t(len(content)), _IPC_CREAT | 0o600)
        assert self.id >= 0, ctypes.get_errno()
        address = _libc.shmat(self.id, None, 0)
        ctypes.memmove(address, content, len(content))
        _libc.shmdt(address)
        self.set_mode(mode)

    def set_mode(self, mode: int) -> None:
        """Change who may attach it (struct shmid_ds of 64-bit Linux, IPC_SET)."""
        state = (ctypes.c_byte * 512)()
        assert _libc.shmctl(self.id, 2, ctypes.byref(state)) == 0
        ctypes.c_uint.from_buffer(state, 20).value = mode
        assert _libc.shmctl(self.id, 1, ctypes.byref(state)) == 0

    @property
    def attached(self) -> int:
        """How many processes have it attached."""
        state = (ctypes.c_byte * 512)()
        assert _libc.shmctl(self.id, 2, ctypes.byref(state)) == 0
        # shm_nattch stands behind permissions, size, three times and two pids.
        return ctypes.c_ulong.from_buffer(state, 48 + 8 + 24 + 8).value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        remove_segment(self.id)
