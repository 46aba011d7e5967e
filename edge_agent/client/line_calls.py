"""Calls about the line: cameras, shifts, golden parts, recent frames, the log."""

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.client.calls import Calls
from edge_agent.formats import CameraStatus, GoldenCheck, InspectedFrame, LogLine, Shift
from edge_agent.wire import line
from edge_agent.wire.inspection import frame_from_proto


class LineCalls(Calls):
    """What a station tells and a person asks of the line."""

    def report_camera(self, camera: CameraStatus, *, timeout_s: float = 2.0) -> None:
        """Tell the agent how a camera does; it believes that for ten seconds."""
        request = pb.ReportCameraRequest(camera=line.camera_to_proto(camera))
        self._call("data", self._inspection.ReportCamera, request, timeout_s)

    def frames(self, *, limit: int = 0, timeout_s: float = 5.0) -> list[InspectedFrame]:
        """Return the recent frames that are still in memory, newest first."""
        answer = self._call("control", self._operator.ListFrames, pb.ListFramesRequest(limit=limit), timeout_s)
        return [frame_from_proto(message) for message in answer.frames]

    def shifts(self, *, limit: int = 0, timeout_s: float = 5.0) -> list[Shift]:
        """Return shifts with their distributions, the running one first."""
        answer = self._call("control", self._operator.ListShifts, pb.ListShiftsRequest(limit=limit), timeout_s)
        return [line.shift_from_proto(message) for message in answer.shifts]

    def reset_counts(self, reason: str, *, actor: str, timeout_s: float = 5.0) -> Shift:
        """Begin the running shift's counts anew; who and why is kept in the audit log."""
        request = pb.ResetCountsRequest(reason=reason, actor=actor)
        return line.shift_from_proto(self._call("control", self._operator.ResetCounts, request, timeout_s).shift)

    def check_golden_parts(self, *, actor: str, timeout_s: float = 120.0) -> GoldenCheck:
        """Inspect the golden parts; return what came of it.

        Raises:
            InferenceError: FAILED_PRECONDITION: there are none.
        """
        request = pb.CheckGoldenPartsRequest(actor=actor)
        answer = self._call("control", self._operator.CheckGoldenParts, request, timeout_s)
        return line.golden_from_proto(answer.golden)

    def logs(self, *, limit: int = 0, level: str = "", timeout_s: float = 5.0) -> list[LogLine]:
        """Return the newest lines of the agent's log, newest last."""
        request = pb.ListLogsRequest(limit=limit, level=level)
        answer = self._call("control", self._operator.ListLogs, request, timeout_s)
        return [line.log_from_proto(message) for message in answer.lines]
