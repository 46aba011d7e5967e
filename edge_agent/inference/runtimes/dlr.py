"""The door to DLR, which executes what SageMaker Neo compiled: the artefact's own ``libdlr.so``.

The C functions that the ``dlr`` package (1.10) calls are called here, in its order; the package itself is
not used: it writes into its own installation, and tells its makers of the models that it loads before anyone
can forbid it (docs/decisions/native-code.md).

A Neo artefact is a directory; its files are told apart by their endings, and each kind may be there once.
What it computes stands in its ``.meta``, which is readable without the library. Tried with a stand-in for
``libdlr.so`` only.
"""

import ctypes
import json
import os
import threading
from collections.abc import Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from edge_agent.errors import ActivationError, AgentError, Code, InferenceError
from edge_agent.formats import TensorSpec
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.table import Tuning

LIBRARY: Final = "libdlr.so"
# As the package has them, from DLPack.
_DEVICES: Final = {"cpu": 1, "gpu": 2, "opencl": 4}
_HANDLE: Final = POINTER(c_void_p)
_FORMS: Final[Mapping[str, tuple[object, ...]]] = {
    "CreateDLRModel": (_HANDLE, c_char_p, c_int, c_int),
    "DeleteDLRModel": (_HANDLE,),
    "GetDLRVersion": (POINTER(c_char_p),),
    "GetDLRBackend": (_HANDLE, POINTER(c_char_p)),
    "GetDLRNumInputs": (_HANDLE, POINTER(c_int)),
    "GetDLRInputName": (_HANDLE, c_int, POINTER(c_char_p)),
    "GetDLRInputType": (_HANDLE, c_int, POINTER(c_char_p)),
    "GetDLRNumOutputs": (_HANDLE, POINTER(c_int)),
    "GetDLROutputType": (_HANDLE, c_int, POINTER(c_char_p)),
    "GetDLROutputSizeDim": (_HANDLE, c_int, POINTER(c_int64), POINTER(c_int)),
    "GetDLROutputShape": (_HANDLE, c_int, POINTER(c_int64)),
    "SetDLRInput": (_HANDLE, c_char_p, POINTER(c_int64), c_void_p, c_int),
    "RunDLRModel": (_HANDLE,),
    "GetDLROutput": (_HANDLE, c_int, c_void_p),
}
_LIMIT_OUTPUT_BYTES: Final = 1 << 30
_LIMIT_DIMENSIONS: Final = 8


class Told(NamedTuple):
    """What a ``.meta`` tells."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    device: str


class DlrError(Exception):
    """The library refused, in its own words."""


class DlrEngine:
    """One compiled model.

    Args:
        source: the ``.meta``, and the directory that holds all of the artefact.
        tuning: how it is to be executed.
        code: what a failure is called.

    Raises:
        ActivationError: RUNTIME_MISSING, there is no ``libdlr.so``; else ``code``.
    """

    fallback = ""

    def __init__(self, source: Source, tuning: Tuning, code: Code = Code.LOAD_FAILED) -> None:
        self._told = read_meta(source.content, code)
        self._library = _Library(_find(source.folder, self._told), tuning.threads, code)
        self._folder = source.folder
        self._lock = threading.Lock()
        self._idle: list[_Model] = []
        try:
            first = self._open()
            self._check(first)
            self._idle.append(first)
            self.provider = f"DLR {self._library.version()}, {first.backend()} on {self._told.device}"
        except DlrError as exc:
            raise ActivationError(code, f"DLR: {exc}") from exc

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the model's inputs as its ``.meta`` tells them."""
        return self._told.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return the model's outputs as its ``.meta`` tells them."""
        return self._told.outputs

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the model; several threads may, each with a copy of the model for the time.

        Raises:
            InferenceError: INTERNAL: the library failed.
        """
        with self._lock:
            model = self._idle.pop() if self._idle else None
        try:
            model = model or self._open()
            return model.run(self._told, tensors)
        except DlrError as exc:
            raise InferenceError(Code.INTERNAL, f"DLR: {exc}") from exc
        finally:
            if model is not None:
                with self._lock:
                    self._idle.append(model)

    def _open(self) -> "_Model":
        return _Model(self._library, self._folder, _DEVICES[self._told.device])

    def _check(self, model: "_Model") -> None:
        """Compare the library's opinion of names and types with the ``.meta``."""
        inputs = [(spec.name, spec.dtype.value) for spec in self._told.inputs]
        if sorted(model.inputs()) != sorted(inputs):
            raise DlrError(f"expected the inputs that the .meta tells, {inputs}, came {model.inputs()}")
        outputs = [spec.dtype.value for spec in self._told.outputs]
        if model.output_types() != outputs:
            raise DlrError(
                f"expected outputs of the types that the .meta tells, {outputs}, came {model.output_types()}"
            )


def load(source: Source, tuning: Tuning) -> DlrEngine:
    """Return the model in memory; see ``DlrEngine``."""
    return DlrEngine(source, tuning)


def build(source: Source, target: Path, tuning: Tuning) -> None:
    """Try to load the artefact, and keep its ``.meta``: it was compiled already, for this kind of machine.

    Raises:
        ActivationError: BUILD_FAILED, RUNTIME_MISSING.
    """
    DlrEngine(source, tuning, Code.BUILD_FAILED)
    target.write_bytes(source.content)


def providers() -> tuple[str, ...]:
    """Return who executes."""
    return (f"each release's own {LIBRARY}",)


