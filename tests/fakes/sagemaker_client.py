"""A client as SageMaker Edge Manager's users wrote theirs: names as bytes, ``data_type=5``, System V of mode 0400."""

import uuid
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from edge_agent._proto.sagemaker_edge import agent_pb2_grpc as services
from tests.fakes.closable import Closable
from tests.fakes.system_v import SystemV

PATIENCE_S = 90.0
_NUMPY = dict(enumerate(("uint8", "int16", "int32", "int64", "float16", "float32", "float64")))


class SageMakerClient(Closable):
    """One client of one agent."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target)
        self.stub: Any = services.AgentStub(self.channel)

    def is_connected(self) -> bool:
        """Tell whether the channel has found its agent (again)."""
        try:
            grpc.channel_ready_future(self.channel).result(0.1)
        except grpc.FutureTimeoutError:
            return False
        return True

    def models(self) -> dict[str, pb.Model]:
        return {model.name: model for model in self.stub.ListModels(pb.ListModelsRequest(), timeout=PATIENCE_S).models}

    def load(self, url: str, name: str) -> pb.Model:
        """Load a model; one that is loaded is as good."""
        try:
            model: pb.Model = self.stub.LoadModel(pb.LoadModelRequest(url=url, name=name), timeout=PATIENCE_S).model
        except grpc.RpcError as exc:
            call: Any = exc
            if call.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
            model = self.describe(name)
        return model

    def describe(self, name: str) -> pb.Model:
        model: pb.Model = self.stub.DescribeModel(pb.DescribeModelRequest(name=name), timeout=PATIENCE_S).model
        return model

    def unload(self, name: str) -> None:
        self.stub.UnLoadModel(pb.UnLoadModelRequest(name=name), timeout=PATIENCE_S)

    def predict(self, name: str, value: NDArray[Any], *, shared: bool = False) -> dict[str, NDArray[Any]]:
        """Return the outputs, reshaped by what the answer says of them."""
        (spec,) = self.describe(name).input_tensor_metadatas
        metadata = pb.TensorMetadata(name=spec.name.encode(), data_type=spec.data_type, shape=value.shape)
        if not shared:
            return self._predict(name, pb.Tensor(tensor_metadata=metadata, byte_data=value.tobytes()))
        with SystemV(value.tobytes(), mode=0o400) as segment:
            handle = pb.SharedMemoryHandle(segment_id=segment.id)
            return self._predict(name, pb.Tensor(tensor_metadata=metadata, shared_memory_handle=handle))

    def capture(
        self,
        name: str,
        inputs: Sequence[pb.Tensor],
        outputs: Sequence[pb.Tensor],
        auxiliary: Sequence[pb.AuxilaryData] = (),
    ) -> str:
        """Capture without a time, as most clients did; return the capture's id."""
        capture_id = str(uuid.uuid4())
        request = pb.CaptureDataRequest(
            model_name=name, capture_id=capture_id, input_tensors=inputs, output_tensors=outputs, inputs=auxiliary
        )
        self.stub.CaptureData(request, timeout=PATIENCE_S)
        return capture_id

    def capture_status(self, capture_id: str) -> str:
        request = pb.GetCaptureDataStatusRequest(capture_id=capture_id)
        answer = self.stub.GetCaptureDataStatus(request, timeout=PATIENCE_S)
        return str(pb.CaptureDataStatus.Name(answer.status))

    def _predict(self, name: str, tensor: pb.Tensor) -> dict[str, NDArray[Any]]:
        answer = self.stub.Predict(pb.PredictRequest(name=name, tensors=[tensor]), timeout=PATIENCE_S)
        found: dict[str, NDArray[Any]] = {}
        for each in answer.tensors:
            metadata = each.tensor_metadata
            flat = np.frombuffer(each.byte_data, _NUMPY[metadata.data_type])
            found[metadata.name] = flat.reshape(list(metadata.shape))
        return found

    def close(self) -> None:
        self.channel.close()
