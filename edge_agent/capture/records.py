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
from pydantic import Field

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

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all parts."""
        return sum(part.size_bytes for part in self.parts)


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
    frame: InspectedFrame, picture: Picture, maps: Mapping[str, AnomalyMap] = _NO_MAPS
) -> tuple[Capture, list[bytes]]:
    """Return an inspected frame as a capture and its contents; raw pixels become a PNG.

    Results of one model version stand in one event; all events share the picture.
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
        entries.append(_output(len(entries), "json", parts.add(_told(frame, result), "json")))
        mask = result.mask_png or _mask(maps.get(result.application))
        if mask:
            entries.append(_output(len(entries), "png", parts.add(mask, "png")))
    events = tuple(
        Event(model=model, version=version, entries=tuple(entries)) for (model, version), entries in results.items()
    )
    capture = Capture(
        id=frame.id, at=frame.at, verdict=frame.verdict, kind="frame", events=events, parts=tuple(parts.parts)
    )
    return capture, parts.contents


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

        pixels = np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)
        return encode_png(pixels), "png"
    return picture.content, "png" if picture.content.startswith(b"\x89PNG") else "jpg"


def _mask(anomalies: AnomalyMap | None) -> bytes:
    if anomalies is None:
        return b""
    from edge_agent.vision import encode_png, map_mask  # noqa: PLC0415 - as above

    return encode_png(map_mask(anomalies))


def _output(number: int, kind: str, part: int) -> Entry:
    return Entry(group="deviceFleetAuxiliaryOutputs", name=f"Output-{number}", content_type=kind, part=part)


def _told(frame: InspectedFrame, result: ModelResult) -> bytes:
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
