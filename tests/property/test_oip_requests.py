"""A request read without copying its tensors is the request that protobuf reads."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.wire.oip.requests import read_infer

_LARGE = st.binary(max_size=64).map(lambda some: some + bytes(1 << 14))


def _request(name: str, raw: list[bytes], inputs: int) -> pb.ModelInferRequest:
    tensors = [
        pb.ModelInferRequest.InferInputTensor(name=f"{name}{number}", datatype="UINT8", shape=[1, number])
        for number in range(inputs)
    ]
    request = pb.ModelInferRequest(model_name=name, inputs=tensors, raw_input_contents=raw)
    request.parameters["priority"].int64_param = inputs
    return request


@given(st.text(max_size=20), st.lists(st.binary(max_size=40) | _LARGE, max_size=5), st.integers(0, 5))
def test_a_request_comes_out_as_protobuf_reads_it(name: str, raw: list[bytes], inputs: int) -> None:
    request = _request(name, raw, inputs)

    read = read_infer(request.SerializeToString())

    around = pb.ModelInferRequest()
    around.CopyFrom(read.around)
    around.ClearField("raw_input_contents")
    request.ClearField("raw_input_contents")
    assert around == request
    assert [bytes(content) for content in read.raw_input_contents] == raw


@given(st.data())
def test_damaged_bytes_are_refused_or_read_as_protobuf_does_it(data: st.DataObject) -> None:
    content = bytearray(_request("model", [bytes(1 << 14), b"second"], 2).SerializeToString())
    ends = st.integers(0, 60) | st.integers(len(content) - 20, len(content) - 1)
    for at in data.draw(st.lists(ends, max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    cut = bytes(content[: len(content) - data.draw(st.integers(0, 30))])

    try:
        expected = pb.ModelInferRequest.FromString(cut)
    except DecodeError:
        with pytest.raises(DecodeError):
            read_infer(cut)
        return
    read = read_infer(cut)
    assert [bytes(part) for part in read.raw_input_contents] == list(expected.raw_input_contents)
    assert (read.around.model_name, read.around.inputs) == (expected.model_name, expected.inputs)


@pytest.mark.parametrize("tag_bytes", range(1, 8))
@pytest.mark.parametrize("length_bytes", range(1, 8))
def test_numbers_in_more_bytes_than_they_need_are_read_or_refused_as_protobuf_does_it(
    tag_bytes: int, length_bytes: int
) -> None:
    head = _padded(7 << 3 | 2, tag_bytes) + _padded(3, length_bytes)
    content = head + b"raw" + _request("model", [bytes(1 << 14)], 1).SerializeToString()
    try:
        expected = [*pb.ModelInferRequest.FromString(content).raw_input_contents]
    except DecodeError:
        with pytest.raises(DecodeError):
            read_infer(content)
        return
    assert [bytes(part) for part in read_infer(content).raw_input_contents] == expected


def _padded(number: int, size: int) -> bytes:
    return bytes([number | 0x80, *[0x80] * (size - 2), 0]) if size > 1 else bytes([number])


def test_a_request_of_countless_small_fields_is_left_to_protobuf() -> None:
    content = _request("model", [b""] * 100_000, 1).SerializeToString()

    read = read_infer(content)

    assert len(read.raw_input_contents) == 100_000
    assert not any(isinstance(part, memoryview) for part in read.raw_input_contents)


def test_the_tensors_of_a_large_request_are_views_of_what_came() -> None:
    content = _request("model", [bytes(1 << 16)], 1).SerializeToString()

    (tensor,) = read_infer(content).raw_input_contents

    assert isinstance(tensor, memoryview)
    assert tensor.obj is content