def read_meta(content: bytes, code: Code = Code.LOAD_FAILED) -> Told:
    """Return what the ``.meta`` tells.

    Raises:
        ActivationError: ``code``: a part is missing or has a bad form.
    """
    try:
        told = json.loads(content)
        model = told["Model"]
        inputs, outputs = (tuple(TensorSpec(**_spec(each)) for each in model[kind]) for kind in ("Inputs", "Outputs"))
        device = str(told.get("Requirements", {}).get("TargetDeviceType", "cpu"))
    except (ValueError, TypeError, LookupError, AttributeError, AgentError, ValidationError) as exc:
        message = f"DLR: expected a .meta that tells Model.Inputs and Model.Outputs, came {exc!r}"
        raise ActivationError(code, message) from exc
    if not inputs or not outputs or device not in _DEVICES:
        message = f"{len(inputs)} and {len(outputs)} on {device}"
        raise ActivationError(code, f"DLR: expected inputs and outputs on one of {', '.join(_DEVICES)}, came {message}")
    return Told(inputs, outputs, device)


def _spec(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": told["name"], "dtype": told["dtype"], "shape": tuple(told["shape"])}


def _find(folder: Path, told: Told) -> Path:
    library = folder / LIBRARY
    if not library.is_file():
        computes = f"{', '.join(map(str, told.inputs))} to {', '.join(map(str, told.outputs))}"
        message = f"expected the artefact's own {LIBRARY} at {library}, there is none; its model turns {computes}"
        raise ActivationError(Code.RUNTIME_MISSING, f"DLR: {message}")
    return library


class _Library:
    """The C functions; each answers 0, or another number and a last error."""

    def __init__(self, path: Path, threads: int, code: Code) -> None:
        # Read once, when its threads are started.
        os.environ["TVM_NUM_THREADS"] = str(threads)
        try:
            self._functions = ctypes.CDLL(str(path))
            for name, form in _FORMS.items():
                getattr(self._functions, name).argtypes = form
            self._functions.DLRGetLastError.restype = c_char_p
        except (OSError, AttributeError) as exc:
            raise ActivationError(code, f"DLR: {exc}") from exc

    def call(self, name: str, *arguments: object) -> None:
        """Call a function.

        Raises:
            DlrError: it refused.
        """
        if getattr(self._functions, name)(*arguments):
            told = self._functions.DLRGetLastError()
            raise DlrError(f"{name}: {(told or b'no reason was given').decode(errors='replace').strip()}")

    def version(self) -> str:
        """Return the library's version."""
        told = c_char_p()
        self.call("GetDLRVersion", byref(told))
        return (told.value or b"").decode(errors="replace")


class _Model:
    """One handle: for one thread at a time."""

    def __init__(self, library: _Library, folder: Path, device: int) -> None:
        self._library = library
        self._handle = c_void_p()
        # The library takes colons for the ends of paths.
        if ":" in str(folder):
            raise DlrError(f"expected a path without colons, came {folder}")
        library.call("CreateDLRModel", byref(self._handle), str(folder).encode(), device, 0)

    def __del__(self) -> None:
        if self._handle.value:
            self._library.call("DeleteDLRModel", byref(self._handle))

    def backend(self) -> str:
        told = c_char_p()
        self._call("GetDLRBackend", byref(told))
        return (told.value or b"").decode(errors="replace")

    def inputs(self) -> list[tuple[str, str]]:
        each = range(self._number("GetDLRNumInputs"))
        return [(self._word("GetDLRInputName", index), self._word("GetDLRInputType", index)) for index in each]

    def output_types(self) -> list[str]:
        return [self._word("GetDLROutputType", index) for index in range(self._number("GetDLRNumOutputs"))]

    def run(self, told: Told, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        for name, tensor in tensors.items():
            values = np.ascontiguousarray(tensor)
            shape = (c_int64 * values.ndim)(*values.shape)
            self._call("SetDLRInput", name.encode(), shape, values.ctypes.data, values.ndim)
        self._call("RunDLRModel")
        return {spec.name: self._output(index, spec) for index, spec in enumerate(told.outputs)}

    def _output(self, index: int, spec: TensorSpec) -> NDArray[Any]:
        size, dimensions = c_int64(), c_int()
        self._call("GetDLROutputSizeDim", index, byref(size), byref(dimensions))
        if (
            not 0 < size.value * spec.dtype.size_bytes <= _LIMIT_OUTPUT_BYTES
            or not 0 <= dimensions.value <= _LIMIT_DIMENSIONS
        ):
            raise DlrError(f"{spec.name}: expected a size, came {size.value} in {dimensions.value} dimensions")
        shape = (c_int64 * dimensions.value)()
        self._call("GetDLROutputShape", index, shape)
        values = np.empty(size.value, spec.dtype.value)
        self._call("GetDLROutput", index, values.ctypes.data)
        try:
            return values.reshape(tuple(shape))
        except ValueError as exc:
            raise DlrError(f"{spec.name}: expected {size.value} numbers, came the shape {list(shape)}") from exc

    def _number(self, name: str) -> int:
        number = c_int()
        self._call(name, byref(number))
        return number.value

    def _word(self, name: str, index: int) -> str:
        word = c_char_p()
        self._call(name, index, byref(word))
        return (word.value or b"").decode(errors="replace")

    def _call(self, name: str, *arguments: object) -> None:
        self._library.call(name, byref(self._handle), *arguments)
