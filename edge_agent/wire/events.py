"""Events, one field of the message for each kind of payload."""

from collections.abc import Callable, Mapping
from typing import Any

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import (
    AgentStatus,
    CameraStatus,
    CaptureStatus,
    Counts,
    DeploymentReport,
    Document,
    Event,
    GoldenCheck,
    InspectedFrame,
    ModelsChanged,
    Payload,
    Shift,
)
from edge_agent.wire.inspection import counts_from_proto, counts_to_proto, frame_from_proto, frame_to_proto
from edge_agent.wire.line import (
    camera_from_proto,
    camera_to_proto,
    golden_from_proto,
    golden_to_proto,
    shift_from_proto,
    shift_to_proto,
)
from edge_agent.wire.reports import (
    agent_from_proto,
    agent_to_proto,
    captures_from_proto,
    captures_to_proto,
    deployment_from_proto,
    deployment_to_proto,
    model_from_proto,
    model_to_proto,
)

# Events are told by the thousand: a look-up, no chain of questions.
_TO_PROTO: Mapping[type[Document], Callable[[Any], Any]] = {
    InspectedFrame: frame_to_proto,
    DeploymentReport: deployment_to_proto,
    ModelsChanged: lambda payload: pb.ModelsChanged(models=[model_to_proto(model) for model in payload.models]),
    CaptureStatus: captures_to_proto,
    Counts: counts_to_proto,
    AgentStatus: agent_to_proto,
    CameraStatus: camera_to_proto,
    Shift: shift_to_proto,
    GoldenCheck: golden_to_proto,
}
_FROM_PROTO: Mapping[str, Callable[[Any], Payload]] = {
    "frame": frame_from_proto,
    "deployment": deployment_from_proto,
    "models": lambda message: ModelsChanged(models=tuple(model_from_proto(model) for model in message.models)),
    "captures": captures_from_proto,
    "counts": counts_from_proto,
    "agent": agent_from_proto,
    "camera": camera_from_proto,
    "shift": shift_from_proto,
    "golden": golden_from_proto,
}


def event_to_proto(event: Event) -> pb.Event:
    """Return the message."""
    fields: dict[str, Any] = {event.kind: _TO_PROTO[type(event.payload)](event.payload)}
    return pb.Event(id=event.id, at=event.at, **fields)


def event_from_proto(message: pb.Event) -> Event:
    """Return the event.

    Raises:
        InferenceError: INTERNAL when it is of a kind that this version does not know.
    """
    kind = message.WhichOneof("event")
    if kind is None:
        raise InferenceError(Code.INTERNAL, f"event {message.id}: expected a kind that this version knows")
    return Event(message.id, message.at, _FROM_PROTO[kind](getattr(message, kind)))
