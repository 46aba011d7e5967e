"""Inspect over the fast path: a picture that lies in the client's segment, and masks that go there."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import InspectedFrame, ModelResult, Verdict
from edge_agent.wire.fast.frames import (
    HEAD,
    REPLY,
    REPLY_LIMIT_BYTES,
    Kind,
    Strings,
    encoded,
    invalid,
    unpack,
    unused,
)

VERDICTS = (Verdict.NO_RESULT, Verdict.OK, Verdict.NG)
"""By their number."""
_INSPECT = struct.Struct("<QQQQQIIHHBBBB")
_FRAME = struct.Struct("<dIIHHBBH")
_RESULT = struct.Struct("<ddddQQQQBBHHHHHI")
_LENGTH = struct.Struct("<H")
_MESSAGE_CHARACTERS = 1000
_RESULTS_LIMIT = 255
_MASK, _HEAT_MAP = 1, 2
_MASK_LEFT_OUT, _HEAT_MAP_LEFT_OUT, _SKIPPED = 1, 2, 4


class PictureOrder(NamedTuple):
    """What an inspect request asks for."""

    picture: tuple[int, int]
    """Offset and size in the segment."""
    room: tuple[int, int]
    """Offset and size of the part of the segment that masks and heat maps are written into."""
    width: int = 0
    """Of packed RGB; 0: the picture is a JPEG or PNG file."""
    height: int = 0
    applications: tuple[str, ...] = ()
    source: str = ""
    frame_name: str = ""
    with_mask: bool = False
    with_heat_map: bool = False
    priority: int = 0
    timeout_us: int = 0


class PngAt(NamedTuple):
    """Where a result's mask or heat map is; one that did not fit tells only its size."""

    offset: int = 0
    size_bytes: int = 0
    left_out: bool = False


class Drawn(NamedTuple):
    """What was drawn for one result."""

    mask: PngAt = PngAt()
    heat_map: PngAt = PngAt()


def inspect(number: int, order: PictureOrder) -> bytes:
    """Return the request."""
    source, frame_name, *applications = encoded([order.source, order.frame_name, *order.applications])
    wanted = _MASK * order.with_mask | _HEAT_MAP * order.with_heat_map
    sizes = (len(source), len(frame_name), order.priority, wanted, len(applications), 0)
    fixed = _INSPECT.pack(order.timeout_us, *order.picture, *order.room, order.width, order.height, *sizes)
    lengths = b"".join(_LENGTH.pack(len(application)) for application in applications)
    strings = b"".join([source, frame_name, *applications])
    return HEAD.pack(Kind.INSPECT, 0, number) + fixed + lengths + strings


