"""One inference at a time on TensorRT: a stream, and a context for each set of shapes that comes.

A context holds the shapes and addresses that a CUDA graph was captured with, and must not change under
it (*TensorRT Developer Guide*, CUDA Graphs): so each set of shapes gets its own context, buffers and
graph. Untested on hardware.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.inference.runtimes.cuda import Buffer, Stream
from edge_agent.inference.runtimes.cuda_graph import CudaGraph, capture

# Each keeps its memory on the GPU; pictures come one at a time, or in the few batches that form in a queue.
_KEPT_SHAPES: Final = 4

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Lane:
    """A stream and what executes in it; made, used and freed where the GPU is current.

    Args:
        engine: ``ICudaEngine``.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._stream = Stream()
        self._bound: OrderedDict[Shapes, _Bound] = OrderedDict()

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs, in memory of their own.

        Raises:
            InferenceError: INVALID_ARGUMENT, a size that the engine was not built for; INTERNAL.
        """
        shapes: Shapes = tuple((name, tensor.shape) for name, tensor in sorted(tensors.items()))
        bound = self._bound.get(shapes)
        if bound is None:
            bound = self._bind(shapes)
        self._bound.move_to_end(shapes)
        return bound.run(tensors)

    def free(self) -> None:
        """Give its memory back."""
        while self._bound:
            self._bound.popitem()[1].free()

    def _bind(self, shapes: Shapes) -> "_Bound":
        _check_sizes(self._engine, shapes)
        if len(self._bound) >= _KEPT_SHAPES:
            self._bound.popitem(last=False)[1].free()
        bound = _Bound(self._engine, shapes, self._stream)
        self._bound[shapes] = bound
        return bound


class _Buffers(NamedTuple):
    inputs: dict[str, Buffer]
    outputs: dict[str, Buffer]

    def free(self) -> None:
        for buffer in (*self.inputs.values(), *self.outputs.values()):
            buffer.free()


class _Bound:
    """A context that knows one set of shapes for ever."""

    def __init__(self, engine: Any, shapes: Shapes, stream: Stream) -> None:
        self._stream = stream
        self._context = engine.create_execution_context()
        if self._context is None:
            raise _fault("no execution context can be made")
        self._buffers = _allocate(engine, self._context, shapes)
        with ExitStack() as undo:
            undo.callback(self._buffers.free)
            # Once without: what follows from new shapes is put in order by the first run, which no graph may hold.
            self._enqueue()
            stream.synchronize()
            self._graph: CudaGraph | None = capture(stream.handle, self._enqueue)
            undo.pop_all()

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        for name, buffer in self._buffers.inputs.items():
            np.copyto(buffer.host, tensors[name], casting="no")
        if self._graph is not None:
            self._graph.launch(self._stream.handle)
        else:
            self._enqueue()
        self._stream.synchronize()
        return {name: buffer.host.copy() for name, buffer in self._buffers.outputs.items()}

    def free(self) -> None:
        if self._graph is not None:
            self._graph.free()
        self._buffers.free()

    def _enqueue(self) -> None:
        for buffer in self._buffers.inputs.values():
            buffer.upload(self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise _fault("the graph cannot be executed")
        for buffer in self._buffers.outputs.values():
            buffer.download(self._stream)


def _allocate(engine: Any, context: Any, shapes: Shapes) -> _Buffers:
    """Tell the context its shapes and where their tensors lie."""
    for name, shape in shapes:
        if not context.set_input_shape(name, shape):
            raise _fault(f"{name}: {list(shape)} is refused")
    missing = context.infer_shapes()
    if missing:
        raise _fault(f"shapes follow from the content of {', '.join(missing)}")
    buffers = _Buffers({}, {})
    with ExitStack() as undo:
        undo.callback(buffers.free)
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            into = buffers.inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else buffers.outputs
            into[name] = _buffer(engine, context, name)
        undo.pop_all()
    return buffers


def _buffer(engine: Any, context: Any, name: str) -> Buffer:
    shape = tuple(context.get_tensor_shape(name))
    if any(size < 1 for size in shape):
        raise _fault(f"{name}: expected sizes that follow from the inputs' sizes, came {list(shape)}")
    buffer = Buffer(shape, np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name)
    if not context.set_tensor_address(name, buffer.address):
        buffer.free()
        raise _fault(f"{name}: its address is refused")
    return buffer


def _check_sizes(engine: Any, shapes: Shapes) -> None:
    for name, shape in shapes:
        if -1 not in tuple(engine.get_tensor_shape(name)):
            continue
        least, _, most = (tuple(sizes) for sizes in engine.get_tensor_profile_shape(name, 0))
        if not all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True)):
            message = f"{name}: expected {list(least)} to {list(most)}, the engine's limits, came {list(shape)}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)


def _fault(message: str) -> InferenceError:
    return InferenceError(Code.INTERNAL, f"TensorRT: {message}")
