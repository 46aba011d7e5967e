"""One inference of the Open Inference Protocol with several inputs: where each comes from, and what goes where."""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import ModelVersion
from edge_agent.inference import Priority
from edge_agent.rpc.oip.models import Models
from edge_agent.rpc.oip.regions import Region, Regions
from edge_agent.rpc.oip.requests import Inferences
from edge_agent.wire.oip.requests import read_infer
from tests.fakes.posix_memory import PosixMemory
from tests.fakes.releases import make_release

LEFT, RIGHT = np.array([1, 2, 3], np.float32), np.array([4, 5, 6], np.float32)
SPECS = [{"name": name, "dtype": "float32", "shape": [-1]} for name in ("left", "right")]
Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor


class Adder:
    """A model of two inputs, and its data plane."""

    def __init__(self) -> None:
        outputs = [{"name": "score", "dtype": "float32", "shape": [-1]}, {**SPECS[0], "name": "twice"}]
        self.manifest = make_release("adder", "3", inputs=SPECS, outputs=outputs).manifest
        self.asked: list[tuple[float, Priority, str | None]] = []
        self.is_there = True

    def active(self) -> Mapping[str, Any]:
        return {"adder": SimpleNamespace(manifest=self.manifest, state="READY")} if self.is_there else {}

    def loaded(self) -> list[Any]:
        return [*self.active().values()]

    def resolve(self, name: str) -> str | None:
        return "adder" if name.startswith("adder") else None

    def infer(
        self, name: str, tensors: Mapping[str, Any], *, timeout_s: float, priority: Priority, version: str | None
    ) -> tuple[ModelVersion, Mapping[str, Any]]:
        self.asked.append((timeout_s, priority, version))
        total = tensors["left"] + tensors["right"]
        return self.manifest.model_version, {"score": total, "twice": total * 2}


@pytest.fixture
def adder() -> Adder:
    return Adder()


@pytest.fixture
def memory() -> Iterator[PosixMemory]:
    with PosixMemory(RIGHT.tobytes() + bytes(12)) as memory:
        yield memory


@pytest.fixture
def inferences(adder: Adder, memory: PosixMemory) -> Inferences:
    regions = Regions()
    regions.register(Region("r", memory.name, 0, 24))
    return Inferences(Models(adder), adder, regions)


def place(offset: int, size: int) -> dict[str, pb.InferParameter]:
    return {
        "shared_memory_region": pb.InferParameter(string_param="r"),
        "shared_memory_offset": pb.InferParameter(int64_param=offset),
        "shared_memory_byte_size": pb.InferParameter(int64_param=size),
    }


def fp32(name: str, **more: Any) -> Input:
    return Input(name=name, datatype="FP32", shape=[3], **more)


def request(*inputs: Input, raw: tuple[Any, ...] = (), **more: Any) -> pb.ModelInferRequest:
    contents = [value.tobytes() for value in raw]
    return pb.ModelInferRequest(model_name="adder", inputs=inputs, raw_input_contents=contents, **more)


def answer(inferences: Inferences, asked: pb.ModelInferRequest) -> pb.ModelInferResponse:
    return inferences.answer(read_infer(asked.SerializeToString()), 10.0)


def refusal(inferences: Inferences, asked: pb.ModelInferRequest) -> tuple[Code, str]:
    with pytest.raises(InferenceError) as caught:
        answer(inferences, asked)
    return caught.value.code, caught.value.message


def floats(content: bytes) -> list[float]:
    return [float(number) for number in np.frombuffer(content, np.float32)]


BOTH = (fp32("left"), fp32("right"))
CONTENTS = pb.InferTensorContents(fp32_contents=LEFT)
SHARED = fp32("right", parameters=place(0, 12))


@pytest.mark.parametrize(
    "asked",
    [
        request(*BOTH, raw=(LEFT, RIGHT)),
        request(*BOTH[::-1], raw=(RIGHT, LEFT)),
        request(SHARED, fp32("left"), raw=(LEFT,)),
        request(fp32("left"), SHARED, raw=(LEFT,)),
        request(SHARED, fp32("left", contents=CONTENTS)),
        request(fp32("left", contents=CONTENTS), fp32("right", contents=pb.InferTensorContents(fp32_contents=RIGHT))),
    ],
    ids=["raw", "other-order", "shared-first", "shared-last", "shared-and-typed", "typed"],
)
def test_inputs_are_found_wherever_they_are(inferences: Inferences, asked: pb.ModelInferRequest) -> None:
    told = answer(inferences, asked)
    assert [output.name for output in told.outputs] == ["score", "twice"]
    assert [floats(content) for content in told.raw_output_contents] == [[5, 7, 9], [10, 14, 18]]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request(*BOTH, raw=(LEFT,)), "expected 3 elements"),
        (request(*BOTH, raw=(LEFT, RIGHT, RIGHT)), "came more"),
        (request(fp32("left"), SHARED, raw=(LEFT, RIGHT)), "came more"),
        (request(fp32("left", contents=CONTENTS), fp32("right"), raw=(LEFT, RIGHT)), "must not be specified"),
        (request(fp32("left"), fp32("right", contents=CONTENTS, parameters=place(0, 12)), raw=(LEFT,)), "no contents"),
        (request(fp32("left"), raw=(LEFT,)), "missing ['right']"),
        (request(*BOTH, fp32("left"), raw=(LEFT, RIGHT, LEFT)), "twice"),
        (request(*BOTH, fp32("middle"), raw=(LEFT, RIGHT, LEFT)), "unexpected inference input 'middle'"),
        (request(fp32("left"), fp32("right", parameters=place(0, 11)), raw=(LEFT,)), "unexpected byte size 11"),
        (request(fp32("left"), fp32("right", parameters=place(13, 12)), raw=(LEFT,)), "came 12 from 13"),
        (request(fp32("left"), fp32("right", parameters=place(-1, 12)), raw=(LEFT,)), "0 or more"),
        (request(*(fp32(str(n)) for n in range(65))), "at most 64 inputs"),
    ],
)
def test_inputs_that_disagree_with_what_came_are_refused(
    inferences: Inferences, asked: pb.ModelInferRequest, words: str
) -> None:
    code, message = refusal(inferences, asked)
    assert (code, words in message) == (Code.INVALID_ARGUMENT, True), message


