"""Whatever comes to the Open Inference Protocol's calls: an answer or a code of theirs, and the agent is as it was."""

import os
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import strategies as st

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent._proto.inference import grpc_service_pb2_grpc as services
from tests.fakes.device import AgentDevice
from tests.fakes.malformed import EXAMPLES, PATIENCE_S, Words, bombard, messages
from tests.fakes.posix_memory import PosixMemory
from tests.fakes.served_device import MODELS
from tests.fakes.tiny_models import BRIGHT, SIDE

_DECLARED = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


def service(**often: int) -> SimpleNamespace:
    """The service, some of whose calls are drawn more often."""
    methods = [method for method in _DECLARED.methods for _ in range(often.get(method.name, 1))]
    return SimpleNamespace(full_name=_DECLARED.full_name, methods=methods)


DATA = service(ModelInfer=8, ModelStreamInfer=4, SystemSharedMemoryRegister=4)
CONTROL = service(RepositoryModelLoad=8, RepositoryModelUnload=8)
LOADING = ("RepositoryModelLoad", "RepositoryModelUnload")
DATA_CODES = frozenset(
    ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "DEADLINE_EXCEEDED")
)
CONTROL_CODES = frozenset(("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "PERMISSION_DENIED"))
PIXELS = SIDE * SIDE * 3
PICTURE = bytes([BRIGHT]) * PIXELS
SHAPE = [1, SIDE, SIDE, 3]
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor


@pytest.fixture
def memory() -> Iterator[PosixMemory]:
    with PosixMemory(PICTURE + bytes(100)) as memory:
        yield memory


def parameters(**values: Any) -> dict[str, pb.InferParameter]:
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param"}
    return {name: pb.InferParameter(**{kinds[type(value)]: value}) for name, value in values.items()}


def place(size: int, offset: int = 0, region: str = "r1") -> dict[str, pb.InferParameter]:
    return parameters(shared_memory_region=region, shared_memory_byte_size=size, shared_memory_offset=offset)


GOOD = Input(name="image", datatype="UINT8", shape=SHAPE)
INPUTS = [
    GOOD,
    Input(name="image", datatype="UINT8", shape=SHAPE, parameters=place(PIXELS)),
    Input(name="image", datatype="UINT8", shape=SHAPE, parameters=place(PIXELS, 101)),
    Input(name="image", datatype="UINT8", shape=SHAPE, parameters=place(2**62, 2**62)),
    Input(name="image", datatype="UINT8", shape=[2**63 - 1] * 8),
    Input(name="image", datatype="UINT8", shape=[-1, SIDE, SIDE, 3]),
    Input(name="image", datatype="BYTES", shape=[1]),
    Input(name="image", datatype="UINT8", shape=SHAPE, contents=pb.InferTensorContents(uint_contents=PICTURE)),
    Input(name="image", datatype="UINT8", shape=SHAPE, contents=pb.InferTensorContents(fp32_contents=[1] * PIXELS)),
]
RAW = pb.ModelInferRequest(model_name="anomaly", inputs=[GOOD], raw_input_contents=[PICTURE])
SHARED = pb.ModelInferRequest(model_name="anomaly", inputs=[INPUTS[1]])
OUTPUTS = [
    Output(name="score"),
    Output(name="score"),
    Output(name="map"),
    Output(name="score", parameters=place(4, PIXELS)),
    Output(name="score", parameters=place(3, PIXELS)),
    Output(name="score", parameters=place(4, 2**62)),
    Output(name="score", parameters=parameters(classification=2)),
]


def words(memory: PosixMemory) -> Words:
    models = st.sampled_from([*MODELS, *MODELS, *MODELS, "unet-1", "unet-7", "../unet", "", "ä" * 300, "a\0b"])
    versions = st.sampled_from(["", "", "", "", "1", "1", "2", "01", "-1", "../1", "9" * 400])
    regions = st.sampled_from(["r1", "r1", "r2", "", "x" * 300])
    wrong_keys = ["/nothing-there", "/", "../x", "/a/b", "x" * 300, ".", "", "sem.x"]
    sizes = st.sampled_from([PIXELS, PIXELS, PIXELS, PIXELS + 100, PIXELS + 101, 1, 0, 2**63, 2**64 - 1])
    names = st.sampled_from(
        [
            *["custom"] * 12,
            "timeout",
            "priority",
            "sequence_id",
            "sequence_start",
            "shared_memory_region",
            "shared_memory_byte_size",
        ]
    )
    grown = Words(
        {
            "ModelInferRequest.model_name": models,
            "ModelInferRequest.inputs": st.sampled_from([GOOD] * 6 + INPUTS),
            "ModelInferRequest.outputs": st.sampled_from(OUTPUTS),
            "ModelInferRequest.raw_input_contents": st.sampled_from([PICTURE] * 8 + [PICTURE[1:], b""]),
            "ModelInferRequest.id": ANY,
            "version": versions,
            "model_version": versions,
            "repository_name": st.sampled_from(["", "", "", "models"]),
            "ParametersEntry.key": names,
            "key": st.sampled_from([memory.name] * 12 + wrong_keys),
            "byte_size": sizes,
            "offset": st.sampled_from([0, 0, 0, 0, 0, 1, 100, 101, PIXELS + 100, 2**63, 2**64 - 1]),
            "SystemSharedMemoryStatusRequest.name": regions,
            "SystemSharedMemoryRegisterRequest.name": regions,
            "SystemSharedMemoryUnregisterRequest.name": regions,
            "name": models,
            "model_name": models,
        }
    )
    asked = messages(pb.ModelInferRequest, grown)
    region = pb.SystemSharedMemoryRegisterRequest(name="r1", key=memory.name, byte_size=PIXELS + 100)
    registered = messages(pb.SystemSharedMemoryRegisterRequest, grown)
    grown["ModelInferRequest"] = asked | nearly(RAW, asked) | nearly(SHARED, asked)
    grown["SystemSharedMemoryRegisterRequest"] = registered | nearly(region, registered)
    return grown


@st.composite
def nearly(draw: st.DrawFn, right: Message, wrong: st.SearchStrategy[Message]) -> Message:
    """Return a right request with one field out of a wrong one, or with none."""
    message, other = type(right)(), draw(wrong)
    message.CopyFrom(right)
    name = draw(st.sampled_from([field.name for field in message.DESCRIPTOR.fields]))
    if draw(st.booleans()):
        message.ClearField(name)
        part = type(right)()
        part.CopyFrom(other)
        for field in part.DESCRIPTOR.fields:
            if field.name != name:
                part.ClearField(field.name)
        message.MergeFrom(part)
    return message


@pytest.fixture
def target(bombarded_device: AgentDevice) -> str:
    return f"unix:{bombarded_device.runtime_dir}/agent.sock"


@pytest.fixture
def stub(target: str) -> Iterator[Any]:
    with grpc.insecure_channel(target) as channel:
        yield services.GRPCInferenceServiceStub(channel)


def check_answers(stub: Any, memory: PosixMemory) -> None:
    """Raw, on a stream and through shared memory the same score; nothing stays registered."""
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(), timeout=PATIENCE_S)
    region = pb.SystemSharedMemoryRegisterRequest(name="r1", key=memory.name, byte_size=PIXELS + 100)
    stub.SystemSharedMemoryRegister(region, timeout=PATIENCE_S)
    (streamed,) = stub.ModelStreamInfer(iter([RAW]), timeout=PATIENCE_S)
    answers = [stub.ModelInfer(each, timeout=PATIENCE_S) for each in (RAW, SHARED)]
    for model in MODELS:
        # Each has memory of its own from its first request on.
        request = pb.ModelInferRequest(model_name=model, inputs=[GOOD], raw_input_contents=[PICTURE])
        assert stub.ModelInfer(request, timeout=PATIENCE_S).model_version == "1"
    for answer in (*answers, streamed.infer_response):
        assert np.frombuffer(answer.raw_output_contents[0], np.float32)[0] == pytest.approx(2.0)
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(), timeout=PATIENCE_S)


