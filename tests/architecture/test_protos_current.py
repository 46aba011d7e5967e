"""The committed protobuf code says what the .proto files say; no generator is needed to see that.

``scripts/generate-protos --check`` compares byte for byte; the inherited names and numbers
themselves are held by ``tests/unit/test_protocols.py``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2
from edge_agent._proto.inference import grpc_service_pb2, model_config_pb2
from edge_agent._proto.lookoutvision import edge_agent_pb2 as lookout_pb2
from edge_agent._proto.sagemaker_edge import agent_pb2
from tests.fakes.tree import ROOT

PROTOS = {
    "edge_agent/v1/edge_agent.proto": edge_agent_pb2.DESCRIPTOR,
    "inference/grpc_service.proto": grpc_service_pb2.DESCRIPTOR,
    "inference/model_config.proto": model_config_pb2.DESCRIPTOR,
    "lookoutvision/edge_agent.proto": lookout_pb2.DESCRIPTOR,
    "sagemaker_edge/agent.proto": agent_pb2.DESCRIPTOR,
}
_TOKEN = re.compile(r"\w[\w.]*|[{}();=<>,]|\"[^\"]*\"")
# Those of a map are tokens of their own.
_BRACKET = re.compile(r" ?([<>,]) ?")
_SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
}


def written(source: str) -> set[str]:
    """Return every field, value and call of a .proto file as one line each."""
    tokens = _TOKEN.findall(re.sub(r"//[^\n]*", "", source))
    scopes: list[tuple[str, str]] = []
    statement: list[str] = []
    lines: set[str] = set()
    for token in tokens:
        if token == "{":
            scopes.append((statement[0], statement[1]) if len(statement) > 1 else ("body", ""))
            statement = []
        elif token == "}":
            scopes.pop()
            statement = []
        elif token == ";":
            lines |= set(declared(scopes, statement))
            statement = []
        else:
            statement.append(token)
    return lines


def declared(scopes: list[tuple[str, str]], words: list[str]) -> Iterator[str]:
    kinds = [kind for kind, _ in scopes]
    path = ".".join(name for kind, name in scopes if kind != "oneof")
    if "service" in kinds:
        request, answer = (part.replace("stream", "stream ") for part in "".join(words[2:]).split(")returns("))
        yield f"{path}.{words[1]} {request.lstrip('(')} -> {answer.rstrip(')')}"
    elif kinds[-1:] == ["enum"]:
        yield f"{path}.{words[0]} = {words[2]}"
    elif "message" in kinds:
        *kind, name, _, number = words
        type_ = _BRACKET.sub(r"\1", " ".join(kind))
        yield f"{path}.{name} {type_} = {number}"


def generated(file: FileDescriptor) -> set[str]:
    """Return the same of the committed code."""
    lines = {line for message in file.message_types_by_name.values() for line in of_message(message, message.name)}
    for enum in file.enum_types_by_name.values():
        lines |= {f"{enum.name}.{value.name} = {value.number}" for value in enum.values}
    for service in file.services_by_name.values():
        lines |= {f"{service.name}.{call.name} {call_line(call)}" for call in service.methods}
    return lines


def of_message(message: Descriptor, path: str) -> Iterator[str]:
    for field in message.fields:
        yield f"{path}.{field.name} {kind_of(field)} = {field.number}"
    for enum in message.enum_types:
        yield from (f"{path}.{enum.name}.{value.name} = {value.number}" for value in enum.values)
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from of_message(nested, f"{path}.{nested.name}")


def kind_of(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    if kind is not None and field.message_type is not None and kind.GetOptions().map_entry:
        key, value = (kind_of(part) for part in kind.fields)
        return f"map<{key},{value}>"
    name = kind.name if kind is not None else _SCALARS[field.type]
    # proto3 keeps the presence of an optional field in a oneof of its own, whose name begins with an underscore.
    optional = field.containing_oneof is not None and field.containing_oneof.name.startswith("_")
    return f"repeated {name}" if field.is_repeated else f"optional {name}" if optional else name


def call_line(call: Any) -> str:
    asked, answered = ("stream " if streams else "" for streams in (call.client_streaming, call.server_streaming))
    return f"{asked}{call.input_type.name} -> {answered}{call.output_type.name}"


@pytest.mark.parametrize("name", PROTOS)
def test_committed_code_has_what_the_proto_file_says(name: str) -> None:
    source = (ROOT / "protos" / name).read_text(encoding="utf-8")
    said = written(source)
    assert said == generated(PROTOS[name])
    assert len(said) > 40


@pytest.mark.parametrize("name", PROTOS)
def test_packages_are_those_of_the_proto_files(name: str) -> None:
    (package,) = re.findall(r"^package (\S+);", (ROOT / "protos" / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert PROTOS[name].package == package


def test_no_proto_file_is_left_out() -> None:
    found = {str(path.relative_to(ROOT / "protos")) for path in Path(ROOT / "protos").rglob("*.proto")}
    assert found == {*PROTOS}


def test_a_changed_number_would_be_noticed() -> None:
    source = (ROOT / "protos" / "sagemaker_edge" / "agent.proto").read_text(encoding="utf-8")
    changed = source.replace("byte_data = 4", "byte_data = 9")
    assert written(changed) ^ generated(agent_pb2.DESCRIPTOR) == {
        "Tensor.byte_data bytes = 4",
        "Tensor.byte_data bytes = 9",
    }
