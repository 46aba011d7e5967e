"""The door to OpenVINO, and its only importer.

Imported in workers and builders; in the agent itself only with ``isolation = "inline"``.

Names of properties and calls are those of OpenVINO's Python API, docs.openvino.ai: "CPU device",
"GPU device" (supported properties), ``openvino.Core`` (``read_model``, ``compile_model``,
``import_model``), ``openvino.CompiledModel`` (``export_model``, ``create_infer_request``),
``openvino.InferRequest.infer``. On a GPU it was never run: untested on hardware.
"""

import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

# Importing the library sends an event to its maker's statistics (openvino/tools/ovc/__init__.py); where its
# package for that cannot be imported, it takes a stub that sends nothing. A device on a line sends nothing.
if "openvino_telemetry" not in sys.modules:
    sys.modules["openvino_telemetry"] = cast("Any", None)

import openvino as ov

from edge_agent.errors import ActivationError, Code, InferenceError
from edge_agent.formats import DType, TensorSpec
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.table import Tuning

CPU, GPU = "CPU", "GPU"
# Left unset, the CPU takes bf16 where the machine has it, and scores move by a hundredth. A quantised
# graph says itself what runs in int8; the rest of it stays exact.
_PRECISIONS = {"fp32": "f32", "fp16": "f16", "int8": "f32"}

# What the bindings raise: C++ exceptions come as RuntimeError, wrong arguments as the others.
_ERRORS = (RuntimeError, ValueError, TypeError, OverflowError)


class OpenVinoEngine:
    """One graph in memory."""

    def __init__(self, compiled: ov.CompiledModel, provider: str, fallback: str) -> None:
        """Take a graph that was compiled for ``provider``.

        Raises:
            ActivationError: LOAD_FAILED: it takes or gives something else than tensors of numbers.
        """
        self.provider = provider
        self.fallback = fallback
        self._compiled = compiled
        self._own = threading.local()
        self._inputs = tuple(spec for port in compiled.inputs for spec in _specs(port))
        self._wide = [spec.name for spec in self._inputs if spec.dtype is DType.INT64]
        self._outputs = [(number, spec) for number, port in enumerate(compiled.outputs) for spec in _specs(port)]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the graph's inputs as it tells them."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return the graph's outputs as it tells them, each under every name that it has."""
        return tuple(spec for _, spec in self._outputs)

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the graph; several threads may, each has a request of its own.

        Raises:
            InferenceError: INTERNAL: the runtime failed; INVALID_ARGUMENT: it cannot compute with a number.
        """
        for name in self._wide:
            _check_fits(name, tensors[name])
        try:
            request = self._request()
            # Shared: the inputs are read where they lie. The outputs belong to the request, and are copied.
            results = request.infer(dict(tensors), share_inputs=True, share_outputs=False)
            return {spec.name: np.asarray(results[number]) for number, spec in self._outputs}
        except _ERRORS as exc:
            raise InferenceError(Code.INTERNAL, f"OpenVINO: {exc}") from exc

    def _request(self) -> ov.InferRequest:
        request: ov.InferRequest | None = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        return request


def load(source: Source, tuning: Tuning) -> OpenVinoEngine:
    """Return the graph in memory, from its engine or from the model.

    Raises:
        ActivationError: LOAD_FAILED: the runtime refuses it.
    """
    core, (device, fallback) = ov.Core(), _device(tuning.providers)
    try:
        if source.optimised:
            # An engine does not keep them: without, it would run in bf16 on all cores.
            compiled = core.import_model(source.content, device, _properties(device, tuning))
        else:
            compiled = _compile(core, source, device, tuning)
        return OpenVinoEngine(compiled, device, fallback)
    except _ERRORS as exc:
        raise ActivationError(Code.LOAD_FAILED, f"OpenVINO: {exc}") from exc


def build(source: Source, target: Path, tuning: Tuning) -> None:
    """Compile the graph for this machine into ``target``.

    Raises:
        ActivationError: BUILD_FAILED: the runtime refuses the file.
    """
    device, _ = _device(tuning.providers)
    try:
        content = _compile(ov.Core(), source, device, tuning).export_model()
    except _ERRORS as exc:
        raise ActivationError(Code.BUILD_FAILED, f"OpenVINO: {exc}") from exc
    target.write_bytes(content.getvalue())


def providers() -> tuple[str, ...]:
    """Return the devices of this machine, the preferred first."""
    return tuple(sorted(_devices(), key=lambda name: name != CPU))


def _devices() -> tuple[str, ...]:
    return tuple(ov.Core().available_devices)


def _compile(core: ov.Core, source: Source, device: str, tuning: Tuning) -> ov.CompiledModel:
    model = core.read_model(source.content, source.weights) if source.weights else core.read_model(source.content)
    return core.compile_model(model, device, _properties(device, tuning))


def _properties(device: str, tuning: Tuning) -> dict[str, Any]:
    # CACHE_DIR stays unset: what lies there is believed whoever wrote it. Engines are kept here, with a MAC.
    common = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[tuning.precision],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return common | ({"INFERENCE_NUM_THREADS": tuning.threads} if device == CPU else {})


def _device(wanted: Iterable[str]) -> tuple[str, str]:
    """Return what executes here, and what was wanted instead."""
    ours = [name for name in wanted if name in (CPU, GPU)]
    here = _devices()
    found = next((name for name in ours if _is_here(name, here)), CPU)
    if not ours or found == ours[0]:
        return found, ""
    return found, f"expected {ours[0]}, it runs on {found}: OpenVINO finds only {', '.join(here)}"


def _is_here(name: str, devices: Iterable[str]) -> bool:
    # Of several GPUs each has a number: GPU.0, GPU.1; GPU alone is the first.
    return any(device == name or device.startswith(f"{name}.") for device in devices)


def _check_fits(name: str, tensor: NDArray[Any]) -> None:
    """Refuse what would silently become another number: the devices compute int64 in 32 bits."""
    limits = np.iinfo(np.int32)
    least, most = tensor.min(), tensor.max()
    if least < limits.min or most > limits.max:
        message = f"input {name}: expected int32 numbers, as OpenVINO computes int64, came {least} to {most}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)


def _specs(port: Any) -> Iterable[TensorSpec]:
    word = port.element_type.to_dtype().name
    try:
        dtype = DType(word)
    except ValueError as exc:
        message = f"{port.any_name}: expected a tensor of numbers, came {port.element_type}"
        raise ActivationError(Code.LOAD_FAILED, message) from exc
    shape = tuple(size.get_length() if size.is_static else -1 for size in port.partial_shape)
    for name in sorted(port.names):
        yield TensorSpec(name=name, dtype=dtype, shape=shape)
