# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""The operator's calls about the line: recent frames, shifts, golden parts, the log."""

import grpc

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.deadlines import answer_within_s
from edge_agent.rpc.edge_agent_v1.requests import check_text, limited
from edge_agent.rpc.ports import Line
from edge_agent.wire import line
from edge_agent.wire.inspection import frame_to_proto

_GOLDEN_S = 120.0
# A shift brings its distributions, some ten kilobytes of them.
_SHIFTS_DEFAULT = 10
_SHIFTS_LIMIT = 200
_LEVELS = ("", "DEBUG", "INFO", "WARNING", "ERROR")


class LineCalls:
    """Calls of ``OperatorService``, which brings the line."""

    _line: Line

    def ListFrames(self, request: pb.ListFramesRequest, context: grpc.ServicerContext) -> pb.ListFramesResponse:
        """Return recent frames, newest first."""
        found = self._line.frames(limited(request.limit))
        return pb.ListFramesResponse(frames=[frame_to_proto(frame) for frame in found])

    def ListShifts(self, request: pb.ListShiftsRequest, context: grpc.ServicerContext) -> pb.ListShiftsResponse:
        """Return shifts, the running one first."""
        found = self._line.shifts(min(request.limit or _SHIFTS_DEFAULT, _SHIFTS_LIMIT))
        return pb.ListShiftsResponse(shifts=[line.shift_to_proto(shift) for shift in found])

    def ResetCounts(self, request: pb.ResetCountsRequest, context: grpc.ServicerContext) -> pb.ResetCountsResponse:
        """Begin the running shift's counts anew."""
        check_text("reason", request.reason)
        check_text("actor", request.actor)
        shift = self._line.reset_counts(request.reason.strip(), request.actor.strip())
        return pb.ResetCountsResponse(shift=line.shift_to_proto(shift))

    def CheckGoldenParts(
        self, request: pb.CheckGoldenPartsRequest, context: grpc.ServicerContext
    ) -> pb.CheckGoldenPartsResponse:
        """Inspect the golden parts."""
        check_text("actor", request.actor)
        timeout_s = answer_within_s(context, _GOLDEN_S)
        golden = self._line.check_golden_parts(request.actor.strip(), timeout_s=timeout_s)
        return pb.CheckGoldenPartsResponse(golden=line.golden_to_proto(golden))

    def ListLogs(self, request: pb.ListLogsRequest, context: grpc.ServicerContext) -> pb.ListLogsResponse:
        """Return the newest lines of the log, newest last."""
        if request.level not in _LEVELS:
            expected = "DEBUG, INFO, WARNING, ERROR or nothing"
            message = f"level: expected {expected}, came {request.level[:80]!r}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        found = self._line.logs(limited(request.limit), request.level)
        return pb.ListLogsResponse(lines=[line.log_to_proto(each) for each in found])
