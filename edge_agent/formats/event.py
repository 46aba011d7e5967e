"""What happened in the agent, as its event stream tells it."""

from typing import Any, NamedTuple

from edge_agent.formats.document import Document
from edge_agent.formats.inspection import Counts, InspectedFrame
from edge_agent.formats.line import CameraStatus, GoldenCheck, Shift
from edge_agent.formats.status import AgentStatus, CaptureStatus, DeploymentReport, ModelStatus


class ModelsChanged(Document):
    """The models as they are from now on."""

    models: tuple[ModelStatus, ...] = ()


Payload = (
    InspectedFrame
    | DeploymentReport
    | ModelsChanged
    | CaptureStatus
    | Counts
    | AgentStatus
    | CameraStatus
    | Shift
    | GoldenCheck
)

# The names in the JSON lines of ``events`` and in the protocol.
KINDS: dict[type[Document], str] = {
    InspectedFrame: "frame",
    DeploymentReport: "deployment",
    ModelsChanged: "models",
    CaptureStatus: "captures",
    Counts: "counts",
    AgentStatus: "agent",
    CameraStatus: "camera",
    Shift: "shift",
    GoldenCheck: "golden",
}


class Event(NamedTuple):
    """One event; ids grow by one, so a gap tells of events that were lost.

    Attributes:
        id: from 1 on, since the agent started.
        at: epoch seconds.
        payload: the news.
    """

    id: int
    at: float
    payload: Payload

    @property
    def kind(self) -> str:
        """Return the payload's name, one of ``KINDS``."""
        return KINDS[type(self.payload)]

    def to_dict(self) -> dict[str, Any]:
        """Return it as its JSON line says it: ``{"id", "at", "kind", KIND: {…}}``."""
        content = self.payload.model_dump(mode="json", by_alias=True)
        return {"id": self.id, "at": self.at, "kind": self.kind, self.kind: content}
