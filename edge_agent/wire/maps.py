"""Anomaly maps: what overlays are drawn from."""

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import AnomalyMap

_FLOAT = 4


def map_to_proto(anomalies: AnomalyMap) -> pb.AnomalyMap:
    """Return the message."""
    return pb.AnomalyMap(**anomalies._asdict())


def map_from_proto(message: pb.AnomalyMap) -> AnomalyMap:
    """Return the map.

    Raises:
        InferenceError: INTERNAL: its numbers do not fit together.
    """
    sides = (message.rows, message.columns, message.width, message.height)
    if not all(sides) or len(message.logits) != message.rows * message.columns * _FLOAT:
        came = f"{len(message.logits)} bytes for {message.rows} x {message.columns}"
        raise InferenceError(Code.INTERNAL, f"expected float32 for each place of the map, came {came}")
    return AnomalyMap(
        message.logits, message.rows, message.columns, message.pixel_threshold, message.width, message.height
    )
