"""Appends what our contract asks of a graph's outputs: "score", and "probabilities" or "map".

The score is raw: its sigmoid is the probability of a defect, so calibration and threshold stay in the manifest.
Of a map it is the logit of the most suspicious place.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper

from cloud_tools.errors import CloudError
from cloud_tools.export.adapt import PREFIX, Builder
from cloud_tools.export.told import Head, OutputKind, Told
from edge_agent.errors import Code
from edge_agent.formats import Kind

BINARY = ("normal", "anomalous")
"""The classes of one number after a sigmoid, where nobody names them: it is the share of the second."""
_LEAST = 1e-12  # a logarithm needs a number above 0; its logit is 27.6
_PASSING = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
_MAKERS = {"Softmax": "shares", "Sigmoid": "shares", "LogSoftmax": "logits"}
_CLASSES = (OutputKind.PROBABILITIES, OutputKind.LOGITS)
_FLAT, _MAP_RANK, _PLANES = 2, 3, 4


class Contract(NamedTuple):
    """What the graph says from now on."""

    kind: Kind
    labels: tuple[str, ...]
    normal_labels: tuple[str, ...]
    recognised: str
    """What was read off the graph, in words; empty where all was told."""


class _Output(NamedTuple):
    name: str
    shape: tuple[int, ...]
    made_by: str


def append(model: Any, told: Told) -> Contract:
    """Give the graph, whose names are behind a prefix, the contract's outputs in place of its own.

    Args:
        model: an ``onnx.ModelProto``, which is changed.
        told: heads, labels, normal channels.

    Raises:
        CloudError: INVALID_ARGUMENT: an output is not there, cannot be recognised or contradicts what is told.
    """
    found = [_find(model, head) for head in told.heads]
    kinds = [head.kind or _recognise(output) for head, output in zip(told.heads, found, strict=True)]
    _check(kinds)
    builder = Builder(model, "head/")
    labels, normal = told.labels, told.normal_labels
    outputs: dict[str, str] = {}
    for kind, output in zip(kinds, found, strict=True):
        if kind in _CLASSES:
            labels, normal = _labels(output, told)
            outputs |= _classes(builder, output, kind, [name in normal for name in labels], len(kinds) == 1)
        elif kind is OutputKind.SCORE:
            outputs["score"] = _column(builder, output)
        else:
            outputs |= _map(builder, output, told, with_score=len(kinds) == 1)
    _install(model, builder, outputs, len(labels))
    guessed = ((k, o) for h, k, o in zip(told.heads, kinds, found, strict=True) if h.kind is None)
    said = ", ".join(f"{o.name.removeprefix(PREFIX)}: {k.value}" for k, o in guessed)
    return Contract(_kind(outputs), labels, normal, said)


def _find(model: Any, head: Head) -> _Output:
    outputs = {value.name: value for value in model.graph.output}
    names = [name.removeprefix(PREFIX) for name in outputs]
    if not head.output and len(outputs) != 1:
        raise _invalid("--output NAME for a graph with several outputs", ", ".join(names))
    name = PREFIX + head.output if head.output else next(iter(outputs))
    if name not in outputs:
        raise _invalid(f"an output of the graph ({', '.join(names)})", head.output)
    tensor = outputs[name].type.tensor_type
    if tensor.elem_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        raise _invalid("an output of float32 or float16", f"{names} of {TensorProto.DataType.Name(tensor.elem_type)}")
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return _Output(name, shape, _maker(model, name))


def _maker(model: Any, name: str) -> str:
    """Return the operator that gives the output its meaning."""
    producers = {output: node for node in model.graph.node for output in node.output}
    node = producers.get(name)
    for _ in range(len(model.graph.node)):
        if node is None or node.op_type not in _PASSING:
            break
        node = producers.get(node.input[0])
    return node.op_type if node is not None else ""


def _recognise(output: _Output) -> OutputKind:
    shares = _MAKERS.get(output.made_by) == "shares"
    if len(output.shape) in (_MAP_RANK, _PLANES) and set(output.shape[1:]) != {1}:
        return OutputKind.MAP
    if shares:
        return OutputKind.PROBABILITIES
    if len(output.shape) == _FLAT and output.shape[1] > 1:
        return OutputKind.LOGITS
    came = f"{output.name.removeprefix(PREFIX)}{list(output.shape)} made by {output.made_by or 'nothing'}"
    raise _invalid("--output-kind for an output that does not tell what it is", came)


def _check(kinds: Sequence[OutputKind]) -> None:
    maps = sum(kind is OutputKind.MAP for kind in kinds)
    if not kinds or maps > 1 or len(kinds) - maps > 1:
        raise _invalid("one output of classes or a score, and one of a map, at most", ", ".join(k.value for k in kinds))


def _labels(output: _Output, told: Told) -> tuple[tuple[str, ...], tuple[str, ...]]:
    count = _count(output)
    labels = told.labels or (BINARY if count == 1 else ())
    normal = told.normal_labels or (BINARY[:1] if labels == BINARY else ())
    wanted = max(count, len(BINARY))
    if len(labels) != wanted or len(set(labels)) != len(labels):
        raise _invalid(f"--label for each of {wanted} classes, in the output's order", f"{list(labels)}")
    if not normal or set(normal) - set(labels) or set(normal) == set(labels):
        raise _invalid(f"--normal-label for those of {list(labels)} that mean OK", f"{list(normal)}")
    return tuple(labels), tuple(normal)


def _count(output: _Output) -> int:
    """Return how many numbers a picture gets."""
    inner = [size for size in output.shape[1:] if size != 1]
    if len(inner) > 1 or any(size < 1 for size in inner):
        raise _invalid("an output [N] or [N, C]", f"{output.name.removeprefix(PREFIX)}{list(output.shape)}")
    return inner[0] if inner else 1


def _classes(
    builder: Builder, output: _Output, kind: OutputKind, normal: Sequence[bool], with_probabilities: bool
) -> dict[str, str]:
    value = _flat(builder, output)
    if _count(output) == 1:
        share = builder.node("Sigmoid", value) if kind is OutputKind.LOGITS else value
        rest = builder.node("Sub", builder.constant(_real(1.0)), share)
        shares = builder.node("Concat", rest, share, axis=1)
    else:
        shares = builder.node("Softmax", value, axis=1) if kind is OutputKind.LOGITS else value
    good = _sum_of(builder, shares, [i for i, is_normal in enumerate(normal) if is_normal])
    bad = _sum_of(builder, shares, [i for i, is_normal in enumerate(normal) if not is_normal])
    score = builder.node("Sub", _logarithm(builder, bad), _logarithm(builder, good))
    return {"score": score} | ({"probabilities": shares} if with_probabilities else {})


def _sum_of(builder: Builder, shares: str, classes: Sequence[int]) -> str:
    chosen = builder.node("Gather", shares, builder.constant(_whole(*classes)), axis=1)
    return builder.over("ReduceSum", chosen, [1], keepdims=0)


def _logarithm(builder: Builder, value: str) -> str:
    return builder.node("Log", builder.node("Max", value, builder.constant(_real(_LEAST))))


def _column(builder: Builder, output: _Output) -> str:
    if _count(output) != 1:
        raise _invalid("a score [N] or [N, 1]", f"{output.name.removeprefix(PREFIX)}{list(output.shape)}")
    return builder.node("Reshape", _float(builder, output), builder.constant(_whole(-1)))


def _map(builder: Builder, output: _Output, told: Told, *, with_score: bool) -> dict[str, str]:
    value = _float(builder, output)
    count, axis = _planes(output)
    if count == 1:
        if len(output.shape) == _PLANES:
            value = builder.over("Squeeze", value, [axis])
        planes = _share_logits(builder, value) if output.made_by == "Sigmoid" else value
    else:
        logits = _logarithm(builder, value) if output.made_by == "Softmax" else value
        planes = _against_good(builder, logits, told.normal_channels, count, axis)
    score = {"score": builder.over("ReduceMax", planes, [1, 2], keepdims=0)} if with_score else {}
    return {"map": planes} | score


def _planes(output: _Output) -> tuple[int, int]:
    """Return how many channels a map has, and on which axis: of two that could be, the smaller one."""
    if len(output.shape) == _MAP_RANK:
        return 1, 0
    if len(output.shape) != _PLANES or max(output.shape[1], output.shape[3]) < 1:
        raise _invalid("a map [N, h, w], [N, C, h, w] or [N, h, w, C]", f"{list(output.shape)}")
    first, last = (size if size > 0 else 1 << 30 for size in (output.shape[1], output.shape[3]))
    return (first, 1) if first <= last else (last, 3)


def _share_logits(builder: Builder, share: str) -> str:
    rest = builder.node("Sub", builder.constant(_real(1.0)), share)
    return builder.node("Sub", _logarithm(builder, share), _logarithm(builder, rest))


def _against_good(builder: Builder, value: str, normal: Sequence[int], count: int, axis: int) -> str:
    """Return the best defective channel less the best good one: above 0 where the argmax is defective."""
    bad = [channel for channel in range(count) if channel not in normal]
    if not bad or not normal or not all(0 <= channel < count for channel in normal):
        raise _invalid(f"some of the channels 0..{count - 1}, not all, as good", f"{list(normal)}")
    chosen = [builder.node("Gather", value, builder.constant(_whole(*some)), axis=axis) for some in (bad, normal)]
    return builder.node("Sub", *(builder.over("ReduceMax", one, [axis], keepdims=0) for one in chosen))


def _flat(builder: Builder, output: _Output) -> str:
    return builder.node("Reshape", _float(builder, output), builder.constant(_whole(-1, _count(output))))


def _float(builder: Builder, output: _Output) -> str:
    return builder.node("Cast", output.name, to=TensorProto.FLOAT)


def _kind(outputs: dict[str, str]) -> Kind:
    if "probabilities" in outputs:
        return Kind.CLASSIFICATION
    return Kind.SEGMENTATION if "map" in outputs else Kind.ANOMALY


def _install(model: Any, builder: Builder, outputs: dict[str, str], classes: int) -> None:
    shapes: dict[str, list[Any]] = {
        "score": ["batch"],
        "probabilities": ["batch", classes],
        "map": ["batch", "rows", "columns"],
    }
    for name, value in outputs.items():
        builder.node("Identity", value, output=name)
    graph = model.graph
    graph.node.extend(builder.nodes)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in sorted(outputs))


def _real(value: float) -> Any:
    return np.array(value, np.float32)


def _whole(*values: int) -> Any:
    return np.array(values, np.int64)


def _invalid(expected: str, came: str) -> CloudError:
    return CloudError(Code.INVALID_ARGUMENT, f"expected {expected}, came {came}")
