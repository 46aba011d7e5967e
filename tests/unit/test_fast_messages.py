"""The fast path's messages are the bytes of its specification, and what is written is what is read."""

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import Code, InferenceError, RefusedError
from edge_agent.formats import InspectedFrame, ModelResult, ModelVersion, Verdict
from edge_agent.rpc.fast.server import CONNECTIONS, CONNECTIONS_OF_ONE_PROCESS
from edge_agent.wire.fast import frames, inspection, tensors
from edge_agent.wire.fast.inspection import Drawn, PictureOrder, PngAt
from edge_agent.wire.fast.tensors import InferAnswer, InferOrder, TensorAt

ROOT = Path(__file__).resolve().parents[2]
HEADER = (ROOT / "clients" / "c" / "edge_agent.h").read_text(encoding="utf-8")
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLACES = st.builds(
    TensorAt,
    TEXT,
    st.sampled_from(tensors.DTYPES),
    st.lists(st.integers(0, 2**63 - 1), max_size=8).map(tuple),
    U64,
    U64,
)
ORDERS = st.builds(
    InferOrder,
    TEXT.filter(bool),
    TEXT,
    st.lists(PLACES, max_size=4).map(tuple),
    st.tuples(U64, U64),
    U64,
    st.integers(0, 1),
)
NUMBERS = st.floats(allow_nan=False)
VERDICTS = st.sampled_from(list(Verdict))
RESULTS = st.builds(
    ModelResult,
    application=TEXT,
    model=TEXT,
    version=TEXT,
    kind=TEXT,
    verdict=VERDICTS,
    score=NUMBERS,
    threshold=NUMBERS,
    label=TEXT,
    area=NUMBERS,
    milliseconds=NUMBERS,
    message=TEXT,
    skipped=st.booleans(),
)
PNGS = st.builds(PngAt, U64, U64, st.booleans())
PICTURES = st.builds(
    PictureOrder,
    st.tuples(U64, U64),
    st.tuples(U64, U64),
    U32,
    U32,
    st.lists(TEXT.filter(bool), max_size=3, unique=True).map(tuple),
    TEXT,
    TEXT,
    st.booleans(),
    st.booleans(),
    st.integers(0, 1),
    U64,
)


@given(ORDERS, U32)
def test_an_infer_request_is_read_as_it_was_written(order: InferOrder, number: int) -> None:
    message = tensors.infer(number, order)
    assert frames.read_head(message) == (3, 0, number)
    assert tensors.read_infer(message) == order


@given(st.builds(InferAnswer, st.builds(ModelVersion, TEXT, TEXT), st.lists(PLACES, max_size=4).map(tuple)))
def test_an_answer_is_read_as_it_was_written(answer: InferAnswer) -> None:
    assert tensors.read_inferred(tensors.inferred(1, answer)) == answer


@given(PICTURES)
def test_an_inspect_request_is_read_as_it_was_written(order: PictureOrder) -> None:
    assert inspection.read_inspect(inspection.inspect(1, order)) == order


@given(st.lists(st.tuples(RESULTS, st.builds(Drawn, PNGS, PNGS)), max_size=3), VERDICTS, NUMBERS, TEXT, PICTURES)
def test_a_frame_is_read_as_it_was_written(
    results: list[tuple[ModelResult, Drawn]], verdict: Verdict, milliseconds: float, text: str, order: PictureOrder
) -> None:
    frame = InspectedFrame(
        id=text,
        at=5.0,
        source=order.source,
        name=order.frame_name,
        verdict=verdict,
        results=tuple(result for result, _ in results),
        milliseconds=milliseconds,
        message=text,
        width=order.width,
        height=order.height,
    )
    drawn = [places for _, places in results]
    message = inspection.inspected(1, frame, drawn)
    assert inspection.read_inspected(message, order, 5.0) == (frame, drawn)


