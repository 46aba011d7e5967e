"""ModelInfer's request, read without copying its tensors.

Protobuf copies a tensor into the message as it reads it, and once more when somebody takes it out; that costs more
than all the rest of a call. So the tensors' bytes are left where they came, and protobuf reads what is around them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from edge_agent._proto.inference import grpc_service_pb2 as pb

_Request = pb.ModelInferRequest
_RAW_TAG = _Request.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | 2
# Below it protobuf's own way is as fast.
_WORTHWHILE_BYTES = 1 << 14
# An honest request has a few dozen; protobuf itself reads what has more, or what is not understood here.
_FIELDS_LIMIT = 128
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10
# Tag and length; protobuf refuses either in more than five bytes, though the number would fit into fewer.
_HEAD_BYTES = 6


class InferRequest(NamedTuple):
    """A request whose tensors are views of the bytes that came."""

    around: pb.ModelInferRequest
    """Everything but the tensors' bytes."""
    raw_input_contents: Sequence[bytes | memoryview]


def read_infer(content: bytes) -> InferRequest:
    """Return the request.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no such message.
    """
    views = _split(content) if len(content) >= _WORTHWHILE_BYTES else None
    if views is None:
        return whole(_Request.FromString(content))
    around, raw = views
    return InferRequest(_Request.FromString(around), raw)


def whole(request: pb.ModelInferRequest) -> InferRequest:
    """Return a request that protobuf read, tensors included."""
    return InferRequest(request, request.raw_input_contents)


def _split(content: bytes) -> tuple[bytes, list[memoryview]] | None:
    """Return what stands around the tensors, and these; None: it is protobuf's to say what is wrong with it."""
    view, size, at = memoryview(content), len(content), 0
    around: list[memoryview] = []
    raw: list[memoryview] = []
    for _ in range(_FIELDS_LIMIT):
        if at == size:
            return b"".join(around), raw
        tag, start = _varint(content, at)
        end = _end(content, tag & 7, start)
        if start == 0 or not start <= end <= size:
            return None
        if tag == _RAW_TAG:
            length, first = _varint(content, start)
            if first - at > _HEAD_BYTES:
                return None
            raw.append(view[first : first + length])
        else:
            around.append(view[at:end])
        at = end
    return None


def _end(content: bytes, kind: int, start: int) -> int:
    """Return where a field's value ends; 0: it cannot be told."""
    if kind == _LENGTH:
        length, first = _varint(content, start)
        return first + length if first else 0
    if kind == _VARINT:
        return _varint(content, start)[1]
    return start + 8 if kind == _FIXED64 else start + 4 if kind == _FIXED32 else 0


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends; an end of 0: there is none."""
    value = 0
    for place, byte in enumerate(content[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:  # noqa: PLR2004 - the mark of a last byte
            return value, at + place + 1
    return 0, 0
