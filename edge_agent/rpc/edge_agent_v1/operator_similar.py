# ruff: noqa: N802 - gRPC names the methods and brings the arguments
"""The operator's call about parts that look alike."""

import grpc

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.deadlines import answer_within_s
from edge_agent.rpc.ports import Memories
from edge_agent.wire.similar import similar_to_proto

_DEFAULT = 10
_LIMIT = 100
_SHORT_S = 10.0


class SimilarCalls:
    """Calls of ``OperatorService``, which brings the memories of models."""

    _memories: Memories | None

    def SimilarParts(self, request: pb.SimilarPartsRequest, context: grpc.ServicerContext) -> pb.SimilarPartsResponse:
        """Return what looks most like a recent frame or a capture."""
        if self._memories is None:
            raise InferenceError(Code.FAILED_PRECONDITION, "expected an agent that compares parts, this one does not")
        if not request.id:
            raise InferenceError(Code.INVALID_ARGUMENT, "id: expected that of a recent frame or a capture, came none")
        limit = min(request.limit or _DEFAULT, _LIMIT)
        timeout_s = answer_within_s(context, _SHORT_S)
        return similar_to_proto(self._memories.similar(request.id, request.model, limit, timeout_s=timeout_s))
