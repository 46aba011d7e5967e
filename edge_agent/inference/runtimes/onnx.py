"""The door to ONNX Runtime, and its only importer.

Imported in workers and builders; in the agent itself only with ``isolation = "inline"``.
What runs on a GPU is untested on hardware; see ``onnx_providers``.
"""

import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Before the library, and with it CUDA, is loaded: kernels come into memory when they are first used.
os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from edge_agent.errors import ActivationError, Code, InferenceError
from edge_agent.formats import DType, TensorSpec
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.onnx_providers import (
    CPU,
    PROFILE_FILE,
    TENSORRT,
    Profile,
    fallback_of,
    profile_from_json,
    profile_of,
    profile_to_json,
    provider_options,
    wanted_providers,
)
from edge_agent.inference.runtimes.table import Tuning

_ONLY_ERRORS = 3
_PRIVATE_MODE = 0o700
_GPU_DEVICE = "cuda"
_PROCESSOR = "cpu"

# The native errors have no common base of their own; RuntimeError and ValueError come from the Python part.
_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)
_DTYPES = {"float": "float32", "double": "float64"}


class _Loaded(NamedTuple):
    session: ort.InferenceSession
    fallback: str


class OnnxEngine:
    """One graph in memory."""

    def __init__(self, source: Source, tuning: Tuning) -> None:
        """Load it.

        Args:
            source: the ONNX file's bytes.
            tuning: how it is to be executed.

        Raises:
            ActivationError: LOAD_FAILED: the runtime refuses the file.
        """
        options = _options(tuning.threads)
        if source.optimised and _wanted(tuning)[0] == CPU:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session, self.fallback = _load(source, options, tuning, Code.LOAD_FAILED)
        self.provider = str(self._session.get_providers()[0])
        self._names = [output.name for output in self._session.get_outputs()]
        self._bound = None if self.provider == CPU else _Bound(self._session, _GPU_DEVICE)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the graph's inputs as it tells them."""
        return tuple(_spec(node) for node in self._session.get_inputs())

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return the graph's outputs as it tells them."""
        return tuple(_spec(node) for node in self._session.get_outputs())

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the graph; several threads may.

        Raises:
            InferenceError: INTERNAL: the runtime failed.
        """
        try:
            values = self._session.run(self._names, dict(tensors)) if self._bound is None else self._bound.run(tensors)
        except _ERRORS as exc:
            raise InferenceError(Code.INTERNAL, f"ONNX Runtime: {exc}") from exc
        return {name: np.asarray(value) for name, value in zip(self._names, values, strict=True)}


class _Bound:
    """Runs with inputs that stay on the device from one call to the next: each thread has its own.

    onnxruntime.ai/docs/api/python/api_summary.html, "Data inputs and outputs": a value on the device
    is made once and updated in place, in place of being made anew for each call. Untested on hardware;
    tested with the processor as the device.
    """

    def __init__(self, session: ort.InferenceSession, device: str) -> None:
        self._session = session
        self._device = device
        self._outputs = [output.name for output in session.get_outputs()]
        self._own = threading.local()

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Return the outputs, in the graph's order."""
        binding = self._binding()
        for name, tensor in tensors.items():
            self._put(binding, name, np.ascontiguousarray(tensor))
        for name in self._outputs:
            binding.bind_output(name, _PROCESSOR)  # anew each time: what the last call got belongs to its caller
        self._session.run_with_iobinding(binding)
        values: Sequence[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return values

    def _binding(self) -> ort.IOBinding:
        binding: ort.IOBinding | None = getattr(self._own, "binding", None)
        if binding is None:
            binding = self._own.binding = self._session.io_binding()
            self._own.values = {}
        return binding

    def _put(self, binding: ort.IOBinding, name: str, tensor: NDArray[Any]) -> None:
        form, value = self._own.values.get(name, (None, None))
        if form == (tensor.shape, tensor.dtype):
            value.update_inplace(tensor)
            return
        value = ort.OrtValue.ortvalue_from_numpy(tensor, self._device, 0)
        self._own.values[name] = ((tensor.shape, tensor.dtype), value)
        binding.bind_ortvalue_input(name, value)


def load(source: Source, tuning: Tuning) -> OnnxEngine:
    """Return the graph in memory; see ``OnnxEngine``."""
    return OnnxEngine(source, tuning)


def build(source: Source, target: Path, tuning: Tuning) -> None:
    """Write the graph, optimised for this machine, to ``target``.

    For a GPU the graph stays as it is: ONNX Runtime cannot write what TensorRT compiled (it says so),
    and a graph that was arranged for the CPU, should the GPU be away now, would keep the GPU out later.
    What TensorRT compiled goes into ``source.caches``.

    Raises:
        ActivationError: BUILD_FAILED: the runtime refuses the file.
    """
    wanted = _wanted(tuning)
    options = _options(1)
    if wanted[0] == CPU:
        options.optimized_model_filepath = str(target)
        _load(source, options, tuning, Code.BUILD_FAILED)
        return
    if wanted[0] == TENSORRT and source.caches is not None:
        _prepare(source, source.caches)
    fallback = _load(source, options, tuning, Code.BUILD_FAILED).fallback
    if fallback and source.caches is not None:
        shutil.rmtree(source.caches, ignore_errors=True)
    target.write_bytes(source.content)


def providers() -> tuple[str, ...]:
    """Return the execution providers of the installed library, the preferred first."""
    # The CPU package lists Azure's, which sends pictures to a service: not for us.
    return tuple(name for name in ort.get_available_providers() if name != "AzureExecutionProvider")


def _wanted(tuning: Tuning) -> tuple[str, ...]:
    return wanted_providers(tuning.providers, providers())


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ONLY_ERRORS
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # On few cores a spinning thread takes the time of the one that works.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _prepare(source: Source, caches: Path) -> None:
    """Make TensorRT's directory, and note the shapes that it is to prepare for."""
    caches.mkdir(mode=_PRIVATE_MODE)
    options = _options(1)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = _open(source, options, [(CPU, {})], Code.BUILD_FAILED)
    profile = profile_of([_spec(node) for node in session.get_inputs()])
    (caches / PROFILE_FILE).write_bytes(profile_to_json(profile))


def _load(source: Source, options: ort.SessionOptions, tuning: Tuning, code: Code) -> _Loaded:
    """Load with what was wanted, or with what comes after it; never with something else without saying so."""
    wanted, here = _wanted(tuning), providers()
    caches = source.caches if source.caches is not None and source.caches.is_dir() else None
    profile = profile_from_json((caches / PROFILE_FILE).read_bytes()) if caches is not None else Profile()
    chain = [
        (name, provider_options(name, tuning.precision, str(caches or ""), profile)) for name in wanted if name in here
    ]
    session, fault = _start(source, options, chain, code)
    return _Loaded(session, fallback_of(wanted, here, str(session.get_providers()[0]), fault))


def _start(
    source: Source, options: ort.SessionOptions, chain: Sequence[tuple[str, dict[str, Any]]], code: Code
) -> tuple[ort.InferenceSession, str]:
    """Return a session of the first of ``chain`` that can be had, and what kept the very first away."""
    try:
        return _open(source, options, chain, code), ""
    except ActivationError as exc:
        if chain[0][0] == CPU:
            raise
        return _start(source, options, chain[1:], code)[0], exc.message


def _open(
    source: Source, options: ort.SessionOptions, chain: Sequence[tuple[str, dict[str, Any]]], code: Code
) -> ort.InferenceSession:
    # Read from memory, the graph has no directory of its own that its external data could lie in.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(source.folder))
    try:
        # Its own fallback prints and goes on, also in the middle of a run: ours is told.
        session = ort.InferenceSession(source.content, options, providers=[*chain], enable_fallback=0)
        session.disable_fallback()
    except _ERRORS as exc:
        raise ActivationError(code, f"ONNX Runtime: {exc}") from exc
    return session


def _spec(node: Any) -> TensorSpec:
    word = str(node.type).removeprefix("tensor(").removesuffix(")")
    try:
        dtype = DType(_DTYPES.get(word, word))
    except ValueError as exc:
        raise ActivationError(Code.LOAD_FAILED, f"{node.name}: expected a tensor of numbers, came {node.type}") from exc
    return TensorSpec(
        name=node.name, dtype=dtype, shape=tuple(size if isinstance(size, int) else -1 for size in node.shape)
    )
