"""The door to pycuda: one GPU's context, streams, and memory on both sides of the bus.

Every name used here was compared with pycuda 2026.1 (its reference, *Device Interface*, and its
bindings); it was never run on a GPU: untested on hardware.

The GPU's primary context is shared with TensorRT, which works in whatever context is current.
pycuda keeps a stack of contexts for each thread and aborts the process where one is left on it,
so a context is pushed for a piece of work and popped after it, on whatever thread that runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

# Its base; LogicError, LaunchError, MemoryError and RuntimeError of the same module come from it.
CudaError: type[Exception] = cuda.Error
CudaMemoryError: type[Exception] = cuda.MemoryError


class Gpu:
    """The first GPU.

    Raises:
        CudaError: there is no driver or no GPU.
    """

    def __init__(self) -> None:
        cuda.init()
        self._device = cuda.Device(0)
        self._context = self._device.retain_primary_context()

    def __del__(self) -> None:
        """Give the context back; pycuda's own end of it takes it for one that it made, and complains."""
        with suppress(AttributeError, CudaError):
            self._context.detach()

    @property
    def name(self) -> str:
        """Return what the driver calls it."""
        return str(self._device.name())

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it the one that this thread's calls mean."""
        self._context.push()
        try:
            yield
        finally:
            cuda.Context.pop()


class Stream:
    """Work in order; made and used where the GPU is current."""

    def __init__(self) -> None:
        self.raw = cuda.Stream()

    @property
    def handle(self) -> int:
        """Return it as the C interfaces take it."""
        return int(self.raw.handle)

    def synchronize(self) -> None:
        """Wait until all that was enqueued is done; other threads of Python go on meanwhile.

        Raises:
            CudaError: something that was enqueued failed.
        """
        self.raw.synchronize()


class Buffer:
    """One tensor twice: in host memory that cannot be swapped out, so that copies need no detour, and on the GPU.

    Args:
        shape: all sizes known.
        dtype: as numpy names it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.host: NDArray[Any] = cuda.pagelocked_empty(shape, np.dtype(dtype))
        # What runs before the first request must find numbers in it.
        self.host.fill(0)
        self._device = cuda.mem_alloc(self.host.nbytes)

    @property
    def address(self) -> int:
        """Return where it lies on the GPU."""
        return int(self._device)

    def upload(self, stream: Stream) -> None:
        """Enqueue the copy to the GPU."""
        cuda.memcpy_htod_async(self._device, self.host, stream.raw)

    def download(self, stream: Stream) -> None:
        """Enqueue the copy from the GPU."""
        cuda.memcpy_dtoh_async(self.host, self._device, stream.raw)

    def free(self) -> None:
        """Give both back; neither may be used any more."""
        self._device.free()
        pinned: Any = self.host.base
        pinned.free()
