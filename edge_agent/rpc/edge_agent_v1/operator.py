# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""What an operator sees and does; on the control socket only."""

import threading
from collections.abc import Iterator

import grpc

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import DeployedModel, Document, ModelName, ModelVersion, Version, parse
from edge_agent.rpc.deadlines import timeout_s
from edge_agent.rpc.edge_agent_v1.operator_captures import CaptureCalls
from edge_agent.rpc.edge_agent_v1.operator_line import LineCalls
from edge_agent.rpc.edge_agent_v1.operator_similar import SimilarCalls
from edge_agent.rpc.edge_agent_v1.requests import check_text, limited
from edge_agent.rpc.ports import EventFeed, Inspector, Layer, Line, Memories, Operator
from edge_agent.rpc.service import Service, service
from edge_agent.wire import reports
from edge_agent.wire.events import event_to_proto
from edge_agent.wire.maps import map_to_proto

STREAMS = 16
_ROLL_BACK_S = 60.0
_SHORT_S = 60.0
_LAYERS: dict[int, Layer] = {pb.GetFrameRequest.PICTURE: "picture", pb.GetFrameRequest.OVERLAY: "overlay"}


class _Wanted(Document):
    name: ModelName
    version: Version


class OperatorService(CaptureCalls, LineCalls, SimilarCalls, services.OperatorServicer):
    """Serves ``edge_agent.v1.Operator``.

    Args:
        operator: the verbs.
        inspector: recent frames.
        events: the news.
        line: what is kept of it.
        memories: the memories of models; None: parts are not compared here.
        streams: event streams at a time; each holds a thread of this server.
    """

    _operator: Operator

    def __init__(
        self,
        operator: Operator,
        inspector: Inspector,
        events: EventFeed,
        line: Line,
        memories: Memories | None = None,
        *,
        streams: int = STREAMS,
    ) -> None:
        self._operator = operator
        self._inspector = inspector
        self._events = events
        self._line = line
        self._memories = memories
        self._streams = threading.BoundedSemaphore(streams)

    def as_service(self) -> Service:
        """Return it as a server takes it."""
        return service(pb, "Operator", services.add_OperatorServicer_to_server, self)

    def GetStatus(self, request: pb.GetStatusRequest, context: grpc.ServicerContext) -> pb.GetStatusResponse:
        """Return everything at one glance."""
        return reports.status_to_proto(self._operator.status())

    def WatchEvents(self, request: pb.WatchEventsRequest, context: grpc.ServicerContext) -> Iterator[pb.Event]:
        """Yield events until the caller goes away."""
        if not self._streams.acquire(blocking=False):
            raise InferenceError(Code.RESOURCE_EXHAUSTED, "too many event streams are open")
        try:
            subscription = self._events.subscribe(request.after)
            if context.add_callback(subscription.close):
                # Whoever waits for this knows that it misses nothing from now on.
                context.send_initial_metadata(())
                yield from map(event_to_proto, subscription)
        finally:
            self._streams.release()

    def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.ListDeploymentsResponse:
        """Return deployments, newest first."""
        found = self._operator.deployments(request.id, limited(request.limit))
        return pb.ListDeploymentsResponse(deployments=[reports.deployment_to_proto(report) for report in found])

    def RollBack(self, request: pb.RollBackRequest, context: grpc.ServicerContext) -> pb.RollBackResponse:
        """Take one model back."""
        _check_texts(request)
        limit_s = timeout_s(context, _ROLL_BACK_S)
        report = self._operator.roll_back(
            request.model, request.reason.strip(), request.actor.strip(), timeout_s=limit_s
        )
        return pb.RollBackResponse(deployment=reports.deployment_to_proto(report))

    def Remove(self, request: pb.RemoveRequest, context: grpc.ServicerContext) -> pb.RemoveResponse:
        """Take one model off the device."""
        _check_texts(request)
        report = self._operator.remove(
            request.model, request.reason.strip(), request.actor.strip(), timeout_s=timeout_s(context, _SHORT_S)
        )
        return pb.RemoveResponse(deployment=reports.deployment_to_proto(report))

    def Configure(self, request: pb.ConfigureRequest, context: grpc.ServicerContext) -> pb.ConfigureResponse:
        """Set one model's threshold, or return to the signed one."""
        _check_texts(request)
        chosen = request.WhichOneof("setting")
        if chosen is None or (chosen == "as_signed" and not request.as_signed):
            raise InferenceError(Code.INVALID_ARGUMENT, "setting: expected threshold or as_signed = true, came neither")
        report = self._operator.configure(
            request.model,
            request.threshold if chosen == "threshold" else None,
            request.reason.strip(),
            request.actor.strip(),
            timeout_s=timeout_s(context, _SHORT_S),
        )
        return pb.ConfigureResponse(deployment=reports.deployment_to_proto(report))

    def Install(self, request: pb.InstallRequest, context: grpc.ServicerContext) -> pb.InstallResponse:
        """Order versions from the repository."""
        wanted = [_wanted(reports.deployed_from_proto(model)) for model in request.models]
        names = {model.name for model in wanted}
        if not wanted or len(names) != len(wanted):
            message = f"models: expected one or more, each once, came {len(wanted)} of {len(names)} names"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        return pb.InstallResponse(deployment_id=self._operator.install(wanted))

    def GetFrame(self, request: pb.GetFrameRequest, context: grpc.ServicerContext) -> pb.GetFrameResponse:
        """Return a recent frame's picture or overlay, or what the overlay is drawn from."""
        is_map = request.layer == pb.GetFrameRequest.MAP
        layer = "overlay" if is_map else _LAYERS.get(request.layer)
        if layer is None:
            message = f"layer: expected PICTURE, OVERLAY or MAP, came {request.layer}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        if layer == "overlay" and not request.application:
            raise InferenceError(
                Code.INVALID_ARGUMENT, "application: expected the one whose overlay is meant, came none"
            )
        if is_map:
            anomalies = self._inspector.frame_map(request.id, request.application)
            return pb.GetFrameResponse(map=map_to_proto(anomalies))
        content, content_type = self._inspector.frame(request.id, layer, request.application)
        return pb.GetFrameResponse(content=content, content_type=content_type)


def _check_texts(request: pb.RollBackRequest | pb.RemoveRequest | pb.ConfigureRequest) -> None:
    for field in ("model", "reason", "actor"):
        check_text(field, getattr(request, field))


def _wanted(model: DeployedModel) -> ModelVersion:
    wanted = parse(_Wanted, {"name": model.name, "version": model.to or ""}, what="models")
    return ModelVersion(wanted.name, wanted.version)
