"""A session without a model: answers at once, counts who asks and whether it was closed too early."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Manifest, Picture, Verdict
from edge_agent.inference.session import Inspected, Priority, SessionState, Tensors
from edge_agent.vision import Outcome
from tests.fakes.tiny_models import write_version


class FakeSession:
    """Answers ``answer`` with its version's number; ``gate`` holds requests while it is cleared."""

    provider = "none"
    fallback = ""
    memory_bytes = 1000
    restarts = 0

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        self.closed = False

    @property
    def state(self) -> SessionState:
        return "CLOSED" if self.closed else "READY"

    def infer(
        self, tensors: Tensors, *, timeout_s: float, priority: Priority = Priority.LINE
    ) -> dict[str, NDArray[Any]]:
        self._answer(timeout_s)
        return {"version": np.array([int(self.manifest.version)])}

    def inspect(
        self,
        picture: Picture,
        *,
        timeout_s: float,
        with_mask: bool,
        threshold: float | None = None,
        priority: Priority = Priority.LINE,
        keep_decoded: bool = False,
        keep_map: bool = False,
    ) -> Inspected:
        self._answer(timeout_s)
        outcome = Outcome(Verdict.OK, 0.1, 0.5, "good", None, 0.0)
        return Inspected(outcome, b"", 4, 4, decode_ms=0.0, compute_ms=0.0)

    def close(self) -> None:
        self.closed = True

    def _answer(self, timeout_s: float) -> None:
        self.asked.set()
        if not self.gate.wait(timeout_s):
            raise InferenceError(Code.DEADLINE_EXCEEDED, "the gate stayed shut")
        if self.closed:
            raise InferenceError(Code.UNAVAILABLE, "the model version was closed")


def fake_session(directory: Path, version: str = "1", name: str = "bright") -> FakeSession:
    """Return a session of a version that is written to ``directory``."""
    return FakeSession(write_version(directory / f"{name}-{version}", name=name, version=version))
