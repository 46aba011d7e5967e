# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""Inspect, for PLC software and the station; and what a station tells of its cameras."""

import grpc

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Picture
from edge_agent.rpc.deadlines import answer_within_s
from edge_agent.rpc.ports import Cameras, Inspector
from edge_agent.rpc.service import Service, service
from edge_agent.rpc.shared_memory import LIMIT_BYTES, read_posix
from edge_agent.wire.inspection import InspectOrder, SharedPicture, answer_to_proto, order_from_proto, raw_picture
from edge_agent.wire.line import camera_from_proto

_DEFAULT_S = 10.0


class InspectionService(services.InspectionServicer):
    """Serves ``edge_agent.v1.Inspection``."""

    def __init__(self, inspector: Inspector, cameras: Cameras | None = None) -> None:
        self._inspector = inspector
        self._cameras = cameras

    def as_service(self) -> Service:
        """Return it as a server takes it."""
        return service(pb, "Inspection", services.add_InspectionServicer_to_server, self)

    def Inspect(self, request: pb.InspectRequest, context: grpc.ServicerContext) -> pb.InspectResponse:
        """Inspect one picture."""
        order = order_from_proto(request)
        frame = self._inspector.inspect(
            _picture(order),
            applications=order.applications,
            source=order.source,
            frame_name=order.frame_name,
            with_mask=order.with_mask,
            with_heat_map=order.with_heat_map,
            frame_priority=order.frame_priority,
            trial=order.trial,
            timeout_s=answer_within_s(context, _DEFAULT_S),
        )
        return answer_to_proto(frame)

    def ReportCamera(self, request: pb.ReportCameraRequest, context: grpc.ServicerContext) -> pb.ReportCameraResponse:
        """Hear how a station's camera does."""
        if self._cameras is None:
            raise InferenceError(
                Code.FAILED_PRECONDITION, "expected an agent that looks after cameras, this one does not"
            )
        self._cameras.report(camera_from_proto(request.camera))
        return pb.ReportCameraResponse()


def _picture(order: InspectOrder) -> Picture:
    picture = order.picture
    if not isinstance(picture, SharedPicture):
        return picture
    size = min(picture.width * picture.height * 3, LIMIT_BYTES + 1)
    return raw_picture(read_posix(picture.name, picture.offset, size), picture.width, picture.height)
