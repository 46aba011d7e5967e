"""A GPU of Python: memory by address, streams that do nothing until somebody waits for them, graphs.

Whatever is called without a current context, after it was freed, or on a stream that captures, fails
as the driver would fail it. ``CALLS`` counts what was called.
"""

import ctypes
import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_int, c_size_t, c_ulonglong

CALLS: Counter[str] = Counter()
NAME = os.environ.get("FAKE_GPU_NAME", "NVIDIA Double")
# Set by tests, also for worker processes: where it fails.
FAULT = os.environ.get("FAKE_GPU_FAULT", "")

MEMORY: dict[int, bytearray] = {}
PINNED: set[int] = set()
STREAMS: dict[int, "Queue"] = {}
GRAPHS: dict[int, list[Callable[[], None]]] = {}

_numbers = itertools.count(1)
_contexts = threading.local()


class Fault(Exception):  # noqa: N818 - as the driver's
    """What the driver refuses."""


def contexts() -> list[object]:
    """Return this thread's stack of contexts."""
    if not hasattr(_contexts, "stack"):
        _contexts.stack = []
    stack: list[object] = _contexts.stack
    return stack


def called(name: str) -> None:
    """Count a call, and fail where there is no current context."""
    CALLS[name] += 1
    if not contexts():
        raise Fault(f"{name} failed: invalid device context")


def allocate(size_bytes: int) -> int:
    """Return the address of a new block."""
    if size_bytes < 1:
        raise Fault("cuMemAlloc failed: invalid argument")
    address = next(_numbers) << 32
    MEMORY[address] = bytearray(os.urandom(size_bytes))
    return address


class Queue:
    """A stream."""

    def __init__(self) -> None:
        self.handle = next(_numbers)
        self._waiting: list[Callable[[], None]] = []
        self._captured: list[Callable[[], None]] | None = None
        STREAMS[self.handle] = self

    def add(self, work: Callable[[], None]) -> None:
        """Do it when somebody waits, or whenever the graph is launched."""
        (self._waiting if self._captured is None else self._captured).append(work)

    def wait(self) -> None:
        """Do all of it."""
        if self._captured is not None:
            raise Fault("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            work()

    def begin(self) -> None:
        """Capture from now on."""
        self._captured = []

    def end(self) -> list[Callable[[], None]]:
        """Return what was captured."""
        captured, self._captured = self._captured, None
        assert captured is not None
        return captured


def _begin(stream: int, mode: int) -> int:
    CALLS["cuStreamBeginCapture_v2"] += 1
    if mode != 1 or FAULT == "capture":
        return 900
    STREAMS[stream].begin()
    return 0


def _end(stream: int, graph: "ctypes._Pointer[c_size_t]") -> int:
    CALLS["cuStreamEndCapture"] += 1
    captured = STREAMS[stream].end()
    if FAULT == "captured":
        return 901
    graph[0] = next(_numbers)
    GRAPHS[graph[0]] = captured
    return 0


def _instantiate(executable: "ctypes._Pointer[c_size_t]", graph: int, flags: int) -> int:
    CALLS["cuGraphInstantiateWithFlags"] += 1
    if flags:
        return 1
    executable[0] = next(_numbers)
    GRAPHS[executable[0]] = GRAPHS[graph]
    return 0


def _launch(executable: int, stream: int) -> int:
    CALLS["cuGraphLaunch"] += 1
    if FAULT == "launch":
        return 719
    for work in GRAPHS[executable]:
        STREAMS[stream].add(work)
    return 0


def _destroy(graph: int) -> int:
    CALLS["destroyed"] += 1
    # One of a test before this may only now be collected.
    GRAPHS.pop(graph, None)
    return 0


# Kept for as long as the library may call them.
_DOUBLES = (
    CFUNCTYPE(c_int, c_size_t, c_int)(_begin),
    CFUNCTYPE(c_int, c_size_t, POINTER(c_size_t))(_end),
    CFUNCTYPE(c_int, POINTER(c_size_t), c_size_t, c_ulonglong)(_instantiate),
    CFUNCTYPE(c_int, c_size_t, c_size_t)(_launch),
    CFUNCTYPE(c_int, c_size_t)(_destroy),
    CFUNCTYPE(c_int, c_size_t)(_destroy),
)
if "FAKE_LIBCUDA" in os.environ:
    # Whoever opens libcuda.so.1 from now on gets this one, as it has that name already.
    ctypes.CDLL(os.environ["FAKE_LIBCUDA"]).double_register(*_DOUBLES)
