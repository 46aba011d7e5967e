# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""The Open Inference Protocol on the data plane: everything but loading and unloading."""

import threading
import time
from collections.abc import Iterator

import grpc

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.deadlines import timeout_s
from edge_agent.rpc.oip.description import DescriptionService, Sources
from edge_agent.rpc.oip.ports import VersionedDataPlane
from edge_agent.rpc.oip.regions import Region, Regions
from edge_agent.rpc.oip.requests import Inferences
from edge_agent.rpc.service import Service
from edge_agent.wire.oip.requests import InferRequest, read_infer

_DEFAULT_S = 10.0
_STRICT_KEY = "triton_grpc_error"
_STREAM_DEFAULT_S = 86_400.0


class InferenceService(DescriptionService):
    """Serves ``inference.GRPCInferenceService`` for clients of the line.

    Args:
        sources: of what it tells.
        data_plane: answers tensors.
        streams: streams of requests at a time; each holds a thread of this server.
    """

    def __init__(self, sources: Sources, data_plane: VersionedDataPlane, *, streams: int) -> None:
        super().__init__(sources)
        self._regions = Regions()
        self._inferences = Inferences(sources.models, data_plane, self._regions)
        self._streams = threading.BoundedSemaphore(streams)

    def as_service(self) -> Service:
        """Return it as a server takes it; tensors are not copied as they come in."""
        return super().as_service().reading(dict.fromkeys(("ModelInfer", "ModelStreamInfer"), read_infer))

    def ModelInfer(self, request: InferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        """Answer tensors with tensors."""
        return self._inferences.answer(request, timeout_s(context, _DEFAULT_S))

    def ModelStreamInfer(
        self, requests: Iterator[InferRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ModelStreamInferResponse]:
        """Answer requests in their order; one that fails is told, and the stream goes on."""
        if not self._streams.acquire(blocking=False):
            raise InferenceError(Code.RESOURCE_EXHAUSTED, "too many streams of requests are open")
        try:
            strict = any(pair == (_STRICT_KEY, "true") for pair in context.invocation_metadata())
            ends = time.monotonic() + timeout_s(context, _STREAM_DEFAULT_S)
            for request in requests:
                yield self._answer(request, min(_DEFAULT_S, ends - time.monotonic()), strict=strict)
        finally:
            self._streams.release()

    def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryStatusResponse:
        """Return one region, or all."""
        kind = pb.SystemSharedMemoryStatusResponse.RegionStatus
        found = self._regions.known(request.name)
        return pb.SystemSharedMemoryStatusResponse(regions={r.name: kind(**r._asdict()) for r in found})

    def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Know a part of a POSIX segment by a name from now on."""
        self._regions.register(Region(request.name, request.key, request.offset, request.byte_size))
        return pb.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forget one region, or all."""
        self._regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryModelLoadResponse:
        """Refuse: what answers is the operator's business."""
        raise _refused("RepositoryModelLoad")

    def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryModelUnloadResponse:
        """Refuse: what answers is the operator's business."""
        raise _refused("RepositoryModelUnload")

    def _answer(self, request: InferRequest, limit_s: float, *, strict: bool) -> pb.ModelStreamInferResponse:
        try:
            response = self._inferences.answer(request, limit_s)
        except InferenceError as exc:
            if strict:
                raise
            failed = pb.ModelInferResponse(id=request.around.id)
            return pb.ModelStreamInferResponse(error_message=exc.message or exc.code.value, infer_response=failed)
        # Clients of streams count answers by it: a request has exactly one here.
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response)


def _refused(call: str) -> InferenceError:
    return InferenceError(Code.PERMISSION_DENIED, f"{call} is answered on the control socket only")
