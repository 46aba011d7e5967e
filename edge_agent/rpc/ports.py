"""What the servicers need of the agent; whoever builds the servers brings it.

Every method may be called from any thread and raises ``AgentError`` with a code; the
interceptor makes gRPC's status of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from edge_agent.formats import (
    AnomalyMap,
    CameraStatus,
    CaptureReport,
    CaptureStatus,
    DeploymentReport,
    Event,
    GoldenCheck,
    InspectedFrame,
    LogLine,
    Manifest,
    ModelVersion,
    Picture,
    Shift,
    SimilarParts,
    Status,
    TensorCapture,
)

CaptureState = Literal["IN_PROGRESS", "SUCCESS", "FAILURE"]
Layer = Literal["picture", "overlay"]
CapturePart = Literal["picture", "thumbnail", "mask"]


class DataPlane(Protocol):
    """Answers tensors with tensors."""

    def infer(
        self, name: str, tensors: Mapping[str, NDArray[Any]], *, timeout_s: float
    ) -> tuple[ModelVersion, Mapping[str, NDArray[Any]]]:
        """Return which version answered, and its outputs in their order."""


class Loaded(Protocol):
    """One loaded model version."""

    @property
    def manifest(self) -> Manifest:
        """Return what was released."""

    @property
    def state(self) -> str:
        """Return READY, LOADING or CLOSED."""


class ModelCatalog(Protocol):
    """Which models answer."""

    def active(self) -> Mapping[str, Loaded]:
        """Return what answers now, by model name."""

    def resolve(self, name: str) -> str | None:
        """Return the model that a name or an identifier ``name-version`` stands for."""

    def wait_for(self, name: str, timeout_s: float) -> None:
        """Wait while the model that a name stands for is on its way to ``active``, and no longer."""


class ModelLoader(Protocol):
    """Loads models that no deployment brought, for clients that bring their own."""

    def load(self, directory: Path, manifest: Manifest) -> None:
        """Answer for ``manifest.model`` from this directory; its artefacts are verified.

        Raises:
            AgentError: RESOURCE_EXHAUSTED, or why it cannot be loaded here.
        """

    def unload(self, model: str) -> None:
        """Close what ``load`` opened; a committed version is never touched."""


class Inspector(Protocol):
    """Inspects pictures."""

    def inspect(
        self,
        picture: Picture,
        *,
        applications: Sequence[str],
        source: str,
        frame_name: str,
        with_mask: bool,
        with_heat_map: bool = False,
        frame_priority: bool,
        trial: bool = False,
        timeout_s: float,
    ) -> InspectedFrame:
        """Return a frame with a verdict; trouble is NO_RESULT with a message.

        Args:
            picture: JPEG, PNG or raw RGB.
            applications: as in the mappings; none: all.
            source: who asks.
            frame_name: what the picture is called.
            with_mask: fill ``mask_png`` of the results.
            with_heat_map: fill their ``heat_map_png``.
            frame_priority: callers of the line go first.
            trial: only looked at: neither counted, kept, captured nor told.
            timeout_s: from now, waiting included.
        """

    def inspect_model(
        self, model: str, picture: Picture, *, application: str, source: str, timeout_s: float
    ) -> tuple[InspectedFrame, AnomalyMap | None]:
        """Return a frame with the answer of one model, and what can be drawn; it is told under ``application``.

        Raises:
            InferenceError: there is no answer.
        """

    def frame(self, frame_id: str, layer: Layer, application: str) -> tuple[bytes, str]:
        """Return a recent frame's picture or overlay, and its content type.

        Raises:
            InferenceError: NOT_FOUND.
        """

    def frame_map(self, frame_id: str, application: str) -> AnomalyMap:
        """Return what a recent frame's overlay is drawn from.

        Raises:
            InferenceError: NOT_FOUND.
        """


class CaptureVerbs(Protocol):
    """What an operator sees of captures, and does with them."""

    def captures(
        self, limit: int, *, before: float = 0.0, verdict: str = "", state: str = ""
    ) -> Sequence[CaptureReport]:
        """Return captured inspections, newest first: older than ``before`` and of these words, where given."""

    def capture_content(self, capture_id: str, part: CapturePart) -> tuple[bytes, str]:
        """Return a part of a capture and its content type.

        Raises:
            InferenceError: NOT_FOUND.
        """

    def label_capture(
        self,
        capture_id: str,
        label: str,
        actor: str,
        *,
        other: bool = False,
        role: str = "",
        user: str = "",
        instead_of: str | None = None,
    ) -> CaptureReport:
        """Keep what a person says that the part is, empty takes it back; return when that is durable.

        Raises:
            InferenceError: NOT_FOUND; INVALID_ARGUMENT: no such label; FAILED_PRECONDITION: another label stands
                than ``instead_of``.
        """

    def pause_captures(self, capture: bool | None, upload: bool | None, actor: str) -> CaptureStatus:
        """Pause capture or upload, or let them go on, None leaves it; return when that is durable."""


class Cameras(Protocol):
    """Hears how stations' cameras do."""

    def report(self, camera: CameraStatus) -> None:
        """Take what a station tells.

        Raises:
            InferenceError: INVALID_ARGUMENT, or RESOURCE_EXHAUSTED when there are too many.
        """


