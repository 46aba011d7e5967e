"""The operator's calls about captures."""

from typing import Literal

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.client.calls import Calls, FrameContent
from edge_agent.formats import CaptureReport, CaptureStatus
from edge_agent.wire import reports

CapturePart = Literal["picture", "thumbnail", "mask"]
_PARTS: dict[str, pb.GetCaptureRequest.Part] = {
    "picture": pb.GetCaptureRequest.PICTURE,
    "thumbnail": pb.GetCaptureRequest.THUMBNAIL,
    "mask": pb.GetCaptureRequest.MASK,
}


class CaptureCalls(Calls):
    """What a person does with captures."""

    def captures(
        self, *, limit: int = 0, before: float = 0.0, verdict: str = "", state: str = "", timeout_s: float = 5.0
    ) -> list[CaptureReport]:
        """Return captured inspections, newest first.

        Args:
            limit: how many at most; 0: the agent's own limit.
            before: only older ones, epoch seconds; 0: all.
            verdict: OK, NG or NO_RESULT; empty: all.
            state: PENDING, UPLOADED or FAILED; empty: all.
            timeout_s: the deadline.
        """
        request = pb.ListCapturesRequest(limit=limit, before=before, verdict=verdict, state=state)
        answer = self._call("control", self._operator.ListCaptures, request, timeout_s)
        return [reports.capture_from_proto(message) for message in answer.captures]

    def capture_content(self, capture_id: str, part: CapturePart, *, timeout_s: float = 5.0) -> FrameContent:
        """Return a capture's picture, a small one of it, or its mask.

        Raises:
            InferenceError: NOT_FOUND: no such capture, or this device no longer has that part of it.
        """
        request = pb.GetCaptureRequest(id=capture_id, part=_PARTS[part])
        answer = self._call("control", self._operator.GetCapture, request, timeout_s)
        return FrameContent(answer.content, answer.content_type)

    def label_capture(
        self,
        capture_id: str,
        label: str,
        *,
        actor: str,
        other: bool = False,
        role: str = "",
        user: str = "",
        instead_of: str | None = None,
        timeout_s: float = 5.0,
    ) -> CaptureReport:
        """Say what a captured part is: OK, NG or a class; empty takes the label back.

        Args:
            capture_id: the capture's.
            label: what it is.
            actor: who says so, in full: for the audit log.
            role: viewer, operator or admin; empty: not known.
            user: who logged in; empty: nobody had to.
            other: also a class that the model does not know yet.
            instead_of: the label that has to stand, empty: none; None: whatever stands.
            timeout_s: the deadline.

        Raises:
            InferenceError: NOT_FOUND; INVALID_ARGUMENT: no such label; FAILED_PRECONDITION: another stands.
        """
        request = pb.LabelCaptureRequest(
            id=capture_id, label=label, actor=actor, other=other, role=role, user=user, instead_of=instead_of
        )
        answer = self._call("control", self._operator.LabelCapture, request, timeout_s)
        return reports.capture_from_proto(answer.capture)

    def pause_captures(
        self, *, capture: bool | None = None, upload: bool | None = None, actor: str, timeout_s: float = 5.0
    ) -> CaptureStatus:
        """Pause capture or upload, or let them go on; None leaves it as it is."""
        request = pb.PauseCapturesRequest(actor=actor)
        if capture is not None:
            request.capture = capture
        if upload is not None:
            request.upload = upload
        answer = self._call("control", self._operator.PauseCaptures, request, timeout_s)
        return reports.captures_from_proto(answer.captures)
