"""What goes through protobuf comes back as it was."""

from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.sagemaker_edge import agent_pb2 as edge
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import (
    AgentStatus,
    CaptureReport,
    CaptureStatus,
    ClockStatus,
    Counts,
    DeployedModel,
    DeploymentReport,
    DType,
    EncodedPicture,
    Event,
    InspectedFrame,
    ModelResult,
    ModelsChanged,
    ModelStatus,
    RawPicture,
    StateReport,
    Status,
    TensorSpec,
    Verdict,
)
from edge_agent.wire import inspection, reports, tensors
from edge_agent.wire.events import event_from_proto, event_to_proto

# A busy machine is slow and no fault.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(codec="utf-8"), max_size=12)
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
numbers = st.floats(allow_nan=False)
moments = st.floats(1, 4e9)
sizes = st.integers(0, 2**64 - 1)
pixels = st.integers(0, 2**32 - 1)
verdicts = st.sampled_from(Verdict)
no_words = st.none() | words

results = st.builds(
    ModelResult,
    application=texts,
    model=texts,
    version=texts,
    kind=texts,
    verdict=verdicts,
    score=numbers,
    threshold=numbers,
    label=texts,
    mask_png=st.binary(max_size=12),
    area=numbers,
    milliseconds=numbers,
    message=texts,
)
frames = st.builds(
    InspectedFrame,
    id=texts,
    at=numbers,
    source=texts,
    name=texts,
    verdict=verdicts,
    results=st.lists(results, max_size=3).map(tuple),
    milliseconds=numbers,
    message=texts,
    width=pixels,
    height=pixels,
)
counts = st.builds(Counts, ok=sizes, ng=sizes, no_result=sizes)
agents = st.builds(AgentStatus, version=texts, thing=texts, uptime_s=numbers, state=texts, cloud=texts, message=texts)
models = st.builds(
    ModelStatus,
    name=texts,
    active=no_words,
    previous=no_words,
    staged=no_words,
    state=texts,
    runtime=texts,
    provider=texts,
    memory_bytes=sizes,
    kind=texts,
    threshold=numbers,
    signed_threshold=numbers,
    applications=st.lists(texts, max_size=3).map(tuple),
)
captures = st.builds(
    CaptureStatus, pending=sizes, failed=sizes, bytes=sizes, oldest_s=numbers, uploaded=sizes, message=texts
)
clocks = st.builds(ClockStatus, trusted=st.booleans(), now=numbers, floor=numbers)
states = st.builds(
    StateReport,
    state=texts,
    at=numbers,
    seconds=numbers,
    bytes=sizes,
    figures=st.dictionaries(texts, numbers, max_size=3),
)
deployments = st.builds(
    DeploymentReport,
    id=texts,
    job_id=texts,
    operation=texts,
    models=st.lists(
        st.builds(DeployedModel, name=texts, from_=no_words, to=no_words, threshold=st.none() | numbers), max_size=3
    ).map(tuple),
    state=texts,
    code=texts,
    message=texts,
    remark=texts,
    reason=texts,
    started=numbers,
    ended=st.none() | moments,
    states=st.lists(states, max_size=3).map(tuple),
    bytes_done=sizes,
    bytes_total=sizes,
)
capture_reports = st.builds(
    CaptureReport,
    id=texts,
    at=numbers,
    model=texts,
    version=texts,
    verdict=verdicts.map(lambda verdict: verdict.value),
    state=texts,
    bytes=sizes,
)


def without_masks(frame: InspectedFrame) -> InspectedFrame:
    bare = tuple(result.model_copy(update={"mask_png": b""}) for result in frame.results)
    return frame.model_copy(update={"results": bare})


statuses = st.builds(
    Status,
    agent=agents,
    models=st.lists(models, max_size=3).map(tuple),
    deployment=st.none() | deployments,
    captures=captures,
    clock=clocks,
    counts=counts,
    last_frame=st.none() | frames.map(without_masks),
)
payloads = st.one_of(
    frames.map(without_masks),
    deployments,
    st.builds(ModelsChanged, models=st.lists(models, max_size=3).map(tuple)),
    captures,
    counts,
    agents,
)
pictures = st.one_of(
    st.builds(EncodedPicture, st.binary(min_size=1, max_size=20)),
    st.builds(lambda rgb: RawPicture(rgb, 2, 3), st.binary(min_size=18, max_size=18)),
    st.builds(
        inspection.SharedPicture, words, sizes, width=st.integers(1, 2**32 - 1), height=st.integers(1, 2**32 - 1)
    ),
)
orders = st.builds(
    inspection.InspectOrder,
    picture=pictures,
    applications=st.lists(words, max_size=3, unique=True).map(tuple),
    source=texts,
    frame_name=texts,
    with_mask=st.booleans(),
    frame_priority=st.booleans(),
)


@PATIENT
@given(frames)
def test_a_frame_comes_back_without_its_masks(frame: InspectedFrame) -> None:
    assert inspection.frame_from_proto(inspection.frame_to_proto(frame)) == without_masks(frame)


