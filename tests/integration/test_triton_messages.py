"""Names, numbers, types and labels of our messages are those in Triton's client, which lives in its own environment."""

import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from edge_agent._proto.inference import grpc_service_pb2, model_config_pb2
from edge_agent.wire.oip.models import Execution, config_to_proto
from tests.fakes.releases import make_release
from tests.fakes.triton import triton

LEFT_OUT = re.compile(r"^(rpc )?(Cuda|TraceSetting|LogSettings)")
NOWHERE = "127.0.0.1:1"


def lines(files: list[FileDescriptorProto]) -> set[str]:
    """Return every call, field and value of the files as one line each; where they lie is of no matter."""
    found: set[str] = set()
    for file in files:
        assert file.package == "inference"
        for message in file.message_type:
            found |= set(of_message(message, message.name))
        for enum in file.enum_type:
            found |= set(of_enum(enum, enum.name))
        for service in file.service:
            for call in service.method:
                streams = f"{call.client_streaming:d}{call.server_streaming:d}"
                found.add(f"rpc {call.name} of {service.name}: {call.input_type} -> {call.output_type} {streams}")
    return found


def of_message(message: DescriptorProto, path: str) -> Iterator[str]:
    yield f"{path} map={message.options.map_entry:d}"
    for field in message.field:
        group = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        label = FieldDescriptorProto.Label.Name(field.label)
        kind = field.type_name or FieldDescriptorProto.Type.Name(field.type)
        packed = field.options.packed if field.options.HasField("packed") else "default"
        yield (
            f"{path}.{field.name} = {field.number}: {label} {kind} oneof={group} "
            f"optional={field.proto3_optional:d} packed={packed} json={field.json_name}"
        )
    for enum in message.enum_type:
        yield from of_enum(enum, f"{path}.{enum.name}")
    for nested in message.nested_type:
        yield from of_message(nested, f"{path}.{nested.name}")


def of_enum(enum: EnumDescriptorProto, path: str) -> Iterator[str]:
    yield from (f"{path}.{value.name} = {value.number}" for value in enum.value)


def parsed(serialized: bytes) -> FileDescriptorProto:
    return FileDescriptorProto.FromString(serialized)


@pytest.fixture(scope="module")
def theirs() -> list[FileDescriptorProto]:
    with triton(NOWHERE) as client:
        return [parsed(bytes.fromhex(content)) for content in client.ask("descriptors")]


@pytest.fixture(scope="module")
def ours() -> list[FileDescriptorProto]:
    return [parsed(module.DESCRIPTOR.serialized_pb) for module in (grpc_service_pb2, model_config_pb2)]


def test_every_message_field_value_and_call_is_theirs_but_for_what_is_left_out(
    ours: list[FileDescriptorProto], theirs: list[FileDescriptorProto]
) -> None:
    wanted = {line for line in lines(theirs) if not LEFT_OUT.match(line)}
    assert lines(ours) == wanted
    assert len(wanted) > 400


def test_what_is_left_out_is_cuda_memory_traces_and_log_settings_and_nothing_else(
    ours: list[FileDescriptorProto], theirs: list[FileDescriptorProto]
) -> None:
    calls = {call.name for file in theirs for service in file.service for call in service.method}
    kept = {call.name for file in ours for service in file.service for call in service.method}
    assert calls - kept == {
        "CudaSharedMemoryStatus",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
        "TraceSetting",
        "LogSettings",
    }
    assert len(kept) == 15


def test_a_changed_number_would_be_noticed(ours: list[FileDescriptorProto]) -> None:
    changed = [parsed(file.SerializeToString()) for file in ours]
    message = next(message for message in changed[0].message_type if message.name == "ModelInferRequest")
    message.field[-1].number = 99
    raw = "ModelInferRequest.raw_input_contents = "
    assert {line.split(":")[0] for line in lines(ours) ^ lines(changed) if line.startswith(raw)} == {
        f"{raw}7",
        f"{raw}99",
    }


def test_a_configuration_that_tritons_class_reads_is_the_one_that_was_written() -> None:
    config = config_to_proto(make_release("unet", "2").manifest, Execution("CPUExecutionProvider", 3))
    written = config.SerializeToString(deterministic=True)
    with triton(NOWHERE) as client:
        assert client.ask("read_config", serialized=written.hex()) == written.hex()
