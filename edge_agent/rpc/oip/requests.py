"""One inference: from its request to arrays, and from a model's outputs to the response."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Manifest
from edge_agent.rpc.oip.models import Models
from edge_agent.rpc.oip.parameters import asked_of, place_of
from edge_agent.rpc.oip.ports import VersionedDataPlane
from edge_agent.rpc.oip.regions import Place, Regions
from edge_agent.rpc.shared_memory import LIMIT_BYTES
from edge_agent.wire.oip import tensors as wire
from edge_agent.wire.oip.requests import InferRequest

# No manifest has more.
_TENSORS_LIMIT = 64


class _Wanted(NamedTuple):
    name: str
    place: Place | None


class Inferences:
    """Answers ModelInfer's requests, however they came.

    Args:
        models: finds the version that is meant.
        data_plane: answers tensors.
        regions: shared memory that clients registered.
    """

    def __init__(self, models: Models, data_plane: VersionedDataPlane, regions: Regions) -> None:
        self._models = models
        self._data_plane = data_plane
        self._regions = regions

    def answer(self, came: InferRequest, limit_s: float) -> pb.ModelInferResponse:
        """Return the outputs that were asked for; those that go into shared memory are there by then.

        Raises:
            InferenceError: as ``inference.Session.infer``.
        """
        request = came.around
        loaded = self._models.find(request.model_name, request.model_version)
        _check_names(request, loaded.manifest if loaded is not None else None)
        wanted = self._wanted(request)
        tensors = self._inputs(came)
        asked = asked_of(request.parameters, limit_s)
        model, outputs = self._data_plane.infer(
            request.model_name,
            tensors,
            timeout_s=asked.timeout_s,
            priority=asked.priority,
            version=request.model_version or None,
        )
        response = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
        _fill(response, outputs, wanted or [_Wanted(name, None) for name in outputs])
        return response

    def _inputs(self, came: InferRequest) -> dict[str, NDArray[Any]]:
        contents = came.raw_input_contents
        raw: Iterator[bytes | memoryview] = iter(contents)
        inputs: dict[str, NDArray[Any]] = {}
        total = used = 0
        for tensor in came.around.inputs:
            layout = wire.layout_from_proto(tensor)
            total += layout.size_bytes
            if total > LIMIT_BYTES:
                message = f"inputs: expected at most {LIMIT_BYTES} bytes in one request, came {total}"
                raise InferenceError(Code.INVALID_ARGUMENT, message)
            place = place_of(tensor.parameters, self._regions, f"input {wire.shown(tensor.name)}")
            if place is None and contents:
                used += 1
            inputs[tensor.name] = _tensor(tensor, layout, place, raw)
        if used != len(contents):
            message = f"raw_input_contents: expected {used}, one for each input that is not in shared memory, came more"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        return inputs

    def _wanted(self, request: pb.ModelInferRequest) -> list[_Wanted]:
        wanted = []
        for output in request.outputs:
            what = f"output {wire.shown(output.name)}"
            if "classification" in output.parameters:
                message = f"{what}: classification is not offered here, expected the tensor to be asked for"
                raise InferenceError(Code.INVALID_ARGUMENT, message)
            wanted.append(_Wanted(output.name, place_of(output.parameters, self._regions, what)))
        return wanted


def _tensor(
    tensor: wire.InputTensor, layout: wire.Layout, place: Place | None, raw: Iterator[bytes | memoryview]
) -> NDArray[Any]:
    if place is not None:
        if tensor.HasField("contents"):
            message = f"input {wire.shown(tensor.name)}: expected no contents beside shared memory"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        wire.check_size(layout, place.byte_size)
        return wire.tensor_from_bytes(layout, place.read())
    content = next(raw, None)
    if content is None:
        return wire.tensor_from_contents(layout, tensor.contents)
    if tensor.HasField("contents"):
        message = (
            f"contents field must not be specified when using raw_input_contents for input {wire.shown(tensor.name)}"
        )
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    return wire.tensor_from_bytes(layout, content)


def _check_names(request: pb.ModelInferRequest, manifest: Manifest | None) -> None:
    """Check inputs and outputs by name; without a manifest the model is being replaced, and its session will tell."""
    model = wire.shown(request.model_name)
    for what, tensors in (("input", request.inputs), ("output", request.outputs)):
        if len(tensors) > _TENSORS_LIMIT:
            message = f"expected at most {_TENSORS_LIMIT} {what}s for model {model}, came {len(tensors)}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        names = [tensor.name for tensor in tensors]
        known = [*dict.fromkeys(names)]
        if len(known) != len(names):
            raise InferenceError(Code.INVALID_ARGUMENT, f"expected each {what} of model {model} once, came one twice")
        specs = () if manifest is None else manifest.inputs if what == "input" else manifest.outputs
        expected = {spec.name for spec in specs}
        strange = next((name for name in known if name not in expected), None)
        if manifest is not None and strange is not None:
            message = (
                f"unexpected inference {what} {wire.shown(strange)} for model {model}, expected {sorted(expected)}"
            )
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        if what == "input" and manifest is not None and len(known) < len(expected):
            missing = sorted(expected.difference(known))
            message = (
                f"expected {len(expected)} inputs but got {len(known)} inputs for model {model}, missing {missing}"
            )
            raise InferenceError(Code.INVALID_ARGUMENT, message)


def _fill(response: pb.ModelInferResponse, outputs: Mapping[str, NDArray[Any]], wanted: list[_Wanted]) -> None:
    """Put outputs into the response or into shared memory: what does not fit is noticed before anything is written."""
    for name, place in wanted:
        value = outputs.get(name)
        if value is None:
            message = f"unexpected inference output {wire.shown(name)}, expected {sorted(outputs)}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        if place is not None and value.nbytes > place.byte_size:
            message = (
                f"shared memory size specified with the request for output {wire.shown(name)} ({place.byte_size} "
                f"bytes) should be at least {value.nbytes} bytes to hold the results"
            )
            raise InferenceError(Code.INVALID_ARGUMENT, message)
    for name, place in wanted:
        content = wire.tensor_to_bytes(outputs[name])
        told = wire.tensor_to_proto(name, outputs[name])
        if place is not None:
            place.write(content)
            told.parameters["shared_memory_region"].string_param = place.region.name
            told.parameters["shared_memory_byte_size"].int64_param = len(content)
            if place.offset:
                told.parameters["shared_memory_offset"].int64_param = place.offset
        response.outputs.append(told)
        # Clients count outputs and contents in step.
        response.raw_output_contents.append(b"" if place is not None else content)
