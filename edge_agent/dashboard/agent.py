"""What the page needs of the agent's client; see ``edge_agent.client.AgentClient``, which has it."""

from collections.abc import Sequence
from typing import Protocol

from edge_agent.client import EventStream, FrameContent
from edge_agent.client.capture_calls import CapturePart
from edge_agent.formats import (
    AnomalyMap,
    CaptureReport,
    CaptureStatus,
    DeploymentReport,
    EncodedPicture,
    GoldenCheck,
    InspectedFrame,
    LogLine,
    Shift,
    SimilarParts,
    Status,
)


class Watching(Protocol):
    """What the page reads."""

    def status(self, *, timeout_s: float = ...) -> Status:
        """Return everything at one glance."""

    def events(self, after: int | None = ...) -> EventStream:
        """Return the stream of events from now on."""

    def deployments(
        self, deployment_id: str = ..., *, limit: int = ..., timeout_s: float = ...
    ) -> list[DeploymentReport]:
        """Return deployments, newest first."""

    def frame(self, frame_id: str, layer: str = ..., application: str = ..., *, timeout_s: float = ...) -> FrameContent:
        """Return a recent frame's picture or overlay."""

    def frame_map(self, frame_id: str, application: str, *, timeout_s: float = ...) -> AnomalyMap:
        """Return what a recent frame's overlay is drawn from."""

    def frames(self, *, limit: int = ..., timeout_s: float = ...) -> list[InspectedFrame]:
        """Return recent frames, newest first."""

    def shifts(self, *, limit: int = ..., timeout_s: float = ...) -> list[Shift]:
        """Return shifts, the running one first."""

    def captures(
        self, *, limit: int = ..., before: float = ..., verdict: str = ..., state: str = ..., timeout_s: float = ...
    ) -> list[CaptureReport]:
        """Return captured inspections, newest first."""

    def capture_content(self, capture_id: str, part: CapturePart, *, timeout_s: float = ...) -> FrameContent:
        """Return a capture's picture, thumbnail or mask."""

    def similar(self, identity: str, *, model: str = ..., limit: int = ..., timeout_s: float = ...) -> SimilarParts:
        """Return what looks most like a recent frame or a capture."""

    def logs(self, *, limit: int = ..., level: str = ..., timeout_s: float = ...) -> list[LogLine]:
        """Return the newest lines of the log, newest last."""


class Operating(Protocol):
    """What a person does on the page."""

    def roll_back(self, model: str, reason: str, *, actor: str, timeout_s: float = ...) -> DeploymentReport:
        """Take a model back to its previous version."""

    def configure(
        self, model: str, threshold: float | None, reason: str, *, actor: str, timeout_s: float = ...
    ) -> DeploymentReport:
        """Set a model's threshold; None: as it was signed."""

    def reset_counts(self, reason: str, *, actor: str, timeout_s: float = ...) -> Shift:
        """Begin the running shift's counts anew."""

    def check_golden_parts(self, *, actor: str, timeout_s: float = ...) -> GoldenCheck:
        """Inspect the golden parts."""

    def label_capture(
        self,
        capture_id: str,
        label: str,
        *,
        actor: str,
        other: bool = ...,
        role: str = ...,
        user: str = ...,
        instead_of: str | None = ...,
        timeout_s: float = ...,
    ) -> CaptureReport:
        """Say what a captured part is."""

    def pause_captures(
        self, *, capture: bool | None = ..., upload: bool | None = ..., actor: str, timeout_s: float = ...
    ) -> CaptureStatus:
        """Pause capture or upload, or let them go on."""

    def inspect(
        self,
        picture: EncodedPicture,
        *,
        applications: Sequence[str] = ...,
        source: str = ...,
        frame_name: str = ...,
        with_mask: bool = ...,
        with_heat_map: bool = ...,
        frame_priority: bool = ...,
        trial: bool = ...,
        timeout_s: float = ...,
    ) -> InspectedFrame:
        """Inspect one picture."""


class Agent(Watching, Operating, Protocol):
    """The agent, as the page sees it."""
