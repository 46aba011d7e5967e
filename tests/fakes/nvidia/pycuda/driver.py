"""The double of ``pycuda.driver``; ``bindings.json`` holds the real forms, and a test compares."""

from typing import Any

import fake_gpu
import numpy as np
from numpy.typing import DTypeLike, NDArray


class Error(Exception):
    """As pycuda's: the base."""


class LogicError(Error):
    """As pycuda's."""


class MemoryError(Error):  # noqa: A001 - its name
    """As pycuda's."""


def _called(name: str) -> None:
    try:
        fake_gpu.called(name)
    except fake_gpu.Fault as exc:
        raise LogicError(str(exc)) from exc


class Context:
    """As pycuda's: only the driver makes it."""

    def detach(self) -> None:
        if self in fake_gpu.contexts():
            raise LogicError("a context that is in use was given back")
        fake_gpu.CALLS["detach"] += 1

    def push(self) -> None:
        fake_gpu.contexts().append(self)

    @staticmethod
    def pop() -> None:
        if not fake_gpu.contexts():
            raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
        fake_gpu.contexts().pop()


class Device:
    """As pycuda's."""

    def __init__(self, arg2: int) -> None:
        if arg2 != 0 or fake_gpu.FAULT == "no-gpu":
            raise LogicError("cuDeviceGet failed: invalid device ordinal")

    def name(self) -> str:
        return fake_gpu.NAME

    def retain_primary_context(self) -> Context:
        return Context()


class Stream:
    """As pycuda's."""

    def __init__(self, flags: int = 0) -> None:
        _called("Stream")
        assert flags == 0
        self._queue = fake_gpu.Queue()

    @property
    def handle(self) -> int:
        return self._queue.handle

    def synchronize(self) -> None:
        _called("synchronize")
        later = fake_gpu.FAULT == "synchronize-later" and fake_gpu.CALLS["synchronize"] > 5
        if fake_gpu.FAULT == "synchronize" or later:
            raise LogicError("cuStreamSynchronize failed: an illegal memory access was encountered")
        try:
            self._queue.wait()
        except fake_gpu.Fault as exc:
            raise LogicError(str(exc)) from exc


class DeviceAllocation:
    """As pycuda's: only ``mem_alloc`` makes it."""

    _address: int

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        _called("free")
        del fake_gpu.MEMORY[self._address]


class PagelockedHostAllocation:
    """As pycuda's: the base of a pinned array."""

    _array: NDArray[Any]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        interface: dict[str, Any] = self._array.__array_interface__
        return interface

    def free(self) -> None:
        _called("host_free")
        fake_gpu.PINNED.remove(id(self))

    def __del__(self) -> None:
        fake_gpu.PINNED.discard(id(self))


def init(flags: int = 0) -> None:
    assert flags == 0


def mem_alloc(arg1: int) -> DeviceAllocation:
    _called("mem_alloc")
    if fake_gpu.FAULT == "memory" and fake_gpu.CALLS["mem_alloc"] % 2 == 0:
        raise MemoryError("cuMemAlloc failed: out of memory")
    made = DeviceAllocation()
    made._address = fake_gpu.allocate(arg1)
    return made


def pagelocked_empty(shape: Any, dtype: DTypeLike, order: str = "C", mem_flags: int = 0) -> NDArray[Any]:
    _called("pagelocked_empty")
    assert (order, mem_flags) == ("C", 0)
    base = PagelockedHostAllocation()
    base._array = np.empty(shape, dtype)
    base._array.reshape(-1).view(np.uint8).fill(0xA5)
    fake_gpu.PINNED.add(id(base))
    return np.asarray(base)


def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
    _called("memcpy_htod_async")
    assert stream is not None
    pinned, address = _pinned(src), int(dest)

    def copy() -> None:
        fake_gpu.MEMORY[address][: pinned.nbytes] = pinned.tobytes()

    stream._queue.add(copy)


def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
    _called("memcpy_dtoh_async")
    assert stream is not None
    pinned, address = _pinned(dest), int(src)

    def copy() -> None:
        content = np.frombuffer(fake_gpu.MEMORY[address], pinned.dtype, pinned.size)
        np.copyto(pinned, content.reshape(pinned.shape))

    stream._queue.add(copy)


def _pinned(array: NDArray[Any]) -> NDArray[Any]:
    """Return it; a copy from ordinary memory would not be asynchronous."""
    if not isinstance(array.base, PagelockedHostAllocation) or id(array.base) not in fake_gpu.PINNED:
        raise LogicError("expected pinned memory")
    return array