def read_inspect(message: bytes) -> PictureOrder:
    """Return what is asked for; nothing of it was compared with the segment yet.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    fields = unpack(_INSPECT, message, HEAD.size, "inspect")
    timeout_us, at, size_bytes, room_at, room_bytes, width, height, source, name, *flags = fields
    priority, wanted, count, reserved = flags
    unused(reserved, wanted & ~(_MASK | _HEAT_MAP))
    if priority > 1:
        raise invalid(f"priority: expected 0 or 1, came {priority}")
    place = HEAD.size + _INSPECT.size
    lengths = unpack(struct.Struct(f"<{count}H"), message, place, "applications")
    strings = Strings(message, place + _LENGTH.size * count)
    source_name, frame_name = strings.take(source, "source"), strings.take(name, "frame_name")
    applications = [strings.take(length, "an application") for length in lengths]
    strings.end()
    if "" in applications:
        raise invalid("applications: expected names, came an empty one")
    return PictureOrder(
        picture=(at, size_bytes),
        room=(room_at, room_bytes),
        width=width,
        height=height,
        applications=tuple(dict.fromkeys(applications)),
        source=source_name,
        frame_name=frame_name,
        with_mask=bool(wanted & _MASK),
        with_heat_map=bool(wanted & _HEAT_MAP),
        priority=priority,
        timeout_us=timeout_us,
    )


def inspected(number: int, frame: InspectedFrame, drawn: Sequence[Drawn]) -> bytes:
    """Return the reply.

    Raises:
        InferenceError: OUT_OF_RANGE: there are more results than a reply holds.
    """
    frame_id, message = encoded([frame.id, frame.message[:_MESSAGE_CHARACTERS]])
    fixed = [HEAD.pack(Kind.INSPECT | REPLY, 0, number)]
    words = [frame_id, message]
    count = min(len(frame.results), _RESULTS_LIMIT)
    sizes = (len(frame_id), len(message), VERDICTS.index(frame.verdict), count, 0)
    fixed.append(_FRAME.pack(frame.milliseconds, frame.width, frame.height, *sizes))
    for result, pictures in zip(frame.results, drawn, strict=True):
        part, strings = _result(result, pictures)
        fixed.append(part)
        words += strings
    content = b"".join(fixed + words)
    if len(content) > REPLY_LIMIT_BYTES or count != len(frame.results):
        limit = f"expected results within {REPLY_LIMIT_BYTES} bytes, came {len(frame.results)} in {len(content)}"
        raise InferenceError(Code.OUT_OF_RANGE, f"{limit}; ask for fewer applications, or over gRPC")
    return content


def read_inspected(message: bytes, order: PictureOrder, at: float) -> tuple[InspectedFrame, list[Drawn]]:
    """Return the frame, without its masks and heat maps, and where they are.

    Args:
        message: the reply.
        order: what was asked; it brings what the reply does not repeat.
        at: when it came.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    milliseconds, width, height, frame_id, text, verdict, count, _ = unpack(_FRAME, message, HEAD.size, "frame")
    place = HEAD.size + _FRAME.size
    fixed = [unpack(_RESULT, message, place + _RESULT.size * position, "result") for position in range(count)]
    strings = Strings(message, place + _RESULT.size * count)
    identity, told = strings.take(frame_id, "frame_id"), strings.take(text, "message")
    results = tuple(_read_result(numbers, strings) for numbers in fixed)
    strings.end()
    frame = InspectedFrame(
        id=identity,
        at=at,
        source=order.source,
        name=order.frame_name,
        verdict=_verdict(verdict),
        results=results,
        milliseconds=milliseconds,
        message=told,
        width=width,
        height=height,
    )
    return frame, [_drawn(numbers) for numbers in fixed]


def _drawn(numbers: tuple[int, ...]) -> Drawn:
    mask_at, mask_bytes, heat_at, heat_bytes, _, flags = numbers[4:10]
    mask = PngAt(mask_at, mask_bytes, bool(flags & _MASK_LEFT_OUT))
    return Drawn(mask, PngAt(heat_at, heat_bytes, bool(flags & _HEAT_MAP_LEFT_OUT)))


def _result(result: ModelResult, drawn: Drawn) -> tuple[bytes, list[bytes]]:
    message = result.message[:_MESSAGE_CHARACTERS]
    words = encoded([result.application, result.model, result.version, result.kind, result.label, message])
    mask, heat_map = drawn
    flags = _MASK_LEFT_OUT * mask.left_out | _HEAT_MAP_LEFT_OUT * heat_map.left_out | _SKIPPED * result.skipped
    places = (*mask[:2], *heat_map[:2])
    numbers = (result.score, result.threshold, result.area, result.milliseconds, *places)
    return _RESULT.pack(*numbers, VERDICTS.index(result.verdict), flags, *map(len, words)), words


def _read_result(numbers: tuple[float, ...], strings: Strings) -> ModelResult:
    score, threshold, area, milliseconds, _, _, _, _, verdict, flags, *lengths = numbers
    names = ("application", "model", "version", "kind", "label", "message")
    words = {name: strings.take(int(length), name) for name, length in zip(names, lengths, strict=True)}
    return ModelResult(
        application=words["application"],
        model=words["model"],
        version=words["version"],
        kind=words["kind"],
        label=words["label"],
        message=words["message"],
        verdict=_verdict(int(verdict)),
        score=score,
        threshold=threshold,
        area=area,
        milliseconds=milliseconds,
        skipped=bool(int(flags) & _SKIPPED),
    )


def _verdict(number: int) -> Verdict:
    # A verdict from a later version is NO_RESULT, never OK.
    return VERDICTS[number] if number < len(VERDICTS) else Verdict.NO_RESULT
