"""A client as Lookout for Vision's users wrote theirs: a channel with default options, stubs, shared memory."""

import time
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from edge_agent._proto.lookoutvision import edge_agent_pb2 as pb
from edge_agent._proto.lookoutvision import edge_agent_pb2_grpc as services
from tests.fakes.closable import Closable
from tests.fakes.posix_memory import PosixMemory

PATIENCE_S = 90.0
RGB = NDArray[np.uint8]


class LookoutClient(Closable):
    """One client of one agent."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target)
        self.stub: Any = services.EdgeAgentStub(self.channel)

    def models(self) -> dict[str, pb.ModelMetadata]:
        answer = self.stub.ListModels(pb.ListModelsRequest(), timeout=PATIENCE_S)
        return {model.model_component: model for model in answer.models}

    def describe(self, component: str) -> pb.ModelDescription:
        request = pb.DescribeModelRequest(model_component=component)
        description: pb.ModelDescription = self.stub.DescribeModel(request, timeout=PATIENCE_S).model_description
        return description

    def status(self, component: str) -> str:
        return str(pb.ModelStatus.Name(self.describe(component).status))

    def start(self, component: str) -> str:
        answer = self.stub.StartModel(pb.StartModelRequest(model_component=component), timeout=PATIENCE_S)
        return str(pb.ModelStatus.Name(answer.status))

    def stop(self, component: str) -> str:
        answer = self.stub.StopModel(pb.StopModelRequest(model_component=component), timeout=PATIENCE_S)
        return str(pb.ModelStatus.Name(answer.status))

    def start_if_needed(self, component: str) -> None:
        """Wait until the model runs, started where it is stopped."""
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.status(component)) != "RUNNING":
            assert time.monotonic() < deadline, status
            if status in ("STOPPED", "FAILED"):
                self.start(component)
            time.sleep(0.05)

    def detect(self, component: str, picture: RGB, mask: pb.SharedMemoryHandle | None = None) -> pb.DetectAnomalyResult:
        """Detect in a picture sent in the message."""
        height, width = picture.shape[:2]
        bitmap = pb.Bitmap(width=width, height=height, byte_data=picture.tobytes())
        return self.ask(component, bitmap, mask)

    def detect_shared(
        self, component: str, memory: PosixMemory, width: int, height: int, mask: pb.SharedMemoryHandle | None = None
    ) -> pb.DetectAnomalyResult:
        """Detect in a picture that lies at the start of a segment."""
        handle = pb.SharedMemoryHandle(name=memory.name, size=width * height * 3, offset=0)
        return self.ask(component, pb.Bitmap(width=width, height=height, shared_memory_handle=handle), mask)

    def ask(
        self, component: str, bitmap: pb.Bitmap, mask: pb.SharedMemoryHandle | None = None
    ) -> pb.DetectAnomalyResult:
        request = pb.DetectAnomaliesRequest(model_component=component, bitmap=bitmap)
        if mask is not None:
            request.anomaly_mask_params.shared_memory_handle.CopyFrom(mask)
        result: pb.DetectAnomalyResult = self.stub.DetectAnomalies(request, timeout=PATIENCE_S).detect_anomaly_result
        return result

    def close(self) -> None:
        self.channel.close()


def pixels_of(mask: pb.Bitmap) -> RGB:
    """Return a mask that came in the answer."""
    return np.frombuffer(mask.byte_data, np.uint8).reshape(mask.height, mask.width, 3)


def areas(result: pb.DetectAnomalyResult) -> dict[str, float]:
    """Return each anomaly type's share of the picture."""
    return {anomaly.name: anomaly.pixel_anomaly.total_percentage_area for anomaly in result.anomalies}
