"""Inherited protocols keep their names and numbers: old clients were built with them."""

from typing import Any

import pytest

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2
from edge_agent._proto.sagemaker_edge import agent_pb2

ENUMS = {
    "DataType": "UINT8=0 INT16=1 INT32=2 INT64=3 FLOAT16=4 FLOAT32=5 FLOAT64=6",
    "Encoding": "CSV=0 JSON=1 NONE=2 BASE64=3",
    "CaptureDataStatus": "FAILURE=0 SUCCESS=1 IN_PROGRESS=2 NOT_FOUND=3",
}
MESSAGES = {
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
}
CALLS = "Predict LoadModel UnLoadModel ListModels DescribeModel CaptureData GetCaptureDataStatus"
TYPES = {3: "int64", 4: "uint64", 5: "int32", 9: "string", 12: "bytes"}


def field_line(field: Any) -> str:
    kind = field.message_type or field.enum_type
    type_ = kind.name if kind else TYPES[field.type]
    group = f" {field.containing_oneof.name}" if field.containing_oneof else ""
    return f"{field.number} {field.name} {type_}{'*' if field.is_repeated else ''}{group}"


def test_sagemaker_edges_service_has_its_seven_calls_in_order() -> None:
    service = agent_pb2.DESCRIPTOR.services_by_name["Agent"]
    assert service.full_name == "AWS.SageMaker.Edge.Agent"
    assert [method.name for method in service.methods] == CALLS.split()
    for method in service.methods:
        assert method.input_type.name == f"{method.name}Request"
        assert method.output_type.name == f"{method.name}Response"
        assert (method.client_streaming, method.server_streaming) == (False, False)


def test_sagemaker_edges_messages_are_all_there_and_no_others() -> None:
    assert set(agent_pb2.DESCRIPTOR.message_types_by_name) == set(MESSAGES)
    assert set(agent_pb2.DESCRIPTOR.enum_types_by_name) == set(ENUMS)
    assert list(agent_pb2.DESCRIPTOR.dependencies) == []


@pytest.mark.parametrize("name", MESSAGES)
def test_sagemaker_edges_fields_keep_names_numbers_and_types(name: str) -> None:
    fields = agent_pb2.DESCRIPTOR.message_types_by_name[name].fields
    assert ", ".join(field_line(field) for field in fields) == MESSAGES[name]


@pytest.mark.parametrize("name", ENUMS)
def test_sagemaker_edges_enums_keep_their_values(name: str) -> None:
    values = agent_pb2.DESCRIPTOR.enum_types_by_name[name].values
    assert " ".join(f"{value.name}={value.number}" for value in values) == ENUMS[name]


def test_the_verdict_that_nobody_set_stops_the_part() -> None:
    assert edge_agent_pb2.Verdict.Name(0) == "NO_RESULT"


def test_the_operators_calls_are_a_service_of_their_own() -> None:
    services = edge_agent_pb2.DESCRIPTOR.services_by_name
    assert {name: [method.name for method in service.methods] for name, service in services.items()} == {
        "Inspection": ["Inspect"],
        "Operator": [
            "GetStatus",
            "WatchEvents",
            "ListDeployments",
            "RollBack",
            "Remove",
            "Configure",
            "Install",
            "GetFrame",
            "ListCaptures",
        ],
    }