def test_the_bytes_are_those_of_the_specification() -> None:
    place = TensorAt("x", "float32", (2, 3), 64, 24)
    assert tensors.infer(7, InferOrder("ab", "1", (place,), (128, 4096), 1_000_000, 1)) == bytes.fromhex(
        "0300000007000000 40420f0000000000 8000000000000000 0010000000000000 0200 0100 01 01 0000"
        "05 02 0100 00000000 4000000000000000 1800000000000000 0200000000000000 0300000000000000 6162 31 78"
    )
    assert frames.hello(1) == bytes.fromhex("0100000001000000") + b"EDGEFAST" + bytes.fromhex("0100010000000000")
    assert len(frames.welcome(1)) == 32
    assert frames.segment(9) == bytes.fromhex("0200000009000000")


def test_a_verdict_that_nobody_knows_yet_is_no_result() -> None:
    order = PictureOrder((0, 0), (0, 0))
    result = ModelResult(application="a", model="m", verdict=Verdict.OK)
    message = bytearray(
        inspection.inspected(1, InspectedFrame(id="1", at=1.0, verdict=Verdict.OK, results=(result,)), [Drawn()])
    )
    message[28] = message[32 + 64] = 3
    frame, _ = inspection.read_inspected(bytes(message), order, 1.0)
    assert (frame.verdict, frame.results[0].verdict) == (Verdict.NO_RESULT, Verdict.NO_RESULT)


def test_more_results_than_a_reply_holds_are_told_and_never_cut() -> None:
    result = ModelResult(application="a" * 100, model="m", verdict=Verdict.OK, message="x" * 900)
    frame = InspectedFrame(id="1", at=1.0, verdict=Verdict.OK, results=(result,) * 70)
    with pytest.raises(InferenceError, match="expected results within 65536 bytes, came 70") as caught:
        inspection.inspected(1, frame, [Drawn()] * 70)
    assert caught.value.code is Code.OUT_OF_RANGE


def test_an_error_keeps_its_word_its_class_and_its_message() -> None:
    message = frames.error(3, RefusedError(Code.BELOW_FLOOR, "no " + "ä" * 5000), 9, flags=frames.SEGMENT_RETIRED)
    fault = frames.read_error(message)
    assert (fault.status, fault.word, fault.kind) == (9, "BELOW_FLOOR", "RefusedError")
    assert fault.message.startswith("no ää")
    assert len(message) < 5000


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (36, 2, "priority"),
        (37, 65, "at most 64 tensors"),
        (38, 1, "zero in what is not used"),
        (40, 7, "a type up to 6"),
        (41, 9, "at most 8 dimensions"),
        (44, 1, "zero in what is not used"),
        (34, 2, "expected"),
        (32, 0, "expected a name"),
    ],
)
def test_a_field_that_is_wrong_is_named(at: int, value: int, told: str) -> None:
    place = TensorAt("x", "float32", (2, 3), 64, 24)
    message = bytearray(tensors.infer(7, InferOrder("ab", "1", (place,), (128, 4096))))
    message[at] = value
    with pytest.raises(InferenceError, match=told) as caught:
        tensors.read_infer(bytes(message))
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_the_c_header_has_the_same_limits() -> None:
    defined = dict(re.findall(r"#define EDGE_AGENT_(\w+) (\d+)", HEADER))
    assert int(defined["TENSORS"]) == frames.TENSORS_LIMIT
    assert int(defined["DIMENSIONS"]) == frames.RANK_LIMIT
    assert int(defined["REQUEST_BYTES"]) == frames.REQUEST_LIMIT_BYTES
    assert int(defined["REPLY_BYTES"]) == frames.REPLY_LIMIT_BYTES


def test_the_page_tells_the_same_limits() -> None:
    page = (ROOT / "docs" / "fast-path.md").read_text(encoding="utf-8")
    assert f"| connections | {CONNECTIONS}, of one process {CONNECTIONS_OF_ONE_PROCESS};" in page
    assert f"| tensors, dimensions, applications | {frames.TENSORS_LIMIT}, {frames.RANK_LIMIT}, 255 |" in page
    assert (frames.REQUEST_LIMIT_BYTES, frames.REPLY_LIMIT_BYTES) == (16 << 10, 64 << 10)
    assert (frames.SEGMENT_LIMIT_BYTES, frames.READ_LIMIT_BYTES) == (256 << 20, 64 << 20)
    assert struct.calcsize("<HHI") == frames.HEAD.size == 8
