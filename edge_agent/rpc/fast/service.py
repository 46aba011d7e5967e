"""What the fast path answers, given a request and the segment that it speaks of."""

from collections.abc import Callable
from typing import Protocol

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import EncodedPicture, InspectedFrame, ModelVersion, Picture
from edge_agent.inference import Priority
from edge_agent.inference.workers.lent import LentRequest, LentSegment, Place, Placed
from edge_agent.rpc.ports import Inspector
from edge_agent.wire.fast.frames import READ_LIMIT_BYTES, aligned
from edge_agent.wire.fast.inspection import Drawn, PictureOrder, PngAt
from edge_agent.wire.fast.tensors import InferOrder
from edge_agent.wire.inspection import raw_picture

_DEFAULT_S = 10.0
_LONGEST_S = 86_400.0
# As over gRPC: NO_RESULT with its reason has to reach the caller before its own time is over.
_WAY_BACK_S = 0.05
_WAY_BACK_SHARE = 0.2


class LentDataPlane(Protocol):
    """Answers tensors that lie in a client's memory."""

    def infer_lent(
        self,
        name: str,
        request: LentRequest,
        *,
        timeout_s: float,
        priority: Priority,
        version: str | None,
        answered: Callable[[ModelVersion, Placed], None],
    ) -> None:
        """Tell which version answered, and where it put its outputs."""


class FastService:
    """Infer and Inspect.

    Args:
        data_plane: answers tensors.
        inspector: answers pictures.
    """

    def __init__(self, data_plane: LentDataPlane, inspector: Inspector) -> None:
        self._data_plane = data_plane
        self._inspector = inspector

    def infer(
        self, order: InferOrder, request: LentRequest, answered: Callable[[ModelVersion, tuple[Place, ...]], None]
    ) -> None:
        """Let a model's worker read the tensors and write its outputs; ``answered`` is told where they are.

        Raises:
            InferenceError: as ``inference.DataPlane.infer``; OUT_OF_RANGE: the outputs are larger than their room.
        """
        self._data_plane.infer_lent(
            order.model,
            request,
            timeout_s=timeout_s(order.timeout_us),
            priority=Priority(order.priority),
            version=order.version or None,
            answered=lambda model, placed: answered(model, placed.outputs),
        )

    def inspect(self, order: PictureOrder, segment: LentSegment) -> tuple[InspectedFrame, list[Drawn]]:
        """Inspect a picture, and put masks and heat maps into their room.

        Raises:
            InferenceError: INVALID_ARGUMENT: the request contradicts itself or its segment.
        """
        segment.check("room", *order.room)
        seconds = timeout_s(order.timeout_us)
        frame = self._inspector.inspect(
            _picture(order, segment),
            applications=order.applications,
            source=order.source,
            frame_name=order.frame_name,
            with_mask=order.with_mask,
            with_heat_map=order.with_heat_map,
            frame_priority=bool(order.priority),
            timeout_s=seconds - min(_WAY_BACK_S, seconds * _WAY_BACK_SHARE),
        )
        return frame, _draw(frame, order.room, segment)


def lent_request(order: InferOrder, segment: LentSegment) -> LentRequest:
    """Return the tensors of a request, compared with the segment.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    size_bytes = sum(tensor.size_bytes for tensor in order.tensors)
    if size_bytes > READ_LIMIT_BYTES:
        message = f"tensors: expected at most {READ_LIMIT_BYTES} bytes, came {size_bytes}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    return LentRequest(segment, [Place(*tensor) for tensor in order.tensors], order.room)


def timeout_s(timeout_us: int) -> float:
    """Return the seconds that a client waits."""
    seconds = timeout_us / 1_000_000
    return seconds if 0 < seconds <= _LONGEST_S else _DEFAULT_S


def _picture(order: PictureOrder, segment: LentSegment) -> Picture:
    """Return the picture, read once: what is kept for the page and captured is what was judged."""
    offset, size_bytes = order.picture
    segment.check("picture", offset, size_bytes)
    if size_bytes > READ_LIMIT_BYTES:
        message = f"picture: expected at most {READ_LIMIT_BYTES} bytes, came {size_bytes}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    if not order.width and not order.height:
        if not size_bytes:
            raise InferenceError(Code.INVALID_ARGUMENT, "picture: expected a JPEG, a PNG or packed RGB, came none")
        return EncodedPicture(segment.read_bytes(offset, size_bytes))
    if order.width * order.height * 3 != size_bytes:
        expected = f"{order.width} x {order.height} x 3 = {order.width * order.height * 3} bytes and more than none"
        raise InferenceError(Code.INVALID_ARGUMENT, f"raw: expected {expected}, came {size_bytes}")
    return raw_picture(segment.read_bytes(offset, size_bytes), order.width, order.height)


def _draw(frame: InspectedFrame, room: tuple[int, int], segment: LentSegment) -> list[Drawn]:
    """Write masks and heat maps one behind the other; what does not fit is left out and says so."""
    at, end = room[0], sum(room)
    drawn = []
    for result in frame.results:
        places = []
        for png in (result.mask_png, result.heat_map_png):
            places.append(_place(png, at, end))
            if png and not places[-1].left_out:
                segment.write(at, png)
                at += aligned(len(png))
        drawn.append(Drawn(*places))
    return drawn


def _place(png: bytes, at: int, end: int) -> PngAt:
    if not png:
        return PngAt()
    return PngAt(at, len(png)) if at + len(png) <= end else PngAt(0, len(png), left_out=True)


def without_segment() -> InferenceError:
    """Return the error for a request that speaks of no segment."""
    message = "expected a segment before the first request, or after a reply that retired it; came none"
    return InferenceError(Code.FAILED_PRECONDITION, message)
