"""Frames, tensors and a destination for tests of captures."""

import threading
import uuid

import numpy as np

from edge_agent.errors import Code, TransferError
from edge_agent.formats import (
    AuxiliaryData,
    CapturedTensor,
    DType,
    InspectedFrame,
    ModelResult,
    TensorCapture,
    TensorSpec,
    Verdict,
)

AT = 1_780_257_924.0  # 2026-05-31 20:05:24 UTC


def result(model: str = "unet", version: str = "1", verdict: Verdict = Verdict.NG, mask: bytes = b"") -> ModelResult:
    """Return what one model said."""
    return ModelResult(
        application="app", model=model, version=version, verdict=verdict, score=0.9, threshold=0.5, mask_png=mask
    )


def frame(name: str, verdict: Verdict = Verdict.NG, *results: ModelResult, at: float = AT) -> InspectedFrame:
    """Return an inspected frame; without results one model said its verdict."""
    return InspectedFrame(id=name, at=at, verdict=verdict, results=results or (result(verdict=verdict),), source="cam")


def tensors(capture_id: str = "", size: int = 4, at: float = AT) -> TensorCapture:
    """Return a client's own capture with ``size`` numbers in and out."""
    spec = TensorSpec(name="input", dtype=DType.FLOAT32, shape=(1, size))
    content = np.zeros(size, np.float32).tobytes()
    return TensorCapture(
        capture_id=capture_id or str(uuid.uuid4()),
        model="unet",
        version="1",
        at=at,
        inputs=(CapturedTensor(spec, content),),
        outputs=(CapturedTensor(spec.model_copy(update={"name": "output"}), content),),
        auxiliary_inputs=(AuxiliaryData("note", "JSON", b'{"a":1}'), AuxiliaryData("text", "BASE64", b"aGVsbG8=")),
        auxiliary_outputs=(AuxiliaryData("table", "CSV", b"1,2"), AuxiliaryData("rest", "NONE", b"\x00")),
    )


class Bucket:
    """A destination that can be away.

    Attributes:
        stored: content by key.
        away: every put fails.
        refuses: puts of keys that contain this fail.
        has_record: set once a record is stored.
    """

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.order: list[str] = []
        self.has_record = threading.Event()
        self.away = False
        self.refuses = ""

    def put(self, key: str, content: bytes) -> None:
        if self.away or (self.refuses and self.refuses in key):
            raise TransferError(Code.TRANSFER_FAILED, f"{key}: the store is away")
        self.stored[key] = content
        self.order.append(key)
        if key.endswith(".jsonl"):
            self.has_record.set()
