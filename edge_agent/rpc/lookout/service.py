# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""Lookout for Vision's edge agent, for clients that cannot be changed any more."""

import threading
from typing import Any

import grpc

from edge_agent._proto.lookoutvision import edge_agent_pb2 as pb
from edge_agent._proto.lookoutvision import edge_agent_pb2_grpc as services
from edge_agent.formats import AnomalyMap, ModelResult
from edge_agent.rpc.aliases import AliasNotes
from edge_agent.rpc.deadlines import timeout_s
from edge_agent.rpc.lookout.answers import answer_of, defective_pixels
from edge_agent.rpc.lookout.components import Component, Components
from edge_agent.rpc.lookout.pictures import is_sent, mask_bitmap, mask_target, picture_of
from edge_agent.rpc.ports import Inspector
from edge_agent.rpc.service import Service, service
from edge_agent.rpc.shared_memory import PosixTarget

_DEFAULT_S = 10.0
_SOURCE = "lookout"
# A mask of the largest picture takes some 150 MB while it is drawn.
_DRAWN_AT_A_TIME = 2


class LookoutService(services.EdgeAgentServicer):
    """Serves ``AWS.LookoutVision.EdgeAgent``.

    Args:
        components: names and their states.
        inspector: inspects, counts, keeps and tells.
    """

    def __init__(self, components: Components, inspector: Inspector) -> None:
        self._components = components
        self._inspector = inspector
        self._aliases = AliasNotes()
        self._drawing = threading.BoundedSemaphore(_DRAWN_AT_A_TIME)

    def as_service(self) -> Service:
        """Return it as a server takes it."""
        return service(pb, "EdgeAgent", services.add_EdgeAgentServicer_to_server, self)

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        """Return applications and models, and how they fare."""
        found = filter(None, map(self._components.find, self._components.names()))
        return pb.ListModelsResponse(models=[pb.ModelMetadata(**self._described(component)) for component in found])

    def DescribeModel(
        self, request: pb.DescribeModelRequest, context: grpc.ServicerContext
    ) -> pb.DescribeModelResponse:
        """Return how one of them fares."""
        component = self._components.named(request.model_component)
        return pb.DescribeModelResponse(model_description=pb.ModelDescription(**self._described(component)))

    def StartModel(self, request: pb.StartModelRequest, context: grpc.ServicerContext) -> pb.StartModelResponse:
        """Let a stopped component answer again."""
        self._components.start(self._components.named(request.model_component))
        return pb.StartModelResponse(status=pb.STARTING)

    def StopModel(self, request: pb.StopModelRequest, context: grpc.ServicerContext) -> pb.StopModelResponse:
        """Let a component answer no more, for clients of this protocol that use this name."""
        component = self._components.named(request.model_component)
        self._components.stop(component, timeout_s(context, _DEFAULT_S))
        return pb.StopModelResponse(status=pb.STOPPED)

    def DetectAnomalies(
        self, request: pb.DetectAnomaliesRequest, context: grpc.ServicerContext
    ) -> pb.DetectAnomaliesResponse:
        """Inspect one picture by one model."""
        component = self._components.named(request.model_component)
        with self._components.asked(component), mask_target(request) as target:
            picture = picture_of(request.bitmap)
            frame, anomalies = self._inspector.inspect_model(
                component.model,
                picture,
                application=component.application,
                source=_SOURCE,
                timeout_s=timeout_s(context, _DEFAULT_S),
            )
            (result,) = frame.results
            self._aliases.note(component.name, result.model, result.version)
            with self._drawing:
                return _answer(result, anomalies, target)

    def _described(self, component: Component) -> dict[str, Any]:
        status, message = self._components.status(component)
        return {
            "model_component": component.name,
            "lookout_vision_model_arn": component.arn,
            "status": status,
            "status_message": message,
        }


def _answer(
    result: ModelResult, anomalies: AnomalyMap | None, target: PosixTarget | None
) -> pb.DetectAnomaliesResponse:
    if anomalies is None:
        return answer_of(result, 0.0, None)
    defective = defective_pixels(anomalies)
    sent = is_sent(anomalies.width, anomalies.height, target)
    mask = mask_bitmap(defective, target) if sent else None
    return answer_of(result, float(defective.mean()), mask)
