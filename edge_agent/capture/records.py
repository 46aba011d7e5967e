"""From inspections and tensors to captures.

As in SageMaker Edge Manager and what came after it, pictures and results are
auxiliary data, tensors are not. Not done here: files, clocks, networks, and where
a capture ends up (``layout``).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edge_agent.errors import InferenceError
from edge_agent.formats import (
    AnomalyMap,
    AuxiliaryData,
    CapturedTensor,
    Document,
    InspectedFrame,
    ModelResult,
    Picture,
    RawPicture,
    TensorCapture,
    Verdict,
)

# The end of the year 9999: later there is no folder for it.
LAST_TIME = 253_402_300_799.0
# A page shows dozens of them; on a screen of double density still sharp.
THUMBNAIL_SIDE = 240

Group = Literal["deviceFleetInputs", "deviceFleetOutputs", "deviceFleetAuxiliaryInputs", "deviceFleetAuxiliaryOutputs"]
_NO_MAPS: Mapping[str, AnomalyMap] = MappingProxyType({})
_AUXILIARY_TYPES = {"CSV": "csv", "JSON": "json"}
_PICTURES = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}
_INFERENCE_RESULTS = {Verdict.OK: "Normal", Verdict.NG: "Anomaly"}


class Part(Document):
    """Some bytes of a capture."""

    file: str = Field(description="its name under raw-data/ when it is not embedded")
    size_bytes: int = Field(ge=0)


class Entry(Document):
    """One entry of an event: which part, and what it is."""

    group: Group
    name: str
    content_type: str
    part: int = Field(ge=0, description="which of the capture's parts")


class Event(Document):
    """What one model version took in and gave out."""

    model: str
    version: str
    entries: tuple[Entry, ...]


class Capture(Document):
    """One capture without its bytes; the first line of its file."""

    id: str
    at: float = Field(ge=0, le=LAST_TIME, allow_inf_nan=False)
    verdict: Verdict
    kind: Literal["frame", "tensors"]
    events: tuple[Event, ...] = Field(min_length=1)
    parts: tuple[Part, ...]
    model: str = Field("", description="the one that decided; empty: the first event's")
    version: str = ""
    score: float = 0.0
    threshold: float = 0.0
    source: str = ""
    name: str = Field("", description="the picture's")
    reason: str = Field("", description="which part of the policy wanted it")
    thumbnail: int | None = Field(None, ge=0, description="which of the parts; it is never sent")

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all parts."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def picture(self) -> int | None:
        """Return which part is the picture, None where there is none."""
        return self._first("deviceFleetAuxiliaryInputs", ("jpg", "png"))

    @property
    def mask(self) -> int | None:
        """Return which part is a mask, None where there is none."""
        return self._first("deviceFleetAuxiliaryOutputs", ("png",))

    def _first(self, group: Group, kinds: tuple[str, ...]) -> int | None:
        entries = (entry for event in self._events_by_rank() for entry in event.entries)
        found = (entry.part for entry in entries if entry.group == group and entry.content_type in kinds)
        return next(found, None) if self.kind == "frame" else None

    def _events_by_rank(self) -> list["Event"]:
        """Return the events, that of the model that decided first."""
        return sorted(self.events, key=lambda event: (event.model, event.version) != (self.model, self.version))


class _Parts:
    """Collects contents and numbers them."""

    def __init__(self, stem: str) -> None:
        self.contents: list[bytes] = []
        self.parts: list[Part] = []
        self._stem = quote(stem, safe="")

    def add(self, content: bytes, suffix: str) -> int:
        number = len(self.parts)
        self.parts.append(Part(file=f"{self._stem}-{number + 1}.{suffix}", size_bytes=len(content)))
        self.contents.append(content)
        return number


def from_frame(
    frame: InspectedFrame, picture: Picture, maps: Mapping[str, AnomalyMap] = _NO_MAPS, reason: str = ""
) -> tuple[Capture, list[bytes]]:
    """Return an inspected frame as a capture and its contents; raw pixels become a PNG.

    Results of one model version stand in one event; all events share the picture. A small
    picture for the page comes last, where the picture can be read at all.
    Masks are drawn from ``maps`` (by application) where the results bring none.
    """
    parts = _Parts(frame.id)
    content, kind = _picture(picture)
    image = Entry(group="deviceFleetAuxiliaryInputs", name="Input-1", content_type=kind, part=parts.add(content, kind))
    results: dict[tuple[str, str], list[Entry]] = {}
    for result in frame.results:
        if not (result.model and result.version):
            continue
        entries = results.setdefault((result.model, result.version), [image])
        entries.append(_output(len(entries), "json", parts.add(_told(frame, result, reason), "json")))
        mask = result.mask_png or _mask(maps.get(result.application))
        if mask:
            entries.append(_output(len(entries), "png", parts.add(mask, "png")))
    events = tuple(
        Event(model=model, version=version, entries=tuple(entries)) for (model, version), entries in results.items()
    )
    decided = deciding(frame)
    small = thumbnail(picture)
    number = parts.add(small, "thumbnail") if small else None
    capture = Capture(
        id=frame.id,
        at=frame.at,
        verdict=frame.verdict,
        kind="frame",
        events=events,
        parts=tuple(parts.parts),
        model=decided.model,
        version=decided.version,
        score=decided.score,
        threshold=decided.threshold,
        source=frame.source,
        name=frame.name,
        reason=reason,
        thumbnail=number,
    )
    return capture, parts.contents


def deciding(frame: InspectedFrame) -> ModelResult:
    """Return the result that the frame's verdict came from: the first that says the same, else the first of all."""
    told = [result for result in frame.results if result.model and result.version]
    return next((result for result in told if result.verdict is frame.verdict), told[0])


