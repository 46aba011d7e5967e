# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""The operator's calls about captures."""

import math

import grpc

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Verdict
from edge_agent.rpc.edge_agent_v1.requests import check_text, limited
from edge_agent.rpc.ports import CapturePart, CaptureVerbs
from edge_agent.wire import reports

_VERDICTS = ("", *Verdict.__members__)
ROLES = ("", "viewer", "operator", "admin")
_USER_LIMIT = 64
_STATES = ("", "PENDING", "UPLOADED", "FAILED")
_PARTS: dict[int, CapturePart] = {
    pb.GetCaptureRequest.PICTURE: "picture",
    pb.GetCaptureRequest.THUMBNAIL: "thumbnail",
    pb.GetCaptureRequest.MASK: "mask",
}


class CaptureCalls(services.OperatorServicer):
    """Serves the calls of ``edge_agent.v1.Operator`` that are about captures."""

    _operator: CaptureVerbs

    def ListCaptures(self, request: pb.ListCapturesRequest, context: grpc.ServicerContext) -> pb.ListCapturesResponse:
        """Return captured inspections, newest first."""
        _check_word("verdict", request.verdict, _VERDICTS)
        _check_word("state", request.state, _STATES)
        if not (math.isfinite(request.before) and request.before >= 0):
            raise InferenceError(Code.INVALID_ARGUMENT, f"before: expected epoch seconds, came {request.before}")
        found = self._operator.captures(
            limited(request.limit), before=request.before, verdict=request.verdict, state=request.state
        )
        return pb.ListCapturesResponse(captures=[reports.capture_to_proto(report) for report in found])

    def GetCapture(self, request: pb.GetCaptureRequest, context: grpc.ServicerContext) -> pb.GetCaptureResponse:
        """Return a capture's picture, a small one of it, or its mask."""
        part = _PARTS.get(request.part)
        if part is None:
            message = f"part: expected PICTURE, THUMBNAIL or MASK, came {request.part}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        content, content_type = self._operator.capture_content(request.id, part)
        return pb.GetCaptureResponse(content=content, content_type=content_type)

    def LabelCapture(self, request: pb.LabelCaptureRequest, context: grpc.ServicerContext) -> pb.LabelCaptureResponse:
        """Keep what a person says that the part is."""
        check_text("actor", request.actor)
        said, by = " ".join(request.label.split()), request.actor.strip()
        if request.role not in ROLES or len(request.user) > _USER_LIMIT:
            expected = f"one of {', '.join(ROLES[1:])} or none, and a user of at most {_USER_LIMIT} characters"
            raise InferenceError(Code.INVALID_ARGUMENT, f"role: expected {expected}")
        report = self._operator.label_capture(
            request.id,
            said,
            by,
            other=request.other,
            role=request.role,
            user=request.user,
            instead_of=request.instead_of if request.HasField("instead_of") else None,
        )
        return pb.LabelCaptureResponse(capture=reports.capture_to_proto(report))

    def PauseCaptures(
        self, request: pb.PauseCapturesRequest, context: grpc.ServicerContext
    ) -> pb.PauseCapturesResponse:
        """Pause capture and upload, or let them go on."""
        asked = {name: getattr(request, name) for name in ("capture", "upload") if request.HasField(name)}
        if not asked:
            raise InferenceError(Code.INVALID_ARGUMENT, "expected capture or upload, came neither")
        check_text("actor", request.actor)
        status = self._operator.pause_captures(asked.get("capture"), asked.get("upload"), request.actor.strip())
        return pb.PauseCapturesResponse(captures=reports.captures_to_proto(status))


def _check_word(field: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        expected = ", ".join(known[1:])
        raise InferenceError(Code.INVALID_ARGUMENT, f"{field}: expected one of {expected} or nothing, came {word!r}")
