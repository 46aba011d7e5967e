"""The Open Inference Protocol's tensors: raw bytes or typed contents, and arrays.

Bytes are little endian, row by row, as on every machine that this agent runs on.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import DType

InputTensor = pb.ModelInferRequest.InferInputTensor
OutputTensor = pb.ModelInferResponse.InferOutputTensor

_RANK_LIMIT = 8
_SHOWN = 80
_WORDS = {
    DType.UINT8: "UINT8",
    DType.INT16: "INT16",
    DType.INT32: "INT32",
    DType.INT64: "INT64",
    DType.FLOAT16: "FP16",
    DType.FLOAT32: "FP32",
    DType.FLOAT64: "FP64",
}
_DTYPES = {word: dtype for dtype, word in _WORDS.items()}
_BY_NUMPY = {dtype.value: word for dtype, word in _WORDS.items()}
# What the protocol knows and no model here has.
_FOREIGN = ("BOOL", "INT8", "UINT16", "UINT32", "UINT64", "BF16", "BYTES")
# FP16 has no typed contents in this protocol.
_CONTENTS = {
    DType.UINT8: "uint_contents",
    DType.INT16: "int_contents",
    DType.INT32: "int_contents",
    DType.INT64: "int64_contents",
    DType.FLOAT32: "fp32_contents",
    DType.FLOAT64: "fp64_contents",
}


class Layout(NamedTuple):
    """Type and shape of an input, as its request tells them."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    size_bytes: int


def datatype_to_proto(dtype: DType) -> str:
    """Return the protocol's word."""
    return _WORDS[dtype]


def datatype_from_proto(word: str, what: str) -> DType:
    """Return the element type; ``what`` is the tensor's name for the message.

    Raises:
        InferenceError: INVALID_ARGUMENT for a word that no model's tensor has.
    """
    dtype = _DTYPES.get(word)
    if dtype is None:
        known = "" if word in _FOREIGN else ", which is no datatype at all"
        message = f"input {what}: expected datatype {', '.join(_DTYPES)}, came {shown(word)}{known}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    return dtype


def layout_from_proto(message: InputTensor) -> Layout:
    """Return type and shape; the product of the shape may be absurd, and nothing is allocated for it.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    name, shape = message.name, tuple(message.shape[: _RANK_LIMIT + 1])
    dtype = datatype_from_proto(message.datatype, shown(name))
    if len(shape) > _RANK_LIMIT or any(size <= 0 for size in shape):
        came = f"{list(shape)}{' and more' if len(message.shape) > len(shape) else ''}"
        text = f"input {shown(name)}: expected at most {_RANK_LIMIT} sizes of 1 or more, came {came}"
        raise InferenceError(Code.INVALID_ARGUMENT, text)
    return Layout(name, dtype, shape, prod(shape) * dtype.size_bytes)


def tensor_from_bytes(layout: Layout, content: bytes | memoryview) -> NDArray[Any]:
    """Return the array that ``content`` holds; nothing is copied.

    Raises:
        InferenceError: INVALID_ARGUMENT when the sizes disagree.
    """
    check_size(layout, len(content))
    return np.frombuffer(content, layout.dtype.value).reshape(layout.shape)


def check_size(layout: Layout, size_bytes: int) -> None:
    """Check that so many bytes are what type and shape need.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    if size_bytes != layout.size_bytes:
        form = f"{_WORDS[layout.dtype]}{list(layout.shape)}"
        message = (
            f"unexpected byte size {size_bytes} for input {shown(layout.name)}, "
            f"expecting {layout.size_bytes} for {form}"
        )
        raise InferenceError(Code.INVALID_ARGUMENT, message)


def tensor_from_contents(layout: Layout, contents: pb.InferTensorContents) -> NDArray[Any]:
    """Return the array of typed contents.

    Raises:
        InferenceError: INVALID_ARGUMENT when another field is filled, the count is not the shape's,
            or a number is none of the type.
    """
    what, dtype = f"input {shown(layout.name)}", layout.dtype
    field = _CONTENTS.get(dtype)
    if field is None:
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected raw_input_contents for {_WORDS[dtype]}")
    others = [filled.name for filled, _ in contents.ListFields() if filled.name != field]
    if others:
        message = f"{what}: expected only {field} for {_WORDS[dtype]}, came {others[0]}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    values, wanted = getattr(contents, field), prod(layout.shape)
    if len(values) != wanted:
        message = f"{what}: expected {wanted} elements in {field} for {list(layout.shape)}, came {len(values)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    wide = np.array(values, np.float64 if dtype.value.startswith("float") else np.int64)
    return _narrowed(wide, layout, what)


def tensor_to_proto(name: str, value: NDArray[Any]) -> OutputTensor:
    """Return an output's description; its bytes go beside it.

    Raises:
        InferenceError: INTERNAL for a type that the protocol does not carry here.
    """
    word = _BY_NUMPY.get(value.dtype.name)
    if word is None:
        raise InferenceError(Code.INTERNAL, f"output {shown(name)}: {value.dtype.name} cannot be told")
    return OutputTensor(name=name, datatype=word, shape=value.shape)


def tensor_to_bytes(value: NDArray[Any]) -> bytes:
    """Return the elements, row by row."""
    return value.tobytes()


def shown(text: str) -> str:
    """Return a name as messages quote it; a client may send a long one."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _narrowed(wide: NDArray[Any], layout: Layout, what: str) -> NDArray[Any]:
    """Return the numbers in the layout's type; floats keep NaN and infinity, which are data."""
    dtype = np.dtype(layout.dtype.value)
    if dtype.kind in "iu" and dtype.itemsize < wide.itemsize:
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        if wide.min() < least or wide.max() > most:
            message = f"{what}: expected numbers from {least} to {most}, came {wide.min()} to {wide.max()}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
    return wide.astype(dtype).reshape(layout.shape)