class Operator(CaptureVerbs, Protocol):
    """What an operator sees and does."""

    def status(self) -> Status:
        """Return everything at one glance."""

    def deployments(self, deployment_id: str, limit: int) -> Sequence[DeploymentReport]:
        """Return the newest ``limit`` deployments, or only the one with an id.

        Raises:
            AgentError: NOT_FOUND.
        """

    def roll_back(self, model: str, reason: str, actor: str, *, timeout_s: float) -> DeploymentReport:
        """Take the model back; return when that is durable."""

    def remove(self, model: str, reason: str, actor: str, *, timeout_s: float) -> DeploymentReport:
        """Take the model off the device; return when that is durable."""

    def configure(
        self, model: str, threshold: float | None, reason: str, actor: str, *, timeout_s: float
    ) -> DeploymentReport:
        """Set the model's threshold, None: as it was signed; return when that is durable."""

    def install(self, models: Sequence[ModelVersion]) -> str:
        """Order versions from the repository; return the deployment's id once it is accepted."""


class Line(Protocol):
    """What is kept of the line, for people."""

    def frames(self, limit: int) -> Sequence[InspectedFrame]:
        """Return the recent frames, newest first."""

    def shifts(self, limit: int) -> Sequence[Shift]:
        """Return shifts with distributions, the running one first."""

    def reset_counts(self, reason: str, actor: str) -> Shift:
        """Begin the running shift's counts anew; return it when that is durable."""

    def check_golden_parts(self, actor: str, *, timeout_s: float) -> GoldenCheck:
        """Inspect the golden parts; return what came of it.

        Raises:
            InferenceError: FAILED_PRECONDITION: there are none. DEADLINE_EXCEEDED: the check goes on.
        """

    def logs(self, limit: int, level: str) -> Sequence[LogLine]:
        """Return the newest lines of the log, newest last.

        Args:
            limit: how many.
            level: this and above; empty: all.
        """


class Memories(Protocol):
    """Tells what looks like a part."""

    def similar(self, identity: str, model: str, limit: int, *, timeout_s: float) -> SimilarParts:
        """Return what looks most like a recent frame or a capture.

        Raises:
            AgentError: NOT_FOUND, or the model that was named does not tell where a part lies.
        """


class Subscription(Protocol):
    """A reader of events."""

    def __iter__(self) -> Iterator[Event]:
        """Yield events as they come, until ``close``."""

    def close(self) -> None:
        """End the iteration, from any thread."""


class EventFeed(Protocol):
    """The agent's news."""

    def subscribe(self, after: int = 0) -> Subscription:
        """Return a reader of the events after an id; 0: of those from now on."""


class TensorCaptures(Protocol):
    """The spool, for clients that capture by themselves."""

    def capture_tensors(self, capture: TensorCapture) -> None:
        """Take the capture; it is stored later.

        Raises:
            AgentError: ALREADY_EXISTS, or RESOURCE_EXHAUSTED when the buffer is full.
        """

    def capture_state(self, capture_id: str) -> CaptureState | None:
        """Tell how a capture fares; None: unknown."""
