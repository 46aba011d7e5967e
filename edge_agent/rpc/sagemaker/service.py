# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""SageMaker Edge Manager's agent, for clients that cannot be changed any more."""

import re
import time
from collections.abc import Callable

import grpc

from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from edge_agent._proto.sagemaker_edge import agent_pb2_grpc as services
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import TensorCapture
from edge_agent.rpc.aliases import AliasNotes
from edge_agent.rpc.deadlines import timeout_s
from edge_agent.rpc.ports import DataPlane, TensorCaptures
from edge_agent.rpc.sagemaker.models import ClientModels, check_name
from edge_agent.rpc.sagemaker.tensors import Room, auxiliary, captured, check_count, described, inputs
from edge_agent.rpc.service import Service, service
from edge_agent.wire.tensors import tensors_to_proto

_DEFAULT_S = 10.0
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Clocks of two processes on one machine agree; a rounded second is not the future yet.
_CLOCK_TOLERANCE_S = 1.0
_NANOS = 1_000_000_000
_STATES = {"IN_PROGRESS": pb.IN_PROGRESS, "SUCCESS": pb.SUCCESS, "FAILURE": pb.FAILURE, None: pb.NOT_FOUND}


class SageMakerService(services.AgentServicer):
    """Serves ``AWS.SageMaker.Edge.Agent``.

    Args:
        models: names and what they stand for.
        data_plane: answers tensors.
        captures: takes captures.
        now: epoch seconds.
    """

    def __init__(
        self,
        models: ClientModels,
        data_plane: DataPlane,
        captures: TensorCaptures,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._models = models
        self._data_plane = data_plane
        self._captures = captures
        self._now = now
        self._aliases = AliasNotes()

    def as_service(self) -> Service:
        """Return it as a server takes it."""
        return service(pb, "Agent", services.add_AgentServicer_to_server, self)

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        """Answer tensors with tensors."""
        ends = time.monotonic() + timeout_s(context, _DEFAULT_S)
        named = self._models.awaited(request.name, ends - time.monotonic())
        tensors = inputs(request.tensors, named.manifest)
        model, outputs = self._data_plane.infer(named.model, tensors, timeout_s=ends - time.monotonic())
        self._aliases.note(named.name, *model)
        return pb.PredictResponse(tensors=tensors_to_proto(outputs))

    def LoadModel(self, request: pb.LoadModelRequest, context: grpc.ServicerContext) -> pb.LoadModelResponse:
        """Answer under another name from now on."""
        named = self._models.load(request.url, request.name, timeout_s(context, _DEFAULT_S))
        return pb.LoadModelResponse(model=described(named))

    def UnLoadModel(self, request: pb.UnLoadModelRequest, context: grpc.ServicerContext) -> pb.UnLoadModelResponse:
        """Forget a client's name for a model."""
        self._models.unload(request.name)
        return pb.UnLoadModelResponse()

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        """Return what is loaded."""
        return pb.ListModelsResponse(models=[described(named) for named in self._models.all()])

    def DescribeModel(
        self, request: pb.DescribeModelRequest, context: grpc.ServicerContext
    ) -> pb.DescribeModelResponse:
        """Return one model's inputs and outputs."""
        named = self._models.awaited(request.name, timeout_s(context, _DEFAULT_S))
        return pb.DescribeModelResponse(model=described(named))

    def CaptureData(self, request: pb.CaptureDataRequest, context: grpc.ServicerContext) -> pb.CaptureDataResponse:
        """Take tensors to be captured; they are stored later."""
        self._captures.capture_tensors(self._capture(request))
        return pb.CaptureDataResponse()

    def GetCaptureDataStatus(
        self, request: pb.GetCaptureDataStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetCaptureDataStatusResponse:
        """Tell how a capture fares; an unknown id is an answer, not an error."""
        known = _UUID.fullmatch(request.capture_id)
        state = self._captures.capture_state(request.capture_id.lower()) if known else None
        return pb.GetCaptureDataStatusResponse(status=_STATES[state])

    def _capture(self, request: pb.CaptureDataRequest) -> TensorCapture:
        if not _UUID.fullmatch(request.capture_id):
            raise InferenceError(
                Code.INVALID_ARGUMENT, f"capture_id: expected a UUID, came {request.capture_id[:80]!r}"
            )
        check_name("model_name", request.model_name)
        check_count(request)
        at = self._inference_time(request)
        room = Room()
        return TensorCapture(
            capture_id=request.capture_id.lower(),
            model=request.model_name,
            version=self._version(request.model_name),
            at=at,
            inputs=tuple(captured(tensor, room) for tensor in request.input_tensors),
            outputs=tuple(captured(tensor, room) for tensor in request.output_tensors),
            auxiliary_inputs=tuple(auxiliary(data, room) for data in request.inputs),
            auxiliary_outputs=tuple(auxiliary(data, room) for data in request.outputs),
        )

    def _inference_time(self, request: pb.CaptureDataRequest) -> float:
        now = self._now()
        if not request.HasField("inference_timestamp"):
            return now
        stamp = request.inference_timestamp
        if stamp.seconds < 0 or not 0 <= stamp.nanos < _NANOS:
            message = f"inference_timestamp: expected seconds and nanos since 1970, came {stamp.seconds}, {stamp.nanos}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        at = stamp.seconds + stamp.nanos / _NANOS
        if at > now + _CLOCK_TOLERANCE_S:
            message = f"inference_timestamp: expected the past, came {at - now:.0f} s of the future"
            raise InferenceError(Code.OUT_OF_RANGE, message)
        return at or now

    def _version(self, name: str) -> str:
        named = self._models.find(name)
        return named.manifest.version if named else ""
