"""Is an ONNX file one that a device may be given? Form, weights inside, operators, signature."""

from pathlib import Path
from typing import Any

from cloud_tools.errors import CloudError
from cloud_tools.export.operators import strangers
from edge_agent.errors import Code
from edge_agent.formats import DType, TensorSpec, parse
from edge_agent.vision import MAX_PIXELS

OPSETS = range(11, 22)
_NHWC, _RGB = 4, 3
_LEAST_SIDE = 8
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_LARGEST_BYTES = (2 << 30) - 1  # protobuf's own limit for one message
_MOST_NODES = 20_000
_DEEPEST = 8


def check_graph(path: Path) -> dict[str, tuple[TensorSpec, ...]]:
    """Return the graph's "inputs" and "outputs" after everything about the file was checked.

    Raises:
        CloudError: INVALID_ARGUMENT: it is no valid ONNX, keeps weights outside the file, needs
            operators that no stock runtime has or that are not allowed, is too large, or breaks
            the contract ("image" uint8 NHWC with a free batch in; "score" float32 [N] out).
    """
    model = read_graph(path)
    signature = {"inputs": specs_of(path, model.graph.input), "outputs": specs_of(path, model.graph.output)}
    check_contract(path, signature)
    return signature


def read_graph(path: Path) -> Any:
    """Return a whole and valid ``onnx.ModelProto`` of allowed operators, whatever goes in and out of it.

    Raises:
        CloudError: INVALID_ARGUMENT, as ``check_graph`` but for the contract.
    """
    model = parse_graph(path)
    # First, since the checker walks graphs in graphs by recursion.
    _check_operators(path, model)
    _check_weights(path, model)
    return model


def parse_graph(path: Path) -> Any:
    """Return what the file says, unchecked: an ``onnx.ModelProto`` whose weights outside were not read.

    Raises:
        CloudError: INVALID_ARGUMENT: it is no ONNX file, or too large.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it publishes no types

    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise _invalid(path, f"at most {_LARGEST_BYTES} bytes", f"{path.stat().st_size}")
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as exc:
        raise _invalid(path, "an ONNX file", f"something else: {exc}") from exc
    return model


def _check_weights(path: Path, model: Any) -> None:
    import onnx

    outside = [w.name for w in _tensors(model.graph) if w.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise _invalid(path, "all weights inside the file", f"{len(outside)} outside, as {outside[0]}")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, UnicodeDecodeError) as exc:
        # The last: of a name that is no text, which the checker puts into its own words.
        raise _invalid(path, "a valid graph", str(exc).splitlines()[0]) from exc


def _tensors(graph: Any) -> list[Any]:
    """Return all weights, those of branches and attributes too."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t] if attribute.HasField("t") else []
            found += list(attribute.tensors)
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                found += _tensors(inner)
    return found


def _nodes(path: Path, graph: Any) -> list[Any]:
    """Return all nodes, those of branches too."""
    found: list[Any] = []
    level, depth = [graph], 0
    while level:
        depth += 1
        nodes = [node for one in level for node in one.node]
        found += nodes
        if depth > _DEEPEST or len(found) > _MOST_NODES:
            raise _invalid(path, f"at most {_MOST_NODES} nodes, {_DEEPEST} graphs deep", "more")
        inner = (attribute for node in nodes for attribute in node.attribute)
        level = [one for a in inner for one in (*([a.g] if a.HasField("g") else []), *a.graphs)]
    return found


def _check_operators(path: Path, model: Any) -> None:
    nodes = _nodes(path, model.graph)
    _check_text(path, model, nodes)
    for opset in model.opset_import:
        if opset.domain not in _DOMAINS:
            raise _invalid(path, "operators of ONNX itself", f"the domain {opset.domain}")
        if opset.domain in ("", "ai.onnx") and opset.version not in OPSETS:
            raise _invalid(path, f"an opset of {OPSETS.start}..{OPSETS.stop - 1}", str(opset.version))
    if model.functions:
        raise _invalid(path, "a graph without functions of its own", model.functions[0].name)
    if found := strangers(node.op_type for node in nodes):
        raise _invalid(path, "operators that are allowed (docs/models-from-elsewhere.md)", ", ".join(found[:5]))


def _check_text(path: Path, model: Any, nodes: list[Any]) -> None:
    """Check that names are text: protobuf hands out as bytes what is no UTF-8."""
    graph = model.graph
    named = (*nodes, *graph.input, *graph.output, *graph.initializer, *graph.value_info)
    words = [value.name for value in named] + [opset.domain for opset in model.opset_import]
    words += [word for node in nodes for word in (node.op_type, node.domain, *node.input, *node.output)]
    strange = next((word for word in words if not isinstance(word, str)), None)
    if strange is not None:
        raise _invalid(path, "names in UTF-8", repr(strange[:40]))


def specs_of(path: Path, values: Any) -> tuple[TensorSpec, ...]:
    """Return the inputs or outputs of a graph; a free dimension is -1.

    Raises:
        CloudError: INVALID_ARGUMENT: one is no tensor of numbers.
        DocumentError: its name or its shape is too long.
    """
    import onnx

    specs = []
    for value in values:
        if not value.type.HasField("tensor_type") or not value.name:
            raise _invalid(path, "tensors in and out", f"{value.name!r} of another kind")
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
        try:
            word = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        except KeyError:
            word = "no type"
        if word not in {dtype.value for dtype in DType}:
            raise _invalid(path, f"tensors of {', '.join(d.value for d in DType)}", f"{value.name} of {word}")
        specs.append(parse(TensorSpec, {"name": value.name, "dtype": word, "shape": shape}, what=str(path)))
    return tuple(specs)


def check_contract(path: Path, signature: dict[str, tuple[TensorSpec, ...]], *, compiled: bool = False) -> None:
    """Check that these inputs and outputs are our contract's.

    Args:
        path: of the model, for the message.
        signature: its "inputs" and "outputs".
        compiled: it was compiled for one picture at a time.

    Raises:
        CloudError: INVALID_ARGUMENT: they are others.
    """
    inputs, outputs = signature["inputs"], {spec.name: spec for spec in signature["outputs"]}
    batches = (-1, 1) if compiled else (-1,)
    image = inputs[0] if len(inputs) == 1 else None
    fits = image is not None and image.name == "image" and image.dtype is DType.UINT8 and len(image.shape) == _NHWC
    if (
        not fits
        or image is None
        or image.shape[0] not in batches
        or min(image.shape[1:3]) < 1
        or image.shape[3] != _RGB
    ):
        came = ", ".join(map(str, inputs)) or "none"
        raise _invalid(path, "one input image uint8[-1, height, width, 3]", came)
    if min(image.shape[1:3]) < _LEAST_SIDE or image.shape[1] * image.shape[2] > MAX_PIXELS:
        raise _invalid(
            path, f"an image of at least {_LEAST_SIDE} x {_LEAST_SIDE} and at most {MAX_PIXELS} pixels", f"{image}"
        )
    score = outputs.get("score")
    if score is None or score.dtype is not DType.FLOAT32 or len(score.shape) != 1:
        raise _invalid(path, "an output score float32[-1]", ", ".join(map(str, outputs.values())))


def _invalid(path: Path, expected: str, came: str) -> CloudError:
    return CloudError(Code.INVALID_ARGUMENT, f"{path}: expected {expected}, came {came}")
