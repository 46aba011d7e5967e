"""Inspections: verdicts, results, frames, counts, and the request for one."""

from collections.abc import Sequence
from typing import NamedTuple

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Counts, EncodedPicture, InspectedFrame, ModelResult, Picture, RawPicture, Verdict

# Frames are kept, and told as events, with their texts.
_TEXT_LIMIT = 1024
_APPLICATIONS_LIMIT = 255


class SharedPicture(NamedTuple):
    """A POSIX shared-memory segment of the caller that holds packed RGB; not read yet."""

    name: str
    offset: int
    width: int
    height: int


class InspectOrder(NamedTuple):
    """What a caller wants inspected, and how."""

    picture: Picture | SharedPicture
    applications: tuple[str, ...] = ()
    source: str = ""
    frame_name: str = ""
    with_mask: bool = False
    frame_priority: bool = False
    with_heat_map: bool = False
    trial: bool = False


def verdict_to_proto(verdict: Verdict) -> pb.Verdict:
    """Return the protocol's value."""
    value: pb.Verdict = pb.Verdict.Value(verdict.value)
    return value


def verdict_from_proto(value: int) -> Verdict:
    """Return the verdict; a value from a later protocol is NO_RESULT, never OK."""
    return Verdict(pb.Verdict.Name(value)) if value in pb.Verdict.values() else Verdict.NO_RESULT


def result_to_proto(result: ModelResult, *, with_mask: bool = True) -> pb.ModelResult:
    """Return the message; mask and heat map are left out where nobody asked for them."""
    return pb.ModelResult(
        application=result.application,
        model=result.model,
        version=result.version,
        kind=result.kind,
        verdict=verdict_to_proto(result.verdict),
        score=result.score,
        threshold=result.threshold,
        label=result.label,
        mask_png=result.mask_png if with_mask else b"",
        heat_map_png=result.heat_map_png if with_mask else b"",
        area=result.area,
        milliseconds=result.milliseconds,
        message=result.message,
        skipped=result.skipped,
    )


def result_from_proto(message: pb.ModelResult) -> ModelResult:
    """Return the document."""
    return ModelResult(
        application=message.application,
        model=message.model,
        version=message.version,
        kind=message.kind,
        verdict=verdict_from_proto(message.verdict),
        score=message.score,
        threshold=message.threshold,
        label=message.label,
        mask_png=message.mask_png,
        heat_map_png=message.heat_map_png,
        area=message.area,
        milliseconds=message.milliseconds,
        message=message.message,
        skipped=message.skipped,
    )


def frame_to_proto(frame: InspectedFrame) -> pb.Frame:
    """Return the message; masks stay behind, the page asks for them one by one."""
    return pb.Frame(
        id=frame.id,
        at=frame.at,
        source=frame.source,
        name=frame.name,
        verdict=verdict_to_proto(frame.verdict),
        results=[result_to_proto(result, with_mask=False) for result in frame.results],
        milliseconds=frame.milliseconds,
        message=frame.message,
        width=frame.width,
        height=frame.height,
    )


def frame_from_proto(message: pb.Frame) -> InspectedFrame:
    """Return the document."""
    return InspectedFrame(
        id=message.id,
        at=message.at,
        source=message.source,
        name=message.name,
        verdict=verdict_from_proto(message.verdict),
        results=tuple(result_from_proto(result) for result in message.results),
        milliseconds=message.milliseconds,
        message=message.message,
        width=message.width,
        height=message.height,
    )


def answer_to_proto(frame: InspectedFrame) -> pb.InspectResponse:
    """Return a frame as the answer to Inspect, masks included."""
    return pb.InspectResponse(
        frame_id=frame.id,
        verdict=verdict_to_proto(frame.verdict),
        results=[result_to_proto(result) for result in frame.results],
        milliseconds=frame.milliseconds,
        message=frame.message,
        width=frame.width,
        height=frame.height,
    )


