"""Do tensors have the names, types and shapes that the manifest tells? Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import TensorSpec

Form: TypeAlias = tuple[tuple[str, "np.dtype[Any]", tuple[int, ...]], ...]


def form_of(tensors: Mapping[str, NDArray[Any]]) -> Form:
    """Return names, types and shapes in their order: what requests that differ only in numbers have in common."""
    return tuple([(name, tensor.dtype, tensor.shape) for name, tensor in tensors.items()])


def check_inputs(specs: Sequence[TensorSpec], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Check a request.

    Raises:
        InferenceError: INVALID_ARGUMENT; the message names the input, what was expected and what came.
    """
    known = {spec.name for spec in specs}
    unknown = sorted(set(tensors) - known)
    if unknown:
        raise _invalid(f"expected inputs {sorted(known)}, came {unknown[0]}")
    for spec in specs:
        tensor = tensors.get(spec.name)
        if tensor is None:
            raise _invalid(f"input {spec.name}: expected {_form(spec)}, came none")
        if not _fits(spec, tensor) or tensor.size == 0 or not tensor.dtype.isnative:
            raise _invalid(f"input {spec.name}: expected {_form(spec)}, came {_came(tensor)}")


def check_outputs(specs: Sequence[TensorSpec], outputs: Mapping[str, NDArray[Any]]) -> None:
    """Check what a graph answered: a version that answers NaN or another shape never answers.

    Raises:
        InferenceError: INTERNAL; the message names the output, what was expected and what came.
    """
    for spec in specs:
        output = outputs.get(spec.name)
        if output is None:
            raise _internal(f"output {spec.name}: expected {_form(spec)}, came none")
        if not _fits(spec, output):
            raise _internal(f"output {spec.name}: expected {_form(spec)}, came {_came(output)}")
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise _internal(f"output {spec.name}: expected finite numbers, came NaN or infinity")


def _fits(spec: TensorSpec, tensor: NDArray[Any]) -> bool:
    return spec.accepts(tensor.dtype.name, tensor.shape)


def _form(spec: TensorSpec) -> str:
    return f"{spec.dtype.value}{list(spec.shape)}"


def _came(tensor: NDArray[Any]) -> str:
    order = "" if tensor.dtype.isnative else "byte-swapped "
    return f"{order}{tensor.dtype.name}{list(tensor.shape)}"


def _invalid(message: str) -> InferenceError:
    return InferenceError(Code.INVALID_ARGUMENT, message)


def _internal(message: str) -> InferenceError:
    return InferenceError(Code.INTERNAL, message)
