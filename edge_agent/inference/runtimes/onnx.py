"""The door to ONNX Runtime, and its only importer.

Imported in workers and builders; in the agent itself only with ``isolation = "inline"``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

from edge_agent.errors import ActivationError, Code, InferenceError
from edge_agent.formats import DType, TensorSpec
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.table import Tuning

CPU = "CPUExecutionProvider"
_PREFERRED = ("CUDAExecutionProvider",)
_ONLY_ERRORS = 3

# The native errors have no common base of their own; RuntimeError and ValueError come from the Python part.
_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)
_DTYPES = {"float": "float32", "double": "float64"}


class OnnxEngine:
    """One graph in memory."""

    fallback = ""

    def __init__(self, source: Source, tuning: Tuning) -> None:
        """Load it.

        Args:
            source: the ONNX file's bytes.
            tuning: how it is to be executed.

        Raises:
            ActivationError: LOAD_FAILED: the runtime refuses the file, or fell back to the CPU.
        """
        options = _options(tuning.threads)
        if source.optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = _load(source, options, Code.LOAD_FAILED)
        self.provider = str(self._session.get_providers()[0])
        self._names = [output.name for output in self._session.get_outputs()]

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
            values = self._session.run(self._names, dict(tensors))
        except _ERRORS as exc:
            raise InferenceError(Code.INTERNAL, f"ONNX Runtime: {exc}") from exc
        return {name: np.asarray(value) for name, value in zip(self._names, values, strict=True)}


def load(source: Source, tuning: Tuning) -> OnnxEngine:
    """Return the graph in memory; see ``OnnxEngine``."""
    return OnnxEngine(source, tuning)


def build(source: Source, target: Path, tuning: Tuning) -> None:  # noqa: ARG001 - a door's form
    """Write the graph, optimised for this machine, to ``target``.

    Raises:
        ActivationError: BUILD_FAILED: the runtime refuses the file.
    """
    options = _options(1)
    options.optimized_model_filepath = str(target)
    _load(source, options, Code.BUILD_FAILED)


def providers() -> tuple[str, ...]:
    """Return the execution providers of the installed library, the preferred first."""
    # The CPU package lists Azure's, which sends pictures to a service: not for us.
    return tuple(name for name in ort.get_available_providers() if name != "AzureExecutionProvider")


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


def _load(source: Source, options: ort.SessionOptions, code: Code) -> ort.InferenceSession:
    wanted = [name for name in _PREFERRED if name in ort.get_available_providers()] + [CPU]
    # Read from memory, the graph has no directory of its own that its external data could lie in.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(source.folder))
    try:
        session = ort.InferenceSession(source.content, sess_options=options, providers=wanted)
    except _ERRORS as exc:
        raise ActivationError(code, f"ONNX Runtime: {exc}") from exc
    if session.get_providers()[0] != wanted[0]:
        came = session.get_providers()[0]
        raise ActivationError(code, f"ONNX Runtime: expected {wanted[0]}, it fell back to {came}")
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
