"""Prepends a preprocessing to a float graph: uint8 NHWC pictures in, as our contract has it.

Pure: takes and changes a loaded graph. The names of the given graph are put behind a prefix, so that
"image", "score", "map" and "probabilities" are free for the contract's own.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cloud_tools.errors import CloudError
from cloud_tools.export.told import Channels, Layout, Told
from edge_agent.errors import Code

PREFIX = "given/"
IMAGE = "image"
_BT601 = (0.299, 0.587, 0.114)
"""How cv2 makes grey of red, green and blue."""
_FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
_RANK, _RGB = 4, 3
_AXES_AS_INPUT = {"ReduceMax": 18, "ReduceMean": 18, "ReduceSum": 13, "Squeeze": 13, "Unsqueeze": 13}


class Adapted(NamedTuple):
    """A graph whose input is our contract's."""

    model: Any
    width: int
    height: int


class Builder:
    """Adds nodes to a graph.

    Args:
        model: an ``onnx.ModelProto``, which is changed.
        prefix: of the names that are made.
    """

    def __init__(self, model: Any, prefix: str) -> None:
        self.model = model
        self.nodes: list[Any] = []
        self._prefix = prefix
        self._opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))

    def constant(self, value: Any) -> str:
        """Return the name of a new weight."""
        name = f"{self._prefix}{len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Return the name of a new node's output."""
        name = output or f"{self._prefix}{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=f"{self._prefix}{name}", **attributes))
        return name

    def over(self, op_type: str, value: str, axes: Iterable[int], *, output: str = "", **attributes: Any) -> str:
        """Return the name of a new node's output whose axes stand as its opset wants them."""
        axes = list(axes)
        if self._opset >= _AXES_AS_INPUT[op_type]:
            return self.node(op_type, value, self.constant(np.array(axes, np.int64)), output=output, **attributes)
        return self.node(op_type, value, output=output, axes=axes, **attributes)


def prepend(model: Any, told: Told) -> Adapted:
    """Return the graph with "image" uint8 [batch, height, width, 3] as its input, and a free batch.

    Args:
        model: an ``onnx.ModelProto`` with one input of floats and four dimensions; it is left as it is.
        told: range, mean, std, layout, channels and size.

    Raises:
        CloudError: INVALID_ARGUMENT: the input is another, or what is told contradicts it.
    """
    given = _only_input(model)
    layout, (height, width) = _geometry(_shape(given), told)
    count = 1 if told.channels is Channels.GREY else _RGB
    scale, offset = _linear(told, count)
    element = given.type.tensor_type.elem_type
    renamed = onnx.compose.add_prefix(model, PREFIX)
    builder = Builder(renamed, "adapt/")
    value = builder.node("Cast", IMAGE, to=TensorProto.FLOAT)
    value = _channels(builder, value, told.channels)
    value = builder.node("Mul", value, builder.constant(scale))
    value = builder.node("Add", value, builder.constant(offset))
    if layout is Layout.NCHW:
        value = builder.node("Transpose", value, perm=[0, 3, 1, 2])
    builder.node("Cast", value, output=PREFIX + given.name, to=element)
    _install(renamed, builder, height, width)
    return Adapted(renamed, width, height)


def _only_input(model: Any) -> Any:
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    shown = ", ".join(f"{v.name}{list(_shape(v))}" for v in inputs) or "none"
    if len(inputs) != 1 or len(_shape(inputs[0])) != _RANK:
        raise _invalid("one input with four dimensions", shown)
    if inputs[0].type.tensor_type.elem_type not in _FLOATS:
        word = TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type)
        raise _invalid("an input of float32 or float16 (or image uint8[-1, height, width, 3])", f"{shown} of {word}")
    return inputs[0]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)


def _geometry(shape: tuple[int, ...], told: Told) -> tuple[Layout, tuple[int, int]]:
    """Return the layout, and height and width."""
    count = 1 if told.channels is Channels.GREY else _RGB
    layout = told.layout or _recognised(shape, count)
    channels, height, width = shape[1:] if layout is Layout.NCHW else (shape[3], *shape[1:3])
    if channels not in (-1, count):
        raise _invalid(f"{count} channels as {told.channels.value} has, in {layout.value}", f"a shape {list(shape)}")
    if told.size and any(have not in (-1, want) for have, want in zip((width, height), told.size, strict=True)):
        raise _invalid(f"a size of {width}x{height} as the graph has", f"{told.size[0]}x{told.size[1]}")
    if min(width, height) < 1 and not told.size:
        raise _invalid("--size for a graph whose width and height are free", "none")
    return layout, (told.size[1], told.size[0]) if told.size else (height, width)


def _recognised(shape: tuple[int, ...], count: int) -> Layout:
    first, last = shape[1] == count, shape[3] == count
    if first == last:
        raise _invalid("--layout nchw or nhwc for a shape that does not tell", f"{list(shape)}")
    return Layout.NCHW if first else Layout.NHWC


def _linear(told: Told, count: int) -> tuple[Any, Any]:
    """Return what a pixel is multiplied by and what is added, for each channel, computed in double precision."""
    if told.range is None:
        raise _invalid("--range (and --mean, --std) for a graph of floats: how were its pictures scaled?", "none")
    mean, std = (np.array(values, np.float64) for values in (told.mean, told.std))
    if any(len(values) not in (1, count) for values in (mean, std)) or not np.isfinite(mean).all():
        raise _invalid(f"1 or {count} numbers for --mean and --std", f"{list(told.mean)} and {list(told.std)}")
    if not (np.isfinite(std).all() and (std > 0).all()):
        raise _invalid("--std above 0", f"{list(told.std)}")
    with np.errstate(over="ignore", divide="ignore"):
        both = [told.range.scale / std, (told.range.offset - mean) / std]
        scale, offset = (np.broadcast_to(values, count).astype(np.float32) for values in both)
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise _invalid("--mean and --std that float32 can hold", f"{list(told.mean)} and {list(told.std)}")
    return scale, offset


def _channels(builder: Builder, value: str, channels: Channels) -> str:
    if channels is Channels.BGR:
        return builder.node("Gather", value, builder.constant(np.array([2, 1, 0], np.int64)), axis=3)
    if channels is Channels.GREY:
        return builder.node("MatMul", value, builder.constant(np.array(_BT601, np.float32)[:, None]))
    return value


def _install(model: Any, builder: Builder, height: int, width: int) -> None:
    """Put the nodes first, the picture in the input's place, and free the batch."""
    graph = model.graph
    nodes = [*builder.nodes, *graph.node]
    del graph.node[:], graph.input[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["batch", height, width, _RGB]))


def _invalid(expected: str, came: str) -> CloudError:
    return CloudError(Code.INVALID_ARGUMENT, f"expected {expected}, came {came}")