def thumbnail(picture: Picture) -> bytes:
    """Return a picture as a small JPEG, empty where it cannot be read."""
    from edge_agent.vision import decode, small_jpeg  # noqa: PLC0415 - whoever captures nothing needs none

    try:
        pixels = _pixels(picture) if isinstance(picture, RawPicture) else decode(picture.content)
        return small_jpeg(pixels, THUMBNAIL_SIDE)
    except InferenceError:
        return b""


def from_tensors(capture: TensorCapture) -> tuple[Capture, list[bytes]]:
    """Return a client's own capture and its contents."""
    parts = _Parts(capture.capture_id)
    entries = [
        *(_tensor("deviceFleetInputs", tensor, parts) for tensor in capture.inputs),
        *(_tensor("deviceFleetOutputs", tensor, parts) for tensor in capture.outputs),
        *(_auxiliary("deviceFleetAuxiliaryInputs", data, parts) for data in capture.auxiliary_inputs),
        *(_auxiliary("deviceFleetAuxiliaryOutputs", data, parts) for data in capture.auxiliary_outputs),
    ]
    document = Capture(
        id=capture.capture_id,
        at=capture.at,
        verdict=Verdict.NO_RESULT,
        kind="tensors",
        events=(Event(model=capture.model, version=capture.version, entries=tuple(entries)),),
        parts=tuple(parts.parts),
    )
    return document, parts.contents


def _picture(picture: Picture) -> tuple[bytes, str]:
    if isinstance(picture, RawPicture):
        from edge_agent.vision import encode_png  # noqa: PLC0415 - the agent needs no image library for files

        return encode_png(_pixels(picture)), "png"
    return picture.content, "png" if picture.content.startswith(b"\x89PNG") else "jpg"


def _pixels(picture: RawPicture) -> NDArray[np.uint8]:
    return np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)


def _mask(anomalies: AnomalyMap | None) -> bytes:
    if anomalies is None:
        return b""
    from edge_agent.vision import encode_png, map_mask  # noqa: PLC0415 - as above

    return encode_png(map_mask(anomalies))


def _output(number: int, kind: str, part: int) -> Entry:
    return Entry(group="deviceFleetAuxiliaryOutputs", name=f"Output-{number}", content_type=kind, part=part)


def _told(frame: InspectedFrame, result: ModelResult, reason: str) -> bytes:
    """Return what a model said, in the words of the inherited readers and in ours."""
    # Their confidence is that of the verdict; ours is a score for defective.
    confidence = {Verdict.NG: result.score, Verdict.OK: 1.0 - result.score}.get(result.verdict, 0.0)
    told = {
        "Confidence": confidence,
        "Inference result": _INFERENCE_RESULTS.get(result.verdict, ""),
        "Inference status": "success" if result.verdict is not Verdict.NO_RESULT else "failure",
        "Error msg": result.message,
        "source": frame.source,
        "name": frame.name,
        "frame_verdict": frame.verdict.value,
        "decided_by": deciding(frame).model,
        "reason": reason,
        **result.model_dump(mode="json"),
    }
    return json.dumps(told, separators=(",", ":")).encode()


def _tensor(group: Group, tensor: CapturedTensor, parts: _Parts) -> Entry:
    shape = ", ".join(str(size) for size in tensor.spec.shape)
    return Entry(
        group=group,
        name=tensor.spec.name,
        content_type=f"Tensor[{tensor.spec.dtype.value}; {shape}]",
        part=parts.add(tensor.content, "bin"),
    )


def _auxiliary(group: Group, data: AuxiliaryData, parts: _Parts) -> Entry:
    content = _plain(data.content) if data.encoding == "BASE64" else data.content
    kind = _AUXILIARY_TYPES.get(data.encoding) or _picture_type(content)
    return Entry(group=group, name=data.name, content_type=kind, part=parts.add(content, kind))


def _picture_type(content: bytes) -> str:
    """Return what readers call a picture's content, "bin" where it is none."""
    return next((kind for begin, kind in _PICTURES.items() if content.startswith(begin)), "bin")


def _plain(content: bytes) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return content
