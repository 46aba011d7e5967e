"""Clients of every protocol that the agent speaks, each a small class that asks about one grey part.

A protocol is added by a class with ``ask`` and ``close`` and an entry in ``SPEAKERS``.
"""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grpc
import numpy as np

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as own_pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as own_services
from edge_agent._proto.inference import grpc_service_pb2 as open_pb
from edge_agent._proto.inference import grpc_service_pb2_grpc as open_services
from edge_agent._proto.lookoutvision import edge_agent_pb2 as lookout_pb
from edge_agent._proto.lookoutvision import edge_agent_pb2_grpc as lookout_services
from edge_agent._proto.sagemaker_edge import agent_pb2 as old_pb
from edge_agent._proto.sagemaker_edge import agent_pb2_grpc as old_services
from edge_agent.client import AgentClient
from edge_agent.client.fast_path import FastPath
from edge_agent.errors import AgentError, Code
from edge_agent.formats import EncodedPicture, Verdict
from scripts.benchlib.line import MODEL
from tests.fakes.tiny_models import GREY, grey_picture, image

DEADLINE_S = 10.0
_SIDE = 64  # Lookout takes nothing smaller
_WORK = 2  # some milliseconds in the graph, so that a kill finds requests under way


class Said(NamedTuple):
    """An answer: who answered ("": the protocol does not tell), and the raw or the calibrated score."""

    version: str
    score: float
    is_raw: bool


class FailedError(Exception):
    """A request failed; ``word`` is gRPC's status."""

    def __init__(self, word: str, message: str) -> None:
        super().__init__(f"{word}: {message}")
        self.word = word


class Speaker(Protocol):
    """A client of one protocol, used by one thread."""

    def ask(self) -> Said:
        """Ask once.

        Raises:
            FailedError: it failed.
        """

    def close(self) -> None:
        """Let go of everything."""


class _OverGrpc:
    """A channel, and its errors as ours."""

    def __init__(self, runtime_dir: Path) -> None:
        # Clients of one process would share a connection.
        options = (("grpc.use_local_subchannel_pool", 1),)
        self.channel = grpc.insecure_channel(f"unix:{runtime_dir / 'agent.sock'}", options=options)

    def called(self, method: Callable[..., Any], request: Any) -> Any:
        """Call."""
        try:
            return method(request, timeout=DEADLINE_S)
        except grpc.RpcError as exc:
            raise FailedError(exc.code().name, exc.details() or "") from exc

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()


class Inspecting(_OverGrpc):
    """``edge_agent.v1`` Inspect with a PNG, over gRPC."""

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__(runtime_dir)
        self._stub: Any = own_services.InspectionStub(self.channel)
        self._request = own_pb.InspectRequest(encoded=grey_picture(GREY))

    def ask(self) -> Said:
        """Inspect."""
        answer = self.called(self._stub.Inspect, self._request)
        if not answer.results or answer.verdict == own_pb.NO_RESULT:
            raise _without_result(answer.message)
        return Said(answer.results[0].version, answer.results[0].score, is_raw=False)


class OldPredict(_OverGrpc):
    """SageMaker Edge's Predict, tensors as bytes."""

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__(runtime_dir)
        self._stub: Any = old_services.AgentStub(self.channel)
        (pixels,) = image(GREY, work=_WORK).values()
        metadata = old_pb.TensorMetadata(name="image", data_type=old_pb.UINT8, shape=pixels.shape)
        tensor = old_pb.Tensor(tensor_metadata=metadata, byte_data=pixels.tobytes())
        self._request = old_pb.PredictRequest(name=MODEL, tensors=[tensor])

    def ask(self) -> Said:
        """Predict."""
        answer = self.called(self._stub.Predict, self._request)
        found = {tensor.tensor_metadata.name: tensor.byte_data for tensor in answer.tensors}
        return Said("", float(np.frombuffer(found["score"], np.float32)[0]), is_raw=True)


