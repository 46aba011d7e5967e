"""Events, one field of the message for each kind of payload."""

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import (
    CaptureStatus,
    Counts,
    DeploymentReport,
    Event,
    InspectedFrame,
    ModelsChanged,
    Payload,
)
from edge_agent.wire.inspection import counts_from_proto, counts_to_proto, frame_from_proto, frame_to_proto
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


def event_to_proto(event: Event) -> pb.Event:
    """Return the message."""
    message = pb.Event(id=event.id, at=event.at)
    payload = event.payload
    if isinstance(payload, InspectedFrame):
        message.frame.CopyFrom(frame_to_proto(payload))
    elif isinstance(payload, DeploymentReport):
        message.deployment.CopyFrom(deployment_to_proto(payload))
    elif isinstance(payload, ModelsChanged):
        message.models.CopyFrom(pb.ModelsChanged(models=[model_to_proto(model) for model in payload.models]))
    elif isinstance(payload, CaptureStatus):
        message.captures.CopyFrom(captures_to_proto(payload))
    elif isinstance(payload, Counts):
        message.counts.CopyFrom(counts_to_proto(payload))
    else:
        message.agent.CopyFrom(agent_to_proto(payload))
    return message


def event_from_proto(message: pb.Event) -> Event:
    """Return the event.

    Raises:
        InferenceError: INTERNAL when it is of a kind that this version does not know.
    """
    return Event(message.id, message.at, _payload(message))


def _payload(message: pb.Event) -> Payload:
    kind = message.WhichOneof("event")
    if kind == "frame":
        return frame_from_proto(message.frame)
    if kind == "deployment":
        return deployment_from_proto(message.deployment)
    if kind == "models":
        return ModelsChanged(models=tuple(model_from_proto(model) for model in message.models.models))
    if kind == "captures":
        return captures_from_proto(message.captures)
    if kind == "counts":
        return counts_from_proto(message.counts)
    if kind == "agent":
        return agent_from_proto(message.agent)
    raise InferenceError(Code.INTERNAL, f"event {message.id}: expected a kind that this version knows")
