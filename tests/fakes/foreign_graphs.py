"""Graphs as other people make them: floats in, NCHW or NHWC, heads of every kind, known answers."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIDE = 16
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def write_graph(
    path: Path,
    head: str = "softmax",
    *,
    shape: tuple[Any, ...] = ("n", 3, SIDE, SIDE),
    opset: int = 17,
    fixed: bool = False,
) -> Path:
    """Write a graph whose logit is the mean of its input, times 4, over all pixels and channels.

    Args:
        path: of the file.
        head: softmax [N, 2], logits [N, 2], sigmoid [N, 1], score [N], map [N, 1, h, w], planes [N, 3, h, w].
        shape: of the input.
        opset: of the graph.
        fixed: it reshapes to a batch of one, whatever its input says.
    """
    weights = {"four": np.array(4, np.float32), "sides": np.array([[-0.5, 0.5]], np.float32)}
    weights |= {"column": np.array([1 if fixed else -1, 1], np.int64), "flat": np.array([-1], np.int64)}
    axes = [1, 2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Mul", ["mean", "four"], ["logit"]),
        helper.make_node("Reshape", ["logit", "column"], ["tall"]),
        helper.make_node("MatMul", ["tall", "sides"], ["pair"]),
        *_HEADS[head],
    ]
    batch = shape[0]
    outputs = {
        "softmax": [batch, 2],
        "logits": [batch, 2],
        "sigmoid": [batch, 1],
        "score": [batch],
        "map": [batch, 1, SIDE, SIDE],
        "planes": [batch, 3, SIDE, SIDE],
    }
    graph = helper.make_graph(
        nodes,
        "elsewhere",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, outputs[head])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def logit_of(image: np.ndarray[Any, Any]) -> float:
    """Return what the graph computes of one picture uint8 [h, w, 3] that was scaled to 0..1, less MEAN, by STD."""
    scaled = (image.astype(np.float64) / 255 - MEAN) / STD
    return float(scaled.mean() * 4)


# The output is called "score" whatever it is: names of strangers prove nothing.
_HEADS = {
    "softmax": [helper.make_node("Softmax", ["pair"], ["score"], axis=1)],
    "logits": [helper.make_node("Identity", ["pair"], ["score"])],
    "sigmoid": [helper.make_node("Sigmoid", ["tall"], ["score"])],
    "score": [helper.make_node("Reshape", ["tall", "flat"], ["score"])],
    "map": [
        helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Sigmoid", ["grey"], ["score"]),
    ],
    "planes": [
        helper.make_node("Mul", ["input", "four"], ["planes"]),
        helper.make_node("Softmax", ["planes"], ["score"], axis=1),
    ],
}
