# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""The Open Inference Protocol on the control socket: loading and unloading, and what only tells something."""

import json
from collections.abc import Iterator
from typing import Any

import grpc

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.oip.description import DescriptionService, check_repository
from edge_agent.wire.oip.tensors import shown

_UNLOAD_PARAMETERS = frozenset({"unload_dependents"})


class RepositoryService(DescriptionService):
    """Serves ``inference.GRPCInferenceService`` for operators."""

    def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryModelLoadResponse:
        """Let a stored version answer until it is unloaded or the agent ends."""
        check_repository(request.repository_name)
        self._versions.load(request.model_name, _version(request))
        return pb.RepositoryModelLoadResponse()

    def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryModelUnloadResponse:
        """Take back what RepositoryModelLoad did."""
        check_repository(request.repository_name)
        unknown = sorted(set(request.parameters) - _UNLOAD_PARAMETERS)
        if unknown:
            raise _bad(f"parameters: expected unload_dependents at most, came {shown(unknown[0])}")
        self._versions.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        """Refuse: inferences never hold the operator's threads."""
        raise _refused("ModelInfer")

    def ModelStreamInfer(
        self, requests: Iterator[pb.ModelInferRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ModelStreamInferResponse]:
        """Refuse: inferences never hold the operator's threads."""
        raise _refused("ModelStreamInfer")

    def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryStatusResponse:
        """Refuse: it belongs to inferences."""
        raise _refused("SystemSharedMemoryStatus")

    def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Refuse: it belongs to inferences."""
        raise _refused("SystemSharedMemoryRegister")

    def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Refuse: it belongs to inferences."""
        raise _refused("SystemSharedMemoryUnregister")


def _version(request: pb.RepositoryModelLoadRequest) -> str | None:
    """Return the version that a client names: plainly, or as Triton's override of the version policy."""
    # A map of protobuf's comes in any order: what is wrong is told first, and two names must agree.
    for name, parameter in sorted(request.parameters.items()):
        if name not in ("version", "config") or parameter.WhichOneof("parameter_choice") != "string_param":
            message = (
                f"parameter {shown(name)}: only versions that the device's store holds are loaded, "
                "expected version or config with a version_policy, as strings"
            )
            raise _bad(message)
    named = {name: parameter.string_param for name, parameter in request.parameters.items()}
    if "config" in named:
        named["config"] = _version_of_config(named["config"])
    if len(set(named.values())) > 1:
        raise _bad(f"expected one version, came {shown(named['version'])} and, in config, {shown(named['config'])}")
    return next(iter(named.values()), None)


def _version_of_config(text: str) -> str:
    try:
        document: Any = json.loads(text)
        (version,) = document.pop("version_policy")["specific"]["versions"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        message = 'parameter config: expected {"version_policy": {"specific": {"versions": [ONE]}}}'
        raise _bad(message) from exc
    if document:
        raise _bad(f"parameter config: {shown(min(document))} was signed with the version and is not overridden here")
    return str(version)


def _refused(call: str) -> InferenceError:
    return InferenceError(Code.PERMISSION_DENIED, f"{call} is answered on the data plane only, agent.sock or TCP")


def _bad(message: str) -> InferenceError:
    return InferenceError(Code.INVALID_ARGUMENT, message)
