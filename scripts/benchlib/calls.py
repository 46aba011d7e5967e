"""The ways to ask for one inference that are compared, and how they are timed."""

import ctypes
import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from edge_agent._proto.inference import grpc_service_pb2 as open_pb
from edge_agent._proto.inference import grpc_service_pb2_grpc as open_services
from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from edge_agent._proto.sagemaker_edge import agent_pb2_grpc as services
from edge_agent.client.fast_path import FastPath

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[[], object]
_OPTIONS = (("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20))
_TIMEOUT_S = 30.0
_IPC_CREAT, _IPC_RMID = 0o1000, 0


class Server:
    """``served`` in its own process, on a unix socket and, with a port, on TCP."""

    def __init__(self, directory: Path, *, tcp: int = 0) -> None:
        command = [sys.executable, "-m", "scripts.benchlib.served", str(directory), *([str(tcp)] if tcp else [])]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.order(do="memory")
        self.address = f"unix:{directory / 'agent.sock'}"
        self.fast_path = directory / "fast.sock"

    def order(self, **order: object) -> dict[str, Any]:
        """Send an order and return its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("expected pipes to the server, came none")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=_TIMEOUT_S)


class Caller:
    """A client with one picture.

    Over gRPC it comes as bytes or in a POSIX segment (the Open Inference Protocol), or in a System V segment
    (SageMaker Edge); beside gRPC over the local fast path.
    """

    def __init__(self, server: Server, model: str, picture: NDArray[np.uint8]) -> None:
        self._channel = grpc.insecure_channel(server.address, options=_OPTIONS)
        self._open = open_services.GRPCInferenceServiceStub(self._channel)
        self._old = services.AgentStub(self._channel)
        self._model = model
        self._picture = picture
        self._input = open_pb.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=picture.shape)
        self._metadata = pb.TensorMetadata(name="image", data_type=pb.UINT8, shape=picture.shape)
        self._segment = _Segment(picture.nbytes)
        self._region = _Region(picture.nbytes)
        self._open.SystemSharedMemoryRegister(self._region.order)
        self._placed = open_pb.ModelInferRequest.InferInputTensor()
        self._placed.CopyFrom(self._input)
        self._placed.parameters["shared_memory_region"].string_param = self._region.order.name
        self._placed.parameters["shared_memory_byte_size"].int64_param = picture.nbytes
        self._fast = FastPath(server.fast_path)

    def by_fast_path(self) -> object:
        """Write the picture into memory that was lent to the agent, and say so in a few bytes."""
        return self._fast.infer(self._model, {"image": self._picture}, timeout_s=_TIMEOUT_S)

    def by_bytes(self) -> object:
        """Send the picture in the message; the bytes are made anew, as a camera's are."""
        content = [self._picture.tobytes()]
        request = open_pb.ModelInferRequest(model_name=self._model, inputs=[self._input], raw_input_contents=content)
        return self._open.ModelInfer(request, timeout=_TIMEOUT_S)

    def by_shared_memory(self) -> object:
        """Write the picture into a registered POSIX segment and say so."""
        self._region.bytes[:] = self._picture.reshape(-1)
        request = open_pb.ModelInferRequest(model_name=self._model, inputs=[self._placed])
        return self._open.ModelInfer(request, timeout=_TIMEOUT_S)

    def by_system_v(self) -> object:
        """Write the picture into a System V segment and send where it is."""
        self._segment.write(self._picture)
        handle = pb.SharedMemoryHandle(size=self._picture.nbytes, offset=0, segment_id=self._segment.number)
        tensor = pb.Tensor(tensor_metadata=self._metadata, shared_memory_handle=handle)
        return self._old.Predict(pb.PredictRequest(name=self._model, tensors=[tensor]), timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Close the channel and remove the segments."""
        self._open.SystemSharedMemoryUnregister(
            open_pb.SystemSharedMemoryUnregisterRequest(name=self._region.order.name)
        )
        self._fast.close()
        self._channel.close()
        self._segment.remove()
        self._region.remove()


class _Region:
    """A POSIX segment of ours, and the order to register it."""

    def __init__(self, size_bytes: int) -> None:
        key = f"/edge-agent-bench-{os.getpid()}-{id(self):x}"
        self._path = Path("/dev/shm") / key.removeprefix("/")  # noqa: S108 - where Linux keeps POSIX shared memory
        self._path.write_bytes(bytes(size_bytes))
        with self._path.open("r+b") as file:
            self.bytes = np.frombuffer(mmap.mmap(file.fileno(), size_bytes), np.uint8)
        self.order = open_pb.SystemSharedMemoryRegisterRequest(name=key, key=key, offset=0, byte_size=size_bytes)

    def remove(self) -> None:
        self._path.unlink()


class _Segment:
    def __init__(self, size_bytes: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.shmat.restype = ctypes.c_void_p
        self.number = self._libc.shmget(0, ctypes.c_size_t(size_bytes), _IPC_CREAT | 0o600)
        address = self._libc.shmat(self.number, None, 0)
        self._bytes = np.frombuffer(memoryview((ctypes.c_uint8 * size_bytes).from_address(address)), np.uint8)

    def write(self, picture: NDArray[np.uint8]) -> None:
        self._bytes[:] = picture.reshape(-1)

    def remove(self) -> None:
        self._libc.shmctl(self.number, _IPC_RMID, None)


def interleaved(calls: Mapping[str, Call], *, block: int, rounds: int) -> dict[str, NDArray[np.float64]]:
    """Return milliseconds of each call: blocks in turn, so that whatever disturbs disturbs all alike."""
    for call in calls.values():
        timed(call, block)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name] += timed(call, block)
    return {name: np.array(values) for name, values in taken.items()}


def timed(call: Call, count: int) -> list[float]:
    """Return milliseconds of ``count`` calls in a row."""
    values = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        values.append((time.perf_counter() - started) * 1000)
    return values