def answer_from_proto(message: pb.InspectResponse, order: InspectOrder, at: float) -> InspectedFrame:
    """Return the answer as a frame; what the answer does not repeat comes from the order."""
    return InspectedFrame(
        id=message.frame_id,
        at=at,
        source=order.source,
        name=order.frame_name,
        verdict=verdict_from_proto(message.verdict),
        results=tuple(result_from_proto(result) for result in message.results),
        milliseconds=message.milliseconds,
        message=message.message,
        width=message.width,
        height=message.height,
    )


def order_to_proto(order: InspectOrder) -> pb.InspectRequest:
    """Return the request."""
    request = pb.InspectRequest(
        applications=order.applications,
        source=order.source,
        frame_name=order.frame_name,
        with_mask=order.with_mask,
        priority=pb.FRAME if order.frame_priority else pb.LINE,
        drawing=pb.InspectRequest.HEAT_MAP if order.with_heat_map else pb.InspectRequest.NONE,
        trial=order.trial,
    )
    picture = order.picture
    if isinstance(picture, EncodedPicture):
        request.encoded = picture.content
    elif isinstance(picture, RawPicture):
        request.raw.CopyFrom(pb.RawImage(width=picture.width, height=picture.height, rgb=bytes(picture.rgb)))
    else:
        request.shared.CopyFrom(
            pb.SharedImage(name=picture.name, offset=picture.offset, width=picture.width, height=picture.height)
        )
    return request


def order_from_proto(message: pb.InspectRequest) -> InspectOrder:
    """Return what is asked for.

    Raises:
        InferenceError: INVALID_ARGUMENT when there is no picture, its sizes contradict its bytes, or a text or the
            list of applications is longer than any that means something.
    """
    return InspectOrder(
        picture=_picture(message),
        applications=_applications(message.applications),
        source=_text("source", message.source),
        frame_name=_text("frame_name", message.frame_name),
        with_mask=message.with_mask or message.drawing == pb.InspectRequest.MASK,
        with_heat_map=message.drawing == pb.InspectRequest.HEAT_MAP,
        frame_priority=message.priority == pb.FRAME,
        trial=message.trial,
    )


def _picture(message: pb.InspectRequest) -> Picture | SharedPicture:
    form = message.WhichOneof("image")
    if form == "raw":
        raw = message.raw
        return raw_picture(raw.rgb, raw.width, raw.height)
    if form == "shared":
        shared = message.shared
        if not shared.name or not shared.width or not shared.height:
            raise InferenceError(Code.INVALID_ARGUMENT, "shared: expected a name, a width and a height")
        return SharedPicture(shared.name, shared.offset, shared.width, shared.height)
    if not message.encoded:
        raise InferenceError(Code.INVALID_ARGUMENT, "image: expected one of encoded, raw or shared, came none")
    return EncodedPicture(message.encoded)


def raw_picture(rgb: bytes | memoryview, width: int, height: int) -> RawPicture:
    """Return packed RGB as a picture.

    Raises:
        InferenceError: INVALID_ARGUMENT when the bytes are not ``width * height * 3``.
    """
    expected = width * height * 3
    if not expected or len(rgb) != expected:
        message = f"raw: expected {width} x {height} x 3 = {expected} bytes and more than none, came {len(rgb)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    return RawPicture(rgb, width, height)


def _applications(names: Sequence[str]) -> tuple[str, ...]:
    if len(names) > _APPLICATIONS_LIMIT:
        message = f"applications: expected at most {_APPLICATIONS_LIMIT} names, came {len(names)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    if "" in names:
        raise InferenceError(Code.INVALID_ARGUMENT, "applications: expected names, came an empty one")
    return tuple(dict.fromkeys(_text("applications", name) for name in names))


def _text(field: str, text: str) -> str:
    if len(text) > _TEXT_LIMIT:
        message = f"{field}: expected at most {_TEXT_LIMIT} characters, came {len(text)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    return text


def counts_to_proto(counts: Counts) -> pb.Counts:
    """Return the message."""
    return pb.Counts(ok=counts.ok, ng=counts.ng, no_result=counts.no_result)


def counts_from_proto(message: pb.Counts) -> Counts:
    """Return the document."""
    return Counts(ok=message.ok, ng=message.ng, no_result=message.no_result)