class OpenInference(_OverGrpc):
    """The Open Inference Protocol's ModelInfer: bytes and registered shared memory in turn."""

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__(runtime_dir)
        self._stub: Any = open_services.GRPCInferenceServiceStub(self.channel)
        (self._pixels,) = image(GREY, work=_WORK).values()
        self._key = f"edge-agent-soak-{uuid.uuid4().hex}"
        self._path = Path("/dev/shm") / self._key  # noqa: S108 - where Linux keeps POSIX shared memory
        self._path.write_bytes(self._pixels.tobytes())
        region = open_pb.SystemSharedMemoryRegisterRequest(
            name=self._key, key=f"/{self._key}", byte_size=self._pixels.nbytes
        )
        self.called(self._stub.SystemSharedMemoryRegister, region)
        self._turn = 0

    def ask(self) -> Said:
        """Infer."""
        self._turn += 1
        tensor = open_pb.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=self._pixels.shape)
        request = open_pb.ModelInferRequest(model_name=MODEL, inputs=[tensor])
        if self._turn % 2:
            request.raw_input_contents.append(self._pixels.tobytes())
        else:
            request.inputs[0].parameters["shared_memory_region"].string_param = self._key
            request.inputs[0].parameters["shared_memory_byte_size"].int64_param = self._pixels.nbytes
        answer = self.called(self._stub.ModelInfer, request)
        names = [output.name for output in answer.outputs]
        content = answer.raw_output_contents[names.index("score")]
        return Said(answer.model_version, float(np.frombuffer(content, np.float32)[0]), is_raw=True)

    def close(self) -> None:
        """Forget the region, and close."""
        forget = open_pb.SystemSharedMemoryUnregisterRequest(name=self._key)
        self.called(self._stub.SystemSharedMemoryUnregister, forget)
        self._path.unlink()
        super().close()


class Lookout(_OverGrpc):
    """Lookout for Vision's DetectAnomalies: bytes and POSIX shared memory in turn."""

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__(runtime_dir)
        self._stub: Any = lookout_services.EdgeAgentStub(self.channel)
        self._size = _SIDE * _SIDE * 3
        self._path = Path("/dev/shm") / f"edge-agent-soak-{uuid.uuid4().hex}"  # noqa: S108 - as above
        self._path.write_bytes(bytes([GREY]) * self._size)
        self._turn = 0

    def ask(self) -> Said:
        """Detect."""
        self._turn += 1
        bitmap = lookout_pb.Bitmap(width=_SIDE, height=_SIDE)
        if self._turn % 2:
            bitmap.byte_data = bytes([GREY]) * self._size
        else:
            bitmap.shared_memory_handle.name = f"/{self._path.name}"
            bitmap.shared_memory_handle.size = self._size
        request = lookout_pb.DetectAnomaliesRequest(model_component=MODEL, bitmap=bitmap)
        result = self.called(self._stub.DetectAnomalies, request).detect_anomaly_result
        return Said("", result.anomaly_score, is_raw=False)

    def close(self) -> None:
        """Remove the segment, and close."""
        self._path.unlink()
        super().close()


class FastTensors:
    """The local fast path with tensors."""

    def __init__(self, runtime_dir: Path) -> None:
        self._path = FastPath(runtime_dir / "fast.sock")

    def ask(self) -> Said:
        """Infer."""
        try:
            model, outputs = self._path.infer(MODEL, image(GREY, work=_WORK), timeout_s=DEADLINE_S)
        except AgentError as exc:
            raise FailedError(exc.code.value, exc.message) from exc
        return Said(model.version, float(outputs["score"][0]), is_raw=True)

    def close(self) -> None:
        """Close the connection."""
        self._path.close()


class FastPictures:
    """Inspect by the typed client, which takes the fast path by itself."""

    def __init__(self, runtime_dir: Path) -> None:
        self._client = AgentClient.at(runtime_dir)

    def ask(self) -> Said:
        """Inspect."""
        try:
            frame = self._client.inspect(EncodedPicture(grey_picture(GREY)), timeout_s=DEADLINE_S)
        except AgentError as exc:
            raise FailedError(exc.code.value, exc.message) from exc
        if frame.verdict is Verdict.NO_RESULT or not frame.results or frame.results[0].score is None:
            raise _without_result(frame.message)
        return Said(frame.results[0].version, frame.results[0].score, is_raw=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


SPEAKERS: dict[str, Callable[[Path], Speaker]] = {
    "edge_agent.v1 Inspect": Inspecting,
    "SageMaker Edge Predict": OldPredict,
    "Open Inference ModelInfer": OpenInference,
    "Lookout DetectAnomalies": Lookout,
    "fast path, tensors": FastTensors,
    "fast path, pictures": FastPictures,
}


def _without_result(message: str) -> FailedError:
    """NO_RESULT is what a picture's caller is told when the worker dies: its message begins with the code."""
    return FailedError(Code.UNAVAILABLE.value, message)