def test_malformed_requests_get_a_code_and_change_nothing(
    bombarded_device: AgentDevice, target: str, stub: Any, memory: PosixMemory
) -> None:
    codes = bombard(
        bombarded_device,
        target,
        DATA,
        words(memory),
        allowed=DATA_CODES,
        good=lambda: check_answers(stub, memory),
    )
    told(codes)
    for code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND"):
        assert codes[f"ModelInfer {code}"], codes
    for call in LOADING:
        # Bytes that are no message are refused before anyone asks who sent them.
        assert {key for key in codes if key.startswith(call)} <= {
            f"{call} PERMISSION_DENIED",
            f"{call} INVALID_ARGUMENT",
        }
    assert memory.size == PIXELS + 100
    assert bombarded_device.generation() == dict.fromkeys(MODELS, "1")


def test_malformed_orders_on_the_control_socket_load_nothing(
    bombarded_device: AgentDevice, stub: Any, memory: PosixMemory
) -> None:
    control = f"unix:{bombarded_device.runtime_dir}/control.sock"
    codes = bombard(
        bombarded_device,
        control,
        CONTROL,
        words(memory),
        allowed=CONTROL_CODES,
        good=lambda: check_answers(stub, memory),
    )
    told(codes)
    assert codes["RepositoryModelUnload FAILED_PRECONDITION"], codes
    assert not codes["RepositoryModelUnload OK"], codes
    ready = stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), timeout=PATIENCE_S)
    assert {(model.name, model.version) for model in ready.models} == {(name, "1") for name in MODELS}
    assert bombarded_device.generation() == dict.fromkeys(MODELS, "1")


@pytest.mark.parametrize("number", range(EXAMPLES // 100))
def test_streams_of_nonsense_end_by_themselves(stub: Any, number: int) -> None:
    broken = pb.ModelInferRequest(model_name="anomaly", inputs=[INPUTS[number % len(INPUTS)]])
    answers = list(stub.ModelStreamInfer(iter([broken] * 5), timeout=PATIENCE_S))
    assert len(answers) == 5
    assert all(bool(each.error_message) != bool(each.infer_response.outputs) for each in answers)


def told(codes: Counter[str]) -> None:
    """The requests were not all refused for the same reason, nor all answered."""
    if "SHOW" in os.environ:
        print(dict(sorted(codes.items())))  # noqa: T201
    assert sum(codes.values()) >= EXAMPLES
    asked = {key.partition(" ")[0] for key in codes}
    # Few examples need not reach the calls that take nothing.
    assert len(asked) >= (len(_DECLARED.methods) if EXAMPLES > 1000 else 8), codes
