"""The last inspected frames, kept in memory for the page: pictures as they came, and what masks are drawn from."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import AnomalyMap, EncodedPicture, InspectedFrame, Picture

Layer = Literal["picture", "overlay"]

_LIMIT_BYTES = 256 << 20
_REPLAYED = 32
_PNG = b"\x89PNG"
_NO_MAPS: Mapping[str, AnomalyMap] = MappingProxyType({})


class RecentFrame(NamedTuple):
    """A frame, its picture, and what its masks are drawn from by application."""

    frame: InspectedFrame
    picture: Picture
    maps: Mapping[str, AnomalyMap]

    @property
    def size_bytes(self) -> int:
        """Return the bytes that it keeps."""
        content = self.picture.content if isinstance(self.picture, EncodedPicture) else self.picture.rgb
        return len(content) + sum(len(anomalies.logits) for anomalies in self.maps.values())

    def map_of(self, application: str) -> AnomalyMap:
        """Return what the overlay of an application is drawn from.

        Raises:
            InferenceError: NOT_FOUND: it has no mask.
        """
        anomalies = self.maps.get(application)
        if anomalies is None:
            raise InferenceError(Code.NOT_FOUND, f"frame {self.frame.id} has no mask of {application}")
        return anomalies


class RecentFrames:
    """The newest ``limit`` frames, within ``limit_bytes``; the newest one always.

    Args:
        limit: how many.
        limit_bytes: of pictures and maps together.
    """

    def __init__(self, limit: int, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._frames: OrderedDict[str, RecentFrame] = OrderedDict()
        self._last: InspectedFrame | None = None
        self._bytes = 0

    def keep(self, frame: InspectedFrame, picture: Picture, maps: Mapping[str, AnomalyMap] = _NO_MAPS) -> None:
        """Add a frame without masks; the oldest go."""
        kept = RecentFrame(frame, _owned(picture), maps)
        with self._lock:
            self._frames[frame.id] = kept
            self._last = frame
            self._bytes += kept.size_bytes
            while len(self._frames) > 1 and (len(self._frames) > self._limit or self._bytes > self._limit_bytes):
                _, oldest = self._frames.popitem(last=False)
                self._bytes -= oldest.size_bytes

    def keep_without_picture(self, frame: InspectedFrame) -> None:
        """Let a frame that nobody has a picture of be the newest, and no more: the one before does not stand for it."""
        with self._lock:
            self._last = frame

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
        """Return the newest frame, with a picture or without."""
        return self._last

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


def _owned(picture: Picture) -> Picture:
    """Return the picture with bytes of its own: a view may be into memory that its owner writes again."""
    if isinstance(picture, EncodedPicture):
        return picture
    return picture._replace(rgb=bytes(picture.rgb))


def _overlay(kept: RecentFrame, application: str) -> bytes:
    # Imported when somebody looks: the agent itself does without the image library.
    from edge_agent.vision import map_mask, overlay  # noqa: PLC0415

    return overlay(map_mask(kept.map_of(application)))


def _jpeg(rgb: bytes | memoryview, width: int, height: int) -> bytes:
    from edge_agent.vision import encode_jpeg, from_raw  # noqa: PLC0415

    return encode_jpeg(from_raw(rgb, width, height))
