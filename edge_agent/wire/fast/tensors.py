"""Infer over the fast path: tensors that lie in the client's segment."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from edge_agent.formats import ModelVersion
from edge_agent.wire.fast.frames import (
    HEAD,
    RANK_LIMIT,
    REPLY,
    TENSORS_LIMIT,
    Kind,
    Strings,
    encoded,
    invalid,
    unpack,
    unused,
)

DTYPES = ("uint8", "int16", "int32", "int64", "float16", "float32", "float64")
"""By their number; SageMaker Edge counts them so too."""
_NUMBERS = {name: number for number, name in enumerate(DTYPES)}

_INFER = struct.Struct("<QQQHHBBH")
_ANSWER = struct.Struct("<HHBBH")
_TENSOR = struct.Struct("<BBHIQQ")
_SIZES = tuple(struct.Struct(f"<{rank}q") for rank in range(RANK_LIMIT + 1))


class TensorAt(NamedTuple):
    """A tensor and its place in the segment."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class InferOrder(NamedTuple):
    """What an infer request asks for."""

    model: str
    version: str
    """Empty: the active one."""
    tensors: tuple[TensorAt, ...]
    room: tuple[int, int]
    """Offset and size of the part of the segment that the outputs are written into."""
    timeout_us: int = 0
    """0: the agent's own."""
    priority: int = 0
    """0: the line's, 1: frames that may wait."""


class InferAnswer(NamedTuple):
    """What answered, and where its outputs are."""

    model: ModelVersion
    tensors: tuple[TensorAt, ...]


def infer(number: int, order: InferOrder) -> bytes:
    """Return the request."""
    model, version = encoded([order.model, order.version])
    sizes = (len(model), len(version), order.priority, len(order.tensors), 0)
    fixed = HEAD.pack(Kind.INFER, 0, number) + _INFER.pack(order.timeout_us, *order.room, *sizes)
    return fixed + _tensors(order.tensors, model + version)


def read_infer(message: bytes) -> InferOrder:
    """Return what is asked for; nothing of it was compared with the segment yet.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    fields = unpack(_INFER, message, HEAD.size, "infer")
    timeout_us, room_offset, room_bytes, model_bytes, version_bytes, priority, count, reserved = fields
    unused(reserved)
    if priority > 1:
        raise invalid(f"priority: expected 0 or 1, came {priority}")
    strings, fixed = _read_fixed(message, HEAD.size + _INFER.size, count)
    model, version = strings.take(model_bytes, "model"), strings.take(version_bytes, "version")
    if not model:
        raise invalid("model: expected a name, came none")
    tensors = _named(fixed, strings)
    return InferOrder(model, version, tensors, (room_offset, room_bytes), timeout_us, priority)


def inferred(number: int, answer: InferAnswer) -> bytes:
    """Return the reply."""
    model, version = encoded(answer.model)
    fixed = HEAD.pack(Kind.INFER | REPLY, 0, number) + _ANSWER.pack(len(model), len(version), len(answer.tensors), 0, 0)
    return fixed + _tensors(answer.tensors, model + version)


def read_inferred(message: bytes) -> InferAnswer:
    """Return what the reply tells.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    model_bytes, version_bytes, count, _, _ = unpack(_ANSWER, message, HEAD.size, "answer")
    strings, fixed = _read_fixed(message, HEAD.size + _ANSWER.size, count)
    model = ModelVersion(strings.take(model_bytes, "model"), strings.take(version_bytes, "version"))
    return InferAnswer(model, _named(fixed, strings))


class _Nameless(NamedTuple):
    name_bytes: int
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


def _tensors(tensors: Sequence[TensorAt], before: bytes) -> bytes:
    parts, names = [], [before]
    for name, dtype, shape, offset, size_bytes in tensors:
        word = name.encode("utf-8", "replace")
        parts.append(_TENSOR.pack(_NUMBERS[dtype], len(shape), len(word), 0, offset, size_bytes))
        parts.append(_SIZES[len(shape)].pack(*shape))
        names.append(word)
    return b"".join(parts + names)


def _read_fixed(message: bytes, at: int, count: int) -> tuple[Strings, list[_Nameless]]:
    if count > TENSORS_LIMIT:
        raise invalid(f"expected at most {TENSORS_LIMIT} tensors, came {count}")
    fixed: list[_Nameless] = []
    for position in range(count):
        what = f"tensor {position}"
        dtype, rank, name_bytes, reserved, offset, size_bytes = unpack(_TENSOR, message, at, what)
        unused(reserved)
        if dtype >= len(DTYPES) or rank > RANK_LIMIT:
            limits = f"a type up to {len(DTYPES) - 1} and at most {RANK_LIMIT} dimensions"
            raise invalid(f"{what}: expected {limits}, came {dtype} and {rank}")
        shape = unpack(_SIZES[rank], message, at + _TENSOR.size, what)
        fixed.append(_Nameless(name_bytes, DTYPES[dtype], shape, offset, size_bytes))
        at += _TENSOR.size + _SIZES[rank].size
    return Strings(message, at), fixed


def _named(fixed: list[_Nameless], strings: Strings) -> tuple[TensorAt, ...]:
    tensors = tuple(
        TensorAt(strings.take(each.name_bytes, "a tensor's name"), each.dtype, each.shape, each.offset, each.size_bytes)
        for each in fixed
    )
    strings.end()
    return tensors
