"""Is an ONNX file one that a device may be given? Form, weights inside, operators, signature."""

from pathlib import Path
from typing import Any

from cloud_tools.errors import CloudError
from edge_agent.errors import Code
from edge_agent.formats import DType, TensorSpec

OPSETS = range(11, 22)
_NHWC, _RGB = 4, 3
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_LARGEST_BYTES = (2 << 30) - 1  # protobuf's own limit for one message


def check_graph(path: Path) -> dict[str, tuple[TensorSpec, ...]]:
    """Return the graph's "inputs" and "outputs" after everything about the file was checked.

    Raises:
        CloudError: INVALID_ARGUMENT: it is no valid ONNX, keeps weights outside the file, needs
            operators that no stock runtime has, or breaks the contract ("image" uint8 NHWC with
            a free batch in; "score" float32 [N] out).
    """
    model = _read(path)
    _check_weights(path, model)
    _check_operators(path, model)
    signature = {"inputs": _specs(path, model.graph.input), "outputs": _specs(path, model.graph.output)}
    _check_contract(path, signature)
    return signature


def _read(path: Path) -> Any:
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
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
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


def _check_operators(path: Path, model: Any) -> None:
    for opset in model.opset_import:
        if opset.domain not in _DOMAINS:
            raise _invalid(path, "operators of ONNX itself", f"the domain {opset.domain}")
        if opset.domain in ("", "ai.onnx") and opset.version not in OPSETS:
            raise _invalid(path, f"an opset of {OPSETS.start}..{OPSETS.stop - 1}", str(opset.version))
    if model.functions:
        raise _invalid(path, "a graph without functions of its own", model.functions[0].name)


def _specs(path: Path, values: Any) -> tuple[TensorSpec, ...]:
    import onnx

    specs = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
        word = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        if word not in {dtype.value for dtype in DType}:
            raise _invalid(path, f"tensors of {', '.join(d.value for d in DType)}", f"{value.name} of {word}")
        specs.append(TensorSpec(name=value.name, dtype=DType(word), shape=shape))
    return tuple(specs)


def _check_contract(path: Path, signature: dict[str, tuple[TensorSpec, ...]]) -> None:
    inputs, outputs = signature["inputs"], {spec.name: spec for spec in signature["outputs"]}
    shown = ", ".join(map(str, inputs)) or "none"
    image = inputs[0] if len(inputs) == 1 else None
    if image is None or image.name != "image" or image.dtype is not DType.UINT8 or len(image.shape) != _NHWC:
        raise _invalid(path, "one input image uint8[-1, height, width, 3]", shown)
    batch, height, width, channels = image.shape
    if batch != -1 or min(height, width) < 1 or channels != _RGB:
        raise _invalid(path, "one input image uint8[-1, height, width, 3]", shown)
    score = outputs.get("score")
    if score is None or score.dtype is not DType.FLOAT32 or len(score.shape) != 1:
        raise _invalid(path, "an output score float32[-1]", ", ".join(map(str, outputs.values())))


def _invalid(path: Path, expected: str, came: str) -> CloudError:
    return CloudError(Code.INVALID_ARGUMENT, f"{path}: expected {expected}, came {came}")
