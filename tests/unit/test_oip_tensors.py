"""The Open Inference Protocol's tensors: bytes and typed contents to arrays and back, and what is refused."""

from typing import Any

import numpy as np
import pytest

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import DType
from edge_agent.wire.oip import tensors as wire

FIELDS = {
    "UINT8": ("uint_contents", [0, 7, 255]),
    "INT16": ("int_contents", [-(2**15), 0, 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 0, 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 0, 2**63 - 1]),
    "FP32": ("fp32_contents", [0.5, -1.25, float("inf")]),
    "FP64": ("fp64_contents", [0.1, -1e300, 0.0]),
}


def message(datatype: str = "FP32", shape: tuple[int, ...] = (3,), **contents: Any) -> wire.InputTensor:
    tensor = wire.InputTensor(name="image", datatype=datatype, shape=shape)
    if contents:
        tensor.contents.CopyFrom(pb.InferTensorContents(**contents))
    return tensor


def refusal(tensor: wire.InputTensor, content: bytes | None = None) -> str:
    with pytest.raises(InferenceError) as caught:
        read(tensor, content)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def read(tensor: wire.InputTensor, content: bytes | None = None) -> Any:
    layout = wire.layout_from_proto(tensor)
    if content is None:
        return wire.tensor_from_contents(layout, tensor.contents)
    return wire.tensor_from_bytes(layout, content)


@pytest.mark.parametrize("dtype", DType)
def test_bytes_come_back_as_they_were_in_every_type(dtype: DType) -> None:
    value = np.arange(6).astype(dtype.value).reshape(1, 2, 3)
    told = wire.tensor_to_proto("image", value)
    again = read(message(told.datatype, tuple(told.shape)), wire.tensor_to_bytes(value))
    assert (again.dtype, again.shape, again.tolist()) == (value.dtype, value.shape, value.tolist())
    assert wire.datatype_from_proto(wire.datatype_to_proto(dtype), "image") is dtype


@pytest.mark.parametrize("datatype", FIELDS)
def test_typed_contents_are_the_same_numbers(datatype: str) -> None:
    field, values = FIELDS[datatype]
    array = read(message(datatype, **{field: values}))
    assert array.dtype.name == wire.datatype_from_proto(datatype, "image").value
    assert array.tolist() == pytest.approx(values)


def test_nan_is_data() -> None:
    assert np.isnan(read(message(fp32_contents=[float("nan")] * 3))).all()
    assert np.isnan(read(message(), np.full(3, np.nan, np.float32).tobytes())).all()


@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "UINT16", "UINT32", "UINT64", "BF16", "BYTES"])
def test_types_that_no_model_has_are_refused_with_those_that_some_have(datatype: str) -> None:
    told = refusal(message(datatype), b"")
    assert f"came {datatype!r}" in told
    assert "UINT8" in told
    assert "no datatype at all" not in told
    assert "no datatype at all" in refusal(message(datatype.lower()), b"")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((-1, 3), "sizes of 1 or more"),
        ((0, 3), "sizes of 1 or more"),
        ((1,) * 9, "at most 8 sizes"),
        ((2**63 - 1,) * 8, "unexpected byte size 12"),
        ((2**62, 4), "unexpected byte size 12"),
        ((2**32, 2**32), "unexpected byte size 12"),
        ((4,), "expecting 16 for FP32[4]"),
    ],
)
def test_shapes_that_cannot_be_are_refused_before_anything_is_allocated(shape: tuple[int, ...], words: str) -> None:
    assert words in refusal(message("FP32", shape), bytes(12))


@pytest.mark.parametrize(
    ("datatype", "contents", "words"),
    [
        ("FP32", {"fp32_contents": [1.0]}, "expected 3 elements in fp32_contents"),
        ("FP32", {"fp64_contents": [1.0] * 3}, "expected only fp32_contents"),
        ("FP32", {"fp32_contents": [1.0] * 3, "int_contents": [1]}, "came int_contents"),
        ("UINT8", {"uint_contents": [0, 1, 256]}, "from 0 to 255"),
        ("INT16", {"int_contents": [0, 1, 2**15]}, "from -32768 to 32767"),
        ("FP16", {"fp32_contents": [1.0] * 3}, "raw_input_contents for FP16"),
        ("FP32", {}, "came 0"),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(datatype: str, contents: dict[str, Any], words: str) -> None:
    assert words in refusal(message(datatype, **contents))


def test_a_long_name_is_cut_in_messages() -> None:
    assert len(wire.shown("x" * 10_000)) < 100
