"""Inherited protocols keep their names and numbers: old clients were built with them.

The tables are the published ones, written down once more as data: a field is its number, name and
type, ``*`` for a repeated one, and behind it the oneof that it belongs to.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2
from edge_agent._proto.lookoutvision import edge_agent_pb2 as lookout_pb2
from edge_agent._proto.sagemaker_edge import agent_pb2


class Protocol(NamedTuple):
    """One file as it was published."""

    file: Any
    service: str
    calls: str
    enums: Mapping[str, str]
    messages: Mapping[str, str]


SAGEMAKER = Protocol(
    agent_pb2.DESCRIPTOR,
    "AWS.SageMaker.Edge.Agent",
    "Predict LoadModel UnLoadModel ListModels DescribeModel CaptureData GetCaptureDataStatus",
    {
        "DataType": "UINT8=0 INT16=1 INT32=2 INT64=3 FLOAT16=4 FLOAT32=5 FLOAT64=6",
        "Encoding": "CSV=0 JSON=1 NONE=2 BASE64=3",
        "CaptureDataStatus": "FAILURE=0 SUCCESS=1 IN_PROGRESS=2 NOT_FOUND=3",
    },
    {
        "TensorMetadata": "1 name string, 2 data_type DataType, 3 shape int32*",
        "SharedMemoryHandle": "1 size uint64, 2 offset uint64, 3 segment_id uint64",
        "Tensor": (
            "1 tensor_metadata TensorMetadata, 4 byte_data bytes data, 5 shared_memory_handle SharedMemoryHandle data"
        ),
        "Model": (
            "1 url string, 2 name string, 3 input_tensor_metadatas TensorMetadata*, "
            "4 output_tensor_metadatas TensorMetadata*"
        ),
        "PredictRequest": "1 name string, 2 tensors Tensor*",
        "PredictResponse": "1 tensors Tensor*",
        "LoadModelRequest": "1 url string, 2 name string",
        "LoadModelResponse": "1 model Model",
        "UnLoadModelRequest": "1 name string",
        "UnLoadModelResponse": "",
        "ListModelsRequest": "",
        "ListModelsResponse": "1 models Model*",
        "DescribeModelRequest": "1 name string",
        "DescribeModelResponse": "1 model Model",
        "AuxilaryData": (
            "1 name string, 2 encoding Encoding, 3 byte_data bytes data, 4 shared_memory_handle SharedMemoryHandle data"
        ),
        "CaptureDataRequest": (
            "1 model_name string, 2 capture_id string, 3 inference_timestamp Timestamp, 4 input_tensors Tensor*, "
            "5 output_tensors Tensor*, 6 inputs AuxilaryData*, 7 outputs AuxilaryData*"
        ),
        "CaptureDataResponse": "",
        "GetCaptureDataStatusRequest": "1 capture_id string",
        "GetCaptureDataStatusResponse": "1 status CaptureDataStatus",
        "Timestamp": "1 seconds int64, 2 nanos int32",
    },
)
_DESCRIPTION = (
    "1 model_component string, 2 lookout_vision_model_arn string, 3 status ModelStatus, 4 status_message string"
)
LOOKOUT = Protocol(
    lookout_pb2.DESCRIPTOR,
    "AWS.LookoutVision.EdgeAgent",
    "ListModels DescribeModel StartModel StopModel DetectAnomalies",
    {"ModelStatus": "STOPPED=0 STARTING=1 RUNNING=2 FAILED=3 STOPPING=4"},
    {
        "SharedMemoryHandle": "1 name string, 2 size uint64, 3 offset uint64",
        "Bitmap": (
            "1 width int32, 2 height int32, 3 byte_data bytes data, 4 shared_memory_handle SharedMemoryHandle data"
        ),
        "AnomalyMaskParams": "2 shared_memory_handle SharedMemoryHandle",
        "PixelAnomaly": "1 total_percentage_area float, 2 hex_color string",
        "Anomaly": "1 name string, 2 pixel_anomaly PixelAnomaly",
        "DetectAnomaliesRequest": (
            "1 model_component string, 2 bitmap Bitmap, 3 anomaly_mask_params AnomalyMaskParams"
        ),
        "DetectAnomalyResult": (
            "1 is_anomalous bool, 2 confidence float, 3 anomaly_mask Bitmap, 4 anomalies Anomaly*, "
            "5 anomaly_score float, 6 anomaly_threshold float"
        ),
        "DetectAnomaliesResponse": "1 detect_anomaly_result DetectAnomalyResult",
        "ModelDescription": _DESCRIPTION,
        "ModelMetadata": _DESCRIPTION,
        "StartModelRequest": "1 model_component string",
        "StartModelResponse": "1 status ModelStatus",
        "StopModelRequest": "1 model_component string",
        "StopModelResponse": "1 status ModelStatus",
        "ListModelsRequest": "",
        "ListModelsResponse": "1 models ModelMetadata*",
        "DescribeModelRequest": "1 model_component string",
        "DescribeModelResponse": "1 model_description ModelDescription",
    },
)
INHERITED = {"sagemaker": SAGEMAKER, "lookout": LOOKOUT}
OWN = {
    "Inspection": "Inspect ReportCamera",
    "Operator": (
        "GetStatus WatchEvents ListDeployments RollBack Remove Configure Install GetFrame ListFrames ListCaptures "
        "GetCapture LabelCapture PauseCaptures ListShifts ResetCounts CheckGoldenParts ListLogs "
        "SimilarParts"
    ),
}
TYPES = {2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 12: "bytes"}


def field_line(field: Any) -> str:
    kind = field.message_type or field.enum_type
    type_ = kind.name if kind else TYPES[field.type]
    group = f" {field.containing_oneof.name}" if field.containing_oneof else ""
    return f"{field.number} {field.name} {type_}{'*' if field.is_repeated else ''}{group}"


def parts(of: str) -> list[Any]:
    return [
        pytest.param(tables.file, name, expected, id=f"{protocol}-{name}")
        for protocol, tables in INHERITED.items()
        for name, expected in getattr(tables, of).items()
    ]


@pytest.mark.parametrize("protocol", INHERITED.values(), ids=INHERITED)
def test_an_inherited_service_has_its_calls_in_order(protocol: Protocol) -> None:
    (service,) = protocol.file.services_by_name.values()
    assert service.full_name == protocol.service
    assert [method.name for method in service.methods] == protocol.calls.split()
    for method in service.methods:
        assert method.input_type.name == f"{method.name}Request"
        assert method.output_type.name == f"{method.name}Response"
        assert (method.client_streaming, method.server_streaming) == (False, False)


@pytest.mark.parametrize("protocol", INHERITED.values(), ids=INHERITED)
def test_inherited_messages_are_all_there_and_no_others(protocol: Protocol) -> None:
    assert set(protocol.file.message_types_by_name) == set(protocol.messages)
    assert set(protocol.file.enum_types_by_name) == set(protocol.enums)
    assert list(protocol.file.dependencies) == []
    for message in protocol.file.message_types_by_name.values():
        assert (list(message.nested_types), list(message.enum_types)) == ([], [])


@pytest.mark.parametrize(("file", "name", "expected"), parts("messages"))
def test_inherited_fields_keep_names_numbers_types_and_labels(file: Any, name: str, expected: str) -> None:
    fields = file.message_types_by_name[name].fields
    assert ", ".join(field_line(field) for field in fields) == expected


@pytest.mark.parametrize(("file", "name", "expected"), parts("enums"))
def test_inherited_enums_keep_their_values(file: Any, name: str, expected: str) -> None:
    values = file.enum_types_by_name[name].values
    assert " ".join(f"{value.name}={value.number}" for value in values) == expected


def test_the_verdict_that_nobody_set_stops_the_part() -> None:
    assert edge_agent_pb2.Verdict.Name(0) == "NO_RESULT"


def test_the_operators_calls_are_a_service_of_their_own() -> None:
    services = edge_agent_pb2.DESCRIPTOR.services_by_name
    assert edge_agent_pb2.DESCRIPTOR.package == "edge_agent.v1"
    assert {name: " ".join(call.name for call in service.methods) for name, service in services.items()} == OWN
