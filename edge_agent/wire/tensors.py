"""SageMaker Edge's tensors and descriptions of models."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import DType, TensorSpec

_LARGEST = 2**31 - 1
_DTYPES: dict[int, DType] = {number: DType(name.lower()) for name, number in pb.DataType.items()}


def dtype_to_proto(dtype: DType) -> pb.DataType:
    """Return the protocol's value."""
    value: pb.DataType = pb.DataType.Value(dtype.value.upper())
    return value


def dtype_from_proto(value: int) -> DType:
    """Return the element type.

    Raises:
        InferenceError: INVALID_ARGUMENT for a value outside the protocol.
    """
    dtype = _DTYPES.get(value)
    if dtype is None:
        raise InferenceError(Code.INVALID_ARGUMENT, f"data_type: expected 0 to 6, came {value}")
    return dtype


def spec_to_proto(spec: TensorSpec) -> pb.TensorMetadata:
    """Return the description; one model's odd names or sizes never break a list of all."""
    return pb.TensorMetadata(
        name=printable(spec.name),
        data_type=dtype_to_proto(spec.dtype),
        shape=[size if -1 <= size <= _LARGEST else -1 for size in spec.shape],
    )


def spec_from_proto(message: pb.TensorMetadata) -> TensorSpec:
    """Return the document."""
    return TensorSpec(name=message.name, dtype=dtype_from_proto(message.data_type), shape=tuple(message.shape))


def printable(name: str) -> str:
    """Return a name that protobuf accepts, whatever a model's file contains."""
    return name.encode("utf-8", "replace").decode()


def model_to_proto(name: str, url: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> pb.Model:
    """Return the description of a model under the name by which its client knows it."""
    return pb.Model(
        url=printable(url),
        name=name,
        input_tensor_metadatas=[spec_to_proto(spec) for spec in inputs],
        output_tensor_metadatas=[spec_to_proto(spec) for spec in outputs],
    )


def tensor_to_proto(name: str, value: NDArray[Any]) -> pb.Tensor:
    """Return an answer's tensor with name, type and shape, since clients reshape by them."""
    spec = TensorSpec(name=name, dtype=DType(value.dtype.name), shape=value.shape)
    return pb.Tensor(tensor_metadata=spec_to_proto(spec), byte_data=np.ascontiguousarray(value).tobytes())


def tensors_to_proto(tensors: Mapping[str, NDArray[Any]]) -> list[pb.Tensor]:
    """Return all of them, in their order."""
    return [tensor_to_proto(name, value) for name, value in tensors.items()]


def tensor_from_proto(message: pb.Tensor, spec: TensorSpec, content: bytes | memoryview) -> NDArray[Any]:
    """Return the array that ``content`` holds.

    Args:
        message: the tensor as it came; its metadata is optional, as is the shape in it.
        spec: what the model expects.
        content: the bytes, wherever they were.

    Raises:
        InferenceError: INVALID_ARGUMENT when type, shape or size do not fit the model.
    """
    dtype, shape = layout(message, spec, len(content))
    expected = prod(shape) * dtype.size_bytes
    if len(content) != expected:
        came = f"{dtype.value}{list(shape)} in {len(content)} bytes"
        raise InferenceError(Code.INVALID_ARGUMENT, f"tensor {spec}: expected {expected} bytes, came {came}")
    return np.frombuffer(content, dtype=dtype.value).reshape(shape)


def layout(message: pb.Tensor, spec: TensorSpec, size_bytes: int) -> tuple[DType, tuple[int, ...]]:
    """Return type and shape of a tensor of ``size_bytes``, from its metadata where there is any.

    Raises:
        InferenceError: INVALID_ARGUMENT when they do not fit the model's ``spec``.
    """
    described = message.HasField("tensor_metadata")
    dtype = dtype_from_proto(message.tensor_metadata.data_type) if described else spec.dtype
    shape = tuple(message.tensor_metadata.shape) or _filled(spec, size_bytes)
    if any(size < 0 for size in shape) or not spec.accepts(dtype.value, shape):
        came = f"{dtype.value}{list(shape)}"
        raise InferenceError(Code.INVALID_ARGUMENT, f"tensor {spec.name}: expected {spec}, came {came}")
    return dtype, shape


def _filled(spec: TensorSpec, size_bytes: int) -> tuple[int, ...]:
    """Return the spec's shape; one free dimension takes what the bytes leave for it, others are 1."""
    fixed = prod(abs(size) for size in spec.shape) * spec.dtype.size_bytes
    left = max(size_bytes // fixed, 1) if fixed else 1
    shape = []
    for size in spec.shape:
        shape.append(left if size == -1 else size)
        left = 1 if size == -1 else left
    return tuple(shape)
