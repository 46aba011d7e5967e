"""Which version a request for loading names, in whatever order its parameters come."""

import json

import pytest

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.oip.control import _version


def request(**texts: str) -> pb.RepositoryModelLoadRequest:
    parameters = {name: pb.ModelRepositoryParameter(string_param=text) for name, text in texts.items()}
    return pb.RepositoryModelLoadRequest(model_name="unet", parameters=parameters)


def policy(version: int) -> str:
    return json.dumps({"version_policy": {"specific": {"versions": [version]}}})


@pytest.mark.parametrize(
    ("texts", "version"),
    [
        ({}, None),
        ({"version": "2"}, "2"),
        ({"config": policy(2)}, "2"),
        ({"version": "2", "config": policy(2)}, "2"),
    ],
)
def test_a_version_is_named_plainly_or_by_its_policy(texts: dict[str, str], version: str | None) -> None:
    assert _version(request(**texts)) == version


def test_two_names_for_two_versions_are_refused() -> None:
    with pytest.raises(InferenceError, match="expected one version, came '1' and, in config, '2'") as refused:
        _version(request(version="1", config=policy(2)))
    assert refused.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("other", ["a", "file:1/model.onnx", "z"])
def test_what_is_no_version_is_refused_first_whatever_stands_beside_it(other: str) -> None:
    with pytest.raises(InferenceError, match="only versions that the device's store holds"):
        _version(request(**{other: "x", "config": '{"backend": "onnxruntime"}', "version": "1"}))
