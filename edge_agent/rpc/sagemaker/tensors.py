"""SageMaker Edge's tensors, wherever their bytes are: in the message or in shared memory."""

from collections.abc import Sequence
from math import prod
from typing import Any

from numpy.typing import NDArray

from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import AuxiliaryData, CapturedTensor, Manifest, TensorSpec
from edge_agent.rpc.sagemaker.models import NamedModel
from edge_agent.rpc.shared_memory import LIMIT_BYTES, SharedMemory, read_system_v, rest_of_system_v
from edge_agent.wire import tensors as wire

_NAME_LIMIT = 256
_RANK_LIMIT = 8
_PARTS_LIMIT = 256


class Room:
    """What is left of the bytes that one request may bring through shared memory."""

    def __init__(self) -> None:
        self._left = LIMIT_BYTES

    def take(self, size: int) -> None:
        """Use some of it.

        Raises:
            InferenceError: INVALID_ARGUMENT when it does not suffice.
        """
        self._left -= size
        if self._left < 0:
            raise InferenceError(Code.INVALID_ARGUMENT, f"expected at most {LIMIT_BYTES} bytes in one request")


def described(named: NamedModel) -> pb.Model:
    """Return a model's description under its client's name."""
    return wire.model_to_proto(named.name, named.url, named.manifest.inputs, named.manifest.outputs)


def inputs(tensors: Sequence[pb.Tensor], manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Return arrays by the model's input names; a tensor without a name takes the place it stands in.

    Raises:
        InferenceError: INVALID_ARGUMENT (they are not what the model takes), PERMISSION_DENIED.
    """
    specs = {wire.printable(spec.name): spec for spec in manifest.inputs}
    if len(tensors) != len(specs):
        message = f"tensors: expected {', '.join(specs)}, came {len(tensors)} tensor(s)"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    room = Room()
    found: dict[str, NDArray[Any]] = {}
    for tensor, place in zip(tensors, specs, strict=True):
        name = tensor.tensor_metadata.name or place
        spec = specs.get(name)
        if spec is None or spec.name in found:
            message = f"tensors: expected {', '.join(specs)}, each once, came {name[:80]!r}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        found[spec.name] = wire.tensor_from_proto(tensor, spec, _content(tensor, spec, room))
    return found


def _content(tensor: pb.Tensor, spec: TensorSpec, room: Room) -> bytes:
    if tensor.WhichOneof("data") != "shared_memory_handle":
        return tensor.byte_data
    memory = _memory(tensor.shared_memory_handle)
    dtype, shape = wire.layout(tensor, spec, memory.size)
    return _shared(memory, prod(shape) * dtype.size_bytes, room)


def captured(tensor: pb.Tensor, room: Room) -> CapturedTensor:
    """Return a tensor to be captured; without a shape it is flat.

    Raises:
        InferenceError: INVALID_ARGUMENT, PERMISSION_DENIED.
    """
    spec = _captured_spec(tensor.tensor_metadata)
    expected = spec.size_bytes() if spec.shape else 0
    if tensor.WhichOneof("data") == "shared_memory_handle":
        memory = _memory(tensor.shared_memory_handle)
        content = _shared(memory, expected or _told(memory), room)
    else:
        content = tensor.byte_data
    if spec.shape and len(content) != expected:
        message = f"tensor {spec}: expected {expected} bytes, came {len(content)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    flat, rest = divmod(len(content), spec.dtype.size_bytes)
    if rest:
        message = f"tensor {spec}: expected a multiple of {spec.dtype.size_bytes} bytes, came {len(content)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    return CapturedTensor(spec if spec.shape else spec.model_copy(update={"shape": (flat,)}), content)


def _captured_spec(metadata: pb.TensorMetadata) -> TensorSpec:
    named = 0 < len(metadata.name) <= _NAME_LIMIT
    if not named or len(metadata.shape) > _RANK_LIMIT or any(size < 0 for size in metadata.shape):
        came = f"{metadata.name[:80]!r} {list(metadata.shape)[:9]}"
        message = f"tensor_metadata: expected a name and at most {_RANK_LIMIT} sizes, came {came}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    return wire.spec_from_proto(metadata)


def auxiliary(data: pb.AuxilaryData, room: Room) -> AuxiliaryData:
    """Return what a client wants captured beside the tensors.

    Raises:
        InferenceError: INVALID_ARGUMENT, PERMISSION_DENIED.
    """
    if data.encoding not in pb.Encoding.values():
        raise InferenceError(Code.INVALID_ARGUMENT, f"encoding: expected 0 to 3, came {data.encoding}")
    if len(data.name) > _NAME_LIMIT:
        message = f"name: expected at most {_NAME_LIMIT} characters, came {len(data.name)}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    content = data.byte_data
    if data.WhichOneof("data") == "shared_memory_handle":
        memory = _memory(data.shared_memory_handle)
        content = _shared(memory, _told(memory), room)
    return AuxiliaryData(data.name, pb.Encoding.Name(data.encoding), content)


def check_count(request: pb.CaptureDataRequest) -> None:
    """Check that a capture has so many parts that each may be a file.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    groups = (request.input_tensors, request.output_tensors, request.inputs, request.outputs)
    count = sum(map(len, groups))
    if count > _PARTS_LIMIT:
        message = f"expected at most {_PARTS_LIMIT} tensors and auxiliary data in a capture, came {count}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)


def _told(memory: SharedMemory) -> int:
    """Return the size that the client told, else what its segment holds from the offset on."""
    return memory.size or rest_of_system_v(memory)


def _memory(handle: pb.SharedMemoryHandle) -> SharedMemory:
    return SharedMemory(handle.segment_id, handle.offset, handle.size)


def _shared(memory: SharedMemory, expected: int, room: Room) -> bytes:
    if not expected:
        raise InferenceError(
            Code.INVALID_ARGUMENT, "shared_memory_handle: expected a size, or a shape to derive it from"
        )
    room.take(expected)
    return read_system_v(memory, expected)