@PATIENT
@given(results)
def test_a_result_comes_back_with_its_mask(result: ModelResult) -> None:
    assert inspection.result_from_proto(inspection.result_to_proto(result)) == result


@PATIENT
@given(orders)
def test_an_order_to_inspect_comes_back(order: inspection.InspectOrder) -> None:
    assert inspection.order_from_proto(inspection.order_to_proto(order)) == order


@PATIENT
@given(frames, orders)
def test_an_answer_comes_back_with_what_the_order_said(frame: InspectedFrame, order: inspection.InspectOrder) -> None:
    came = inspection.answer_from_proto(inspection.answer_to_proto(frame), order, 5.0)
    assert came == frame.model_copy(update={"at": 5.0, "source": order.source, "name": order.frame_name})


@PATIENT
@given(statuses)
def test_a_status_comes_back(status: Status) -> None:
    assert reports.status_from_proto(reports.status_to_proto(status)) == status


@PATIENT
@given(deployments)
def test_a_deployment_comes_back(report: DeploymentReport) -> None:
    assert reports.deployment_from_proto(reports.deployment_to_proto(report)) == report


@PATIENT
@given(capture_reports)
def test_a_capture_comes_back(report: CaptureReport) -> None:
    assert reports.capture_from_proto(reports.capture_to_proto(report)) == report


@PATIENT
@given(st.builds(Event, id=sizes, at=numbers, payload=payloads))
def test_an_event_comes_back(event: Event) -> None:
    assert event_from_proto(event_to_proto(event)) == event


@PATIENT
@given(st.sampled_from(DType), st.data())
def test_a_tensor_comes_back_with_name_type_and_shape(dtype: DType, data: st.DataObject) -> None:
    shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    value = data.draw(arrays.arrays(np.dtype(dtype.value), shapes))
    message = tensors.tensor_to_proto("x", value)
    spec = tensors.spec_from_proto(message.tensor_metadata)
    assert spec == TensorSpec(name="x", dtype=dtype, shape=value.shape)
    came = tensors.tensor_from_proto(message, spec, message.byte_data)
    assert came.dtype == value.dtype
    assert came.shape == value.shape
    assert came.tobytes() == value.tobytes()


@PATIENT
@given(st.binary(max_size=64), st.sampled_from(DType), st.lists(st.integers(-1, 5), max_size=4).map(tuple))
def test_bytes_of_any_size_make_a_tensor_that_fits_or_a_clear_refusal(
    content: bytes, dtype: DType, shape: tuple[int, ...]
) -> None:
    spec = TensorSpec(name="x", dtype=dtype, shape=shape)
    message = edge.Tensor(byte_data=content)
    fixed = prod(abs(size) for size in shape) * dtype.size_bytes
    fits = len(content) % fixed == 0 and (-1 in shape or len(content) == fixed) if fixed else not content
    if fits and (content or not fixed):
        came = tensors.tensor_from_proto(message, spec, content)
        assert spec.accepts(came.dtype.name, came.shape)
        assert came.tobytes() == content
    else:
        with pytest.raises(InferenceError, match="expected") as caught:
            tensors.tensor_from_proto(message, spec, content)
        assert caught.value.code is Code.INVALID_ARGUMENT


@PATIENT
@given(st.lists(st.integers(-(2**62), 2**62), max_size=8).map(tuple), st.text(min_size=1, max_size=9))
def test_odd_shapes_and_names_of_a_model_never_break_its_description(shape: tuple[int, ...], name: str) -> None:
    spec = TensorSpec.model_construct(name=name + "\udcff", dtype=DType.FLOAT32, shape=shape)
    message = tensors.model_to_proto("m", "/models/m", [spec], [])
    assert edge.Model.FromString(message.SerializeToString()) == message


def test_a_verdict_of_a_later_protocol_is_no_result() -> None:
    assert inspection.verdict_from_proto(99) is Verdict.NO_RESULT
    assert inspection.verdict_from_proto(pb.InspectResponse().verdict) is Verdict.NO_RESULT


@pytest.mark.parametrize(
    "request_",
    [
        pb.InspectRequest(),
        pb.InspectRequest(encoded=b""),
        pb.InspectRequest(raw=pb.RawImage(width=2, height=2, rgb=b"short")),
        pb.InspectRequest(raw=pb.RawImage()),
        pb.InspectRequest(shared=pb.SharedImage(name="/x", width=0, height=4)),
        pb.InspectRequest(shared=pb.SharedImage(width=4, height=4)),
        pb.InspectRequest(encoded=b"x", applications=["a", ""]),
    ],
)
def test_an_order_without_a_whole_picture_is_refused(request_: pb.InspectRequest) -> None:
    with pytest.raises(InferenceError, match="expected") as caught:
        inspection.order_from_proto(request_)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_an_event_of_an_unknown_kind_says_so() -> None:
    with pytest.raises(InferenceError, match="kind"):
        event_from_proto(pb.Event(id=3))
