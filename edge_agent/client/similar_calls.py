"""The operator's call about parts that look alike."""

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.client.calls import Calls
from edge_agent.formats import SimilarParts
from edge_agent.wire.similar import similar_from_proto


class SimilarCalls(Calls):
    """What a person asks of the memories of models."""

    def similar(self, identity: str, *, model: str = "", limit: int = 0, timeout_s: float = 10.0) -> SimilarParts:
        """Return what looks most like a part: parts that a model learnt from, and captured ones.

        Args:
            identity: of a recent frame, or of a capture.
            model: whose memory is asked; empty: the first one that has one.
            limit: how many at most; 0: ten.
            timeout_s: the deadline.

        Raises:
            InferenceError: NOT_FOUND: there is no such frame or capture, or no such model.
        """
        request = pb.SimilarPartsRequest(id=identity, model=model, limit=limit)
        return similar_from_proto(self._call("control", self._operator.SimilarParts, request, timeout_s))
