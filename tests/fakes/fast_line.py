"""Real models behind both ways to the agent, so that their answers can be compared: gRPC, and the fast path."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from edge_agent._proto.sagemaker_edge import agent_pb2_grpc as services
from edge_agent.config import Inference, Rpc
from edge_agent.inference import DataPlane, Registry, Session, open_session
from edge_agent.inspection import Combination, Inspector, LineRule, RecentFrames, ResultCounter
from edge_agent.rpc.edge_agent_v1.inspection import InspectionService
from edge_agent.rpc.fast.server import FastServer, fast_server
from edge_agent.rpc.fast.service import FastService
from edge_agent.rpc.sagemaker.models import ClientModels, LoadRules
from edge_agent.rpc.sagemaker.service import SageMakerService
from edge_agent.rpc.server import data_server
from tests.fakes.tiny_models import write_version

PATIENCE_S = 60.0
_MODELS = {"bright": ("classification", 0.0), "spots": ("anomaly", -9.0)}


class _NoCaptures:
    def capture_tensors(self, capture: object) -> None:
        raise AssertionError("nobody captures here")

    def capture_state(self, capture_id: str) -> None:
        return None


class FastLine:
    """A classifier ``bright`` and ``spots``, which draws; every part of it in the test's hands.

    Args:
        directory: its own, of a short name.
        engines: built before, by another line; None: its own.
        names: of the models.
        calls: answered at a time.
        options: of inference.
    """

    def __init__(
        self,
        directory: Path,
        *,
        engines: Path | None = None,
        names: tuple[str, ...] = ("bright", "spots"),
        calls: int = 16,
        **options: object,
    ) -> None:
        self.engines = engines or directory / "engines"
        self.directory = directory
        self.options = options
        self.registry = Registry()
        self.data_plane = DataPlane(self.registry)
        self.frames = RecentFrames(5)
        self.counts = ResultCounter(directory / "results.db")
        mappings = {"class-app": "bright", "spot-app": "spots"}
        self.inspector = Inspector(
            self.data_plane, lambda: mappings, LineRule(Combination("any_ng")), frames=self.frames, counts=self.counts
        )
        for name in names:
            kind, bias = _MODELS[name]
            self.activate(name, "1", kind=kind, bias=bias)
        models = ClientModels(self.registry, None, LoadRules(directory, lambda _digest: False))  # type: ignore[arg-type]
        sagemaker = SageMakerService(models, self.data_plane, _NoCaptures())
        protocols = (InspectionService(self.inspector), sagemaker)
        self.grpc = data_server(Rpc(tcp=""), directory, [protocol.as_service() for protocol in protocols])
        self.fast: FastServer = fast_server(FastService(self.data_plane, self.inspector), directory, calls=calls)
        self.grpc.start()
        self.fast.start()

    @property
    def path(self) -> Path:
        return self.directory / "fast.sock"

    def activate(
        self, name: str, version: str, *, kind: str = "classification", bias: float = 0.0, fault: str = ""
    ) -> Session:
        """Open a version, put it in front, and return it; what it replaced is retired."""
        directory = self.directory / f"{name}-{version}"
        manifest = write_version(directory, name=name, version=version, kind=kind, bias=bias, fault=fault)
        options = Inference.model_validate(self.options)
        session = open_session(directory, manifest, options, engines=self.engines)
        for replaced in self.registry.activate({name: session}).values():
            assert self.registry.retire(replaced, timeout_s=PATIENCE_S)
        return session

    def predict(self, name: str, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask over gRPC."""
        sent = [
            pb.Tensor(
                tensor_metadata=pb.TensorMetadata(name=key, data_type=0, shape=value.shape), byte_data=value.tobytes()
            )
            for key, value in tensors.items()
        ]
        with grpc.insecure_channel(f"unix:{self.directory}/agent.sock") as channel:
            stub: Any = services.AgentStub(channel)
            answer = stub.Predict(pb.PredictRequest(name=name, tensors=sent), timeout=PATIENCE_S)
        return {
            tensor.tensor_metadata.name: np.frombuffer(tensor.byte_data, np.float32).reshape(
                tensor.tensor_metadata.shape
            )
            for tensor in answer.tensors
        }

    def close(self) -> None:
        self.fast.stop(1.0)
        self.grpc.stop(1.0)
        self.registry.close()
        self.counts.close()


@contextmanager
def fast_line(directory: Path, **options: Any) -> Iterator[FastLine]:
    """The line while it runs."""
    line = FastLine(directory, **options)
    try:
        yield line
    finally:
        line.close()