def test_a_model_on_its_way_is_waited_for_and_its_outputs_are_checked_then(
    inferences: Inferences, adder: Adder
) -> None:
    adder.is_there = False
    assert len(answer(inferences, request(*BOTH, raw=(LEFT, RIGHT))).outputs) == 2
    code, message = refusal(inferences, request(*BOTH, raw=(LEFT, RIGHT), outputs=[Output(name="heat")]))
    assert (code, "unexpected inference output 'heat'" in message) == (Code.INVALID_ARGUMENT, True)


def test_one_output_goes_into_shared_memory_and_the_other_into_the_answer(
    inferences: Inferences, memory: PosixMemory
) -> None:
    outputs = [Output(name="twice", parameters=place(12, 12)), Output(name="score")]
    told = answer(inferences, request(*BOTH, raw=(LEFT, RIGHT), outputs=outputs))
    assert [floats(content) for content in told.raw_output_contents] == [[], [5, 7, 9]]
    assert told.outputs[0].parameters["shared_memory_offset"].int64_param == 12
    assert floats(memory.path.read_bytes()[12:]) == [10, 14, 18]


def test_nothing_is_written_when_one_output_does_not_fit(inferences: Inferences, memory: PosixMemory) -> None:
    before = memory.path.read_bytes()
    outputs = [Output(name="score", parameters=place(12, 12)), Output(name="twice", parameters=place(0, 11))]
    code, message = refusal(inferences, request(*BOTH, raw=(LEFT, RIGHT), outputs=outputs))
    assert (code, "at least 12 bytes" in message) == (Code.INVALID_ARGUMENT, True)
    assert memory.path.read_bytes() == before


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, (10.0, Priority.LINE, None)),
        ({"timeout": pb.InferParameter(int64_param=2_000_000)}, (2.0, Priority.LINE, None)),
        ({"timeout": pb.InferParameter(uint64_param=2**63)}, (10.0, Priority.LINE, None)),
        ({"priority": pb.InferParameter(uint64_param=1)}, (10.0, Priority.LINE, None)),
        ({"priority": pb.InferParameter(int64_param=2)}, (10.0, Priority.FRAME, None)),
        ({"sequence_id": pb.InferParameter(int64_param=0)}, (10.0, Priority.LINE, None)),
        ({"custom": pb.InferParameter(double_param=0.5)}, (10.0, Priority.LINE, None)),
    ],
)
def test_parameters_shorten_the_time_and_set_the_priority(
    inferences: Inferences,
    adder: Adder,
    parameters: dict[str, pb.InferParameter],
    expected: tuple[float, Priority, str | None],
) -> None:
    answer(inferences, request(*BOTH, raw=(LEFT, RIGHT), parameters=parameters))
    assert adder.asked == [expected]


@pytest.mark.parametrize(
    "parameters",
    [
        {"timeout": pb.InferParameter(int64_param=-1)},
        {"timeout": pb.InferParameter(string_param="soon")},
        {"timeout": pb.InferParameter()},
        {"priority": pb.InferParameter(double_param=1.0)},
        {"sequence_id": pb.InferParameter(string_param="a")},
        {"sequence_start": pb.InferParameter(bool_param=True)},
    ],
)
def test_parameters_that_cannot_be_kept_are_refused(
    inferences: Inferences, adder: Adder, parameters: dict[str, pb.InferParameter]
) -> None:
    (name,) = parameters
    code, message = refusal(inferences, request(*BOTH, raw=(LEFT, RIGHT), parameters=parameters))
    assert (code, name in message, adder.asked) == (Code.INVALID_ARGUMENT, True, [])


def test_regions_are_bounded(memory: PosixMemory) -> None:
    regions = Regions(limit=2)
    for name in ("a", "b"):
        regions.register(Region(name, memory.name, 0, 24))
    with pytest.raises(InferenceError) as caught:
        regions.register(Region("c", memory.name, 0, 24))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    regions.unregister("a")
    regions.register(Region("c", memory.name, 0, 24))
    assert [region.name for region in regions.known("")] == ["b", "c"]
