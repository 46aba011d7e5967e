"""CUDA graphs: work that was enqueued once is enqueued again by one call.

pycuda (2026.1) has no graphs, so seven functions of the driver's library are called as ``cuda.h``
declares them (*CUDA Driver API*, Stream Management and Graph Management; CUDA 11.4 and newer):
``libcuda.so.1`` comes with the driver, which pycuda needs anyway. Untested on hardware.

Captured is what one thread enqueues in one stream (``CU_STREAM_CAPTURE_MODE_THREAD_LOCAL``), so that
other lanes may allocate meanwhile. What cannot be captured (loops, conditions, work of a DLA) is simply
enqueued each time.
"""

import ctypes
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_ulonglong, c_void_p
from functools import lru_cache

from edge_agent.errors import Code, InferenceError

_LIBRARY = "libcuda.so.1"
_CAPTURE_MODE_THREAD_LOCAL = 1
_FORMS: dict[str, tuple[object, ...]] = {
    # cuda.h defines cuStreamBeginCapture as the second version of itself.
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}


class CudaGraph:
    """One executable graph; used where the GPU is current."""

    def __init__(self, driver: ctypes.CDLL, executable: int) -> None:
        self._driver = driver
        self._executable = executable

    def launch(self, stream_handle: int) -> None:
        """Enqueue all of it.

        Raises:
            InferenceError: INTERNAL.
        """
        status = self._driver.cuGraphLaunch(self._executable, stream_handle)
        if status:
            raise InferenceError(Code.INTERNAL, f"CUDA: cuGraphLaunch: {_told(self._driver, status)}")

    def free(self) -> None:
        """Give it back; it may not be used any more."""
        self._driver.cuGraphExecDestroy(self._executable)


def capture(stream_handle: int, enqueue: Callable[[], None]) -> CudaGraph | None:
    """Return what ``enqueue`` enqueues in the stream, to be launched; None where that cannot be captured.

    Args:
        stream_handle: of a stream that is not the default one.
        enqueue: called once; nothing of it is executed.
    """
    driver = _driver()
    if driver is None or driver.cuStreamBeginCapture_v2(stream_handle, _CAPTURE_MODE_THREAD_LOCAL):
        return None
    graph = c_void_p()
    try:
        enqueue()
    except InferenceError:
        # The capture is broken, and must be ended all the same.
        driver.cuStreamEndCapture(stream_handle, ctypes.byref(graph))
        return None
    if driver.cuStreamEndCapture(stream_handle, ctypes.byref(graph)) or not graph.value:
        return None
    executable = c_void_p()
    status = driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, 0)
    driver.cuGraphDestroy(graph)
    return None if status or executable.value is None else CudaGraph(driver, executable.value)


@lru_cache(maxsize=1)
def _driver() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_LIBRARY)
        for name, form in _FORMS.items():
            getattr(library, name).argtypes = form
    except (OSError, AttributeError):
        return None  # a driver before CUDA 11.4
    return library


def _told(driver: ctypes.CDLL, status: int) -> str:
    message = c_char_p()
    if not driver.cuGetErrorString(status, ctypes.byref(message)) and message.value:
        return message.value.decode(errors="replace")
    return f"error {status}"
