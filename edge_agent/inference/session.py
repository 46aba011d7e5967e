"""What a loaded model version can do, whatever executes it and wherever.

One ``Session`` is one loaded version. It answers tensors with tensors and a picture
with an outcome, many callers at a time, each within its own time. Not done here:
choosing the version (``registry``), forming a frame's verdict (``inspection``).
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from numpy.typing import NDArray

from edge_agent.formats import AnomalyMap, Manifest, Picture, RawPicture

if TYPE_CHECKING:  # the agent itself needs no image library until a model is loaded
    from edge_agent.vision import Outcome

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
SessionState: TypeAlias = Literal["LOADING", "READY", "CLOSED"]


class Priority(IntEnum):
    """Who goes first when there is a queue; the lower number does."""

    LINE = 0
    FRAME = 1
    SHADOW = 2


class Times(NamedTuple):
    """Where the time of one answered request went, in seconds."""

    queue_s: float = 0.0
    """Until a lane was free."""
    input_s: float = 0.0
    """Bringing the inputs to where they are computed."""
    compute_s: float = 0.0
    output_s: float = 0.0
    """Bringing the outputs back."""


class Outputs(dict[str, NDArray[Any]]):
    """A graph's outputs by name, and where the time went."""

    times = Times()


class Inspected(NamedTuple):
    """What one version says of one picture."""

    outcome: "Outcome"
    """Verdict, score, label; its ``mask`` is always None, the mask stands beside it."""
    mask_png: bytes
    """Grey PNG of the picture's size, 255 is defective; empty where nobody asked or the model draws none."""
    width: int
    height: int
    decode_ms: float
    compute_ms: float
    queue_ms: float = 0.0
    decoded: RawPicture | None = None
    """The picture decoded, for the next model of a chain; only where asked for."""
    preprocess_ms: float = 0.0
    anomalies: AnomalyMap | None = None
    """What the mask or a heat map can be drawn from later; only where asked for, None where the model draws none."""
    embedding: bytes = b""
    """float32 [D], where the picture lies among others; empty where the model does not tell."""


class Session(Protocol):
    """One loaded model version; every method may be called from any thread."""

    @property
    def manifest(self) -> Manifest:
        """Return what was released."""

    @property
    def provider(self) -> str:
        """Return what executes it, as the runtime names it."""

    @property
    def fallback(self) -> str:
        """Return what should have executed it instead, and why it does not; empty where all is as wanted."""

    @property
    def memory_bytes(self) -> int:
        """Return the resident bytes that the version takes; 0 where that cannot be told."""

    @property
    def state(self) -> SessionState:
        """Return READY, LOADING while a worker is being replaced, or CLOSED."""

    @property
    def restarts(self) -> int:
        """Return how often its worker was replaced."""

    def infer(
        self, tensors: Tensors, *, timeout_s: float, priority: Priority = Priority.LINE
    ) -> dict[str, NDArray[Any]]:
        """Return the graph's outputs by name; the arrays belong to the caller.

        Raises:
            InferenceError: INVALID_ARGUMENT (names the input, what was expected and what
                came), RESOURCE_EXHAUSTED (the queue is full; at once), DEADLINE_EXCEEDED,
                UNAVAILABLE (its worker ended), INTERNAL (the graph answered NaN or a wrong shape).
        """

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
        """Return what the model says of one picture.

        Args:
            picture: JPEG, PNG or raw RGB.
            timeout_s: from now, waiting included.
            with_mask: draw the mask and encode it.
            threshold: in place of the manifest's, within its signed range.
            priority: who goes first when there is a queue.
            keep_decoded: answer the decoded picture too.
            keep_map: answer the anomaly map too, which costs a fraction of drawing a mask.

        Raises:
            InferenceError: as ``infer``; OUT_OF_RANGE for a threshold outside its range.
        """

    def close(self) -> None:
        """Free everything; requests in flight end UNAVAILABLE. Closing twice does nothing."""
