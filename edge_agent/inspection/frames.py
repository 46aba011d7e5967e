"""The last inspected frames, kept in memory for the page: pictures as they came, and masks."""

import itertools
import threading
from collections import OrderedDict
from typing import Literal, NamedTuple

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import EncodedPicture, InspectedFrame, Picture

Layer = Literal["picture", "overlay"]

_LIMIT_BYTES = 256 << 20
_REPLAYED = 32
_PNG = b"\x89PNG"


class RecentFrame(NamedTuple):
    """A frame, its picture and its masks (grey PNG by application)."""

    frame: InspectedFrame
    picture: Picture
    masks: dict[str, bytes]

    @property
    def size_bytes(self) -> int:
        """Return the bytes that it keeps."""
        content = self.picture.content if isinstance(self.picture, EncodedPicture) else self.picture.rgb
        return len(content) + sum(map(len, self.masks.values()))


class RecentFrames:
    """The newest ``limit`` frames, within ``limit_bytes``; the newest one always.

    Args:
        limit: how many.
        limit_bytes: of pictures and masks together.
    """

    def __init__(self, limit: int, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._frames: OrderedDict[str, RecentFrame] = OrderedDict()
        self._bytes = 0

    def keep(self, frame: InspectedFrame, picture: Picture) -> None:
        """Add a frame; the oldest go."""
        masks = {result.application: result.mask_png for result in frame.results if result.mask_png}
        kept = RecentFrame(without_masks(frame), _owned(picture), masks)
        with self._lock:
            self._frames[frame.id] = kept
            self._bytes += kept.size_bytes
            while len(self._frames) > 1 and (len(self._frames) > self._limit or self._bytes > self._limit_bytes):
                _, oldest = self._frames.popitem(last=False)
                self._bytes -= oldest.size_bytes

    def get(self, frame_id: str) -> RecentFrame:
        """Return a frame.

        Raises:
            InferenceError: NOT_FOUND: it never was, or is no longer kept.
        """
        with self._lock:
            kept = self._frames.get(frame_id)
        if kept is None:
            raise InferenceError(Code.NOT_FOUND, f"frame {frame_id} is not among the last {self._limit}")
        return kept

    def last(self) -> InspectedFrame | None:
        """Return the newest frame."""
        with self._lock:
            return next(reversed(self._frames.values())).frame if self._frames else None

    def newest(self, limit: int) -> list[RecentFrame]:
        """Return the newest frames with their pictures, newest first."""
        with self._lock:
            return list(reversed(self._frames.values()))[:limit]

    def pictures_of(self, model: str, limit: int = _REPLAYED) -> list[Picture]:
        """Return the last pictures that a model was asked for, newest first."""
        with self._lock:
            kept = list(reversed(self._frames.values()))
        asked = (each.picture for each in kept if any(result.model == model for result in each.frame.results))
        return list(itertools.islice(asked, limit))

    def draw(self, frame_id: str, layer: Layer, application: str = "") -> tuple[bytes, str]:
        """Return a layer as a browser shows it, and its content type.

        Raises:
            InferenceError: NOT_FOUND: no such frame, or no mask of that application in it.
        """
        kept = self.get(frame_id)
        if layer == "overlay":
            return _overlay(kept, application), "image/png"
        if isinstance(kept.picture, EncodedPicture):
            content = kept.picture.content
            return content, "image/png" if content.startswith(_PNG) else "image/jpeg"
        return _jpeg(kept.picture.rgb, kept.picture.width, kept.picture.height), "image/jpeg"


def without_masks(frame: InspectedFrame) -> InspectedFrame:
    """Return the frame for those who tell it on: masks are large, and are fetched by id."""
    results = tuple(result.model_copy(update={"mask_png": b""}) for result in frame.results)
    return frame.model_copy(update={"results": results})


def _owned(picture: Picture) -> Picture:
    """Return the picture with bytes of its own: a view may be into memory that its owner writes again."""
    if isinstance(picture, EncodedPicture):
        return picture
    return picture._replace(rgb=bytes(picture.rgb))


def _overlay(kept: RecentFrame, application: str) -> bytes:
    # Imported when somebody looks: the agent itself does without the image library.
    from edge_agent.vision import decode, overlay  # noqa: PLC0415

    mask = kept.masks.get(application)
    if mask is None:
        raise InferenceError(Code.NOT_FOUND, f"frame {kept.frame.id} has no mask of {application}")
    return overlay(decode(mask)[..., 0])


def _jpeg(rgb: bytes | memoryview, width: int, height: int) -> bytes:
    from edge_agent.vision import encode_jpeg, from_raw  # noqa: PLC0415

    return encode_jpeg(from_raw(rgb, width, height))
