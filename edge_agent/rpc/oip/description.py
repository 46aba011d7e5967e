# ruff: noqa: ARG002, N802 - gRPC names the methods and brings the arguments
"""The calls that only tell something; both servers answer them."""

from collections.abc import Callable
from typing import NamedTuple

import grpc

from edge_agent import __version__
from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent._proto.inference import grpc_service_pb2_grpc as services
from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.oip.models import Models
from edge_agent.rpc.oip.ports import Counters, StoredVersions
from edge_agent.rpc.service import Service, service
from edge_agent.wire.oip.models import Execution, config_to_proto, metadata_to_proto, statistics_to_proto
from edge_agent.wire.oip.tensors import shown

# Of Triton's words for extensions those that are true here.
EXTENSIONS = (
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
    "system_shared_memory",
)


class Sources(NamedTuple):
    """Where the answers come from."""

    models: Models
    versions: StoredVersions
    counters: Counters
    is_ready: Callable[[], bool]
    """Tells whether requests are answered well."""
    lanes: int
    """Inferences of one model at a time."""


class DescriptionService(services.GRPCInferenceServiceServicer):
    """Tells of the server and of its models."""

    def __init__(self, sources: Sources) -> None:
        self._models, self._versions, self._counters, self._is_ready, self._lanes = sources

    def as_service(self) -> Service:
        """Return it as a server takes it."""
        return service(pb, "GRPCInferenceService", services.add_GRPCInferenceServiceServicer_to_server, self)

    def ServerLive(self, request: pb.ServerLiveRequest, context: grpc.ServicerContext) -> pb.ServerLiveResponse:
        """Tell that the process answers."""
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb.ServerReadyRequest, context: grpc.ServicerContext) -> pb.ServerReadyResponse:
        """Tell whether requests are answered well."""
        return pb.ServerReadyResponse(ready=self._is_ready())

    def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ServerMetadataResponse:
        """Return name, version and extensions."""
        return pb.ServerMetadataResponse(name="edge-agent", version=__version__, extensions=EXTENSIONS)

    def ModelReady(self, request: pb.ModelReadyRequest, context: grpc.ServicerContext) -> pb.ModelReadyResponse:
        """Tell whether one version answers."""
        return pb.ModelReadyResponse(ready=self._models.is_ready(request.name, request.version))

    def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """Return a version's inputs and outputs."""
        manifest = self._models.named(request.name, request.version).manifest
        versions = [manifest.version] if request.version else self._models.versions(manifest.model)
        return metadata_to_proto(manifest, versions)

    def ModelConfig(self, request: pb.ModelConfigRequest, context: grpc.ServicerContext) -> pb.ModelConfigResponse:
        """Return how a version is served."""
        loaded = self._models.named(request.name, request.version)
        return pb.ModelConfigResponse(config=config_to_proto(loaded.manifest, Execution(loaded.provider, self._lanes)))

    def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: grpc.ServicerContext
    ) -> pb.ModelStatisticsResponse:
        """Return what was counted of one version, of one model's or of all that are in memory."""
        if request.version and not request.name:
            message = f"name: expected the model of version {shown(request.version)}, came none"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        found = [loaded.manifest.model_version for loaded in self._models.all()]
        if request.name:
            one = self._models.named(request.name, request.version).manifest.model_version
            found = [one] if request.version else [model for model in found if model.name == one.name]
        return pb.ModelStatisticsResponse(
            model_stats=[statistics_to_proto(model, self._counters.of(model)) for model in found]
        )

    def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        """Return every version in memory or stored, or only those that answer."""
        check_repository(request.repository_name)
        states = dict.fromkeys(self._versions.installed(), ("UNAVAILABLE", "not loaded"))
        for loaded in self._models.all():
            ready = loaded.state == "READY"
            states[loaded.manifest.model_version] = ("READY", "") if ready else ("LOADING", "its worker is replaced")
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(name=name, version=version, state=state, reason=reason)
                for (name, version), (state, reason) in sorted(states.items())
                if state == "READY" or not request.ready
            ]
        )


def check_repository(name: str) -> None:
    """Refuse a repository by name: there is one, and it has none.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    if name:
        message = f"'repository_name' specification is not supported: expected none, came {shown(name)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
