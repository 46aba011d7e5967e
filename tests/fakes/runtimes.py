"""The runtimes that the contract suite holds to account, each with a way to make a model that it can execute.

A case is added to ``CASES``. Its ``write`` must write versions that answer as ``tiny_models.raw_score``
says: raw score ``(mean - 128) / 16 + bias`` of every picture of a batch, and ``probabilities``, of which
the second is the score's sigmoid. ``write_echo`` writes one that answers ``x`` twice, one after the
other along the first axis, as ``y``.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_agent.formats import Manifest
from tests.fakes.neo_artefact import write_neo
from tests.fakes.nvidia_double import COMPILER, nvidia
from tests.fakes.tiny_models import replace_model, write_version


class Write(Protocol):
    """Writes one version into a directory, and returns its manifest."""

    def __call__(
        self,
        directory: Path,
        *,
        version: str = "1",
        bias: float = 0.0,
        changes: Mapping[str, Any] | None = None,
    ) -> Manifest: ...


class Case(NamedTuple):
    """One runtime in the suite."""

    name: str
    """As a manifest names it."""
    write: Write
    tolerance: float = 1e-5
    """How far an answer may lie from NumPy's."""
    why_not: str = ""
    """Why it cannot be run here; empty where it can."""
    surroundings: Callable[[Path], AbstractContextManager[object]] = lambda _directory: nullcontext()
    """What must be around it, for worker processes too (say, bindings on PYTHONPATH); given a directory of its own."""
    write_echo: Callable[[Path, str], Manifest] | None = None
    """Writes a version that echoes one type of numbers; None: it has no such models."""
    dtypes: tuple[str, ...] = ("uint8", "int32", "int64", "float16", "float32")
    """What it can echo."""
    computes: Mapping[str, str] = MappingProxyType({})
    """Types that it computes as narrower ones; what does not fit must be refused."""
    free_batch: bool = True
    """Its models take any number of pictures at a time."""
    refused: tuple[bytes, ...] = (b"\x08\x09\x3a\x02\x0a\x00",)
    """Model files of an allowed format that the library cannot make sense of."""
    library: str = ""
    """What its messages begin with."""
    settings: Mapping[str, Any] = MappingProxyType({})
    """Of inference, beside its name."""


def _write(runtime: str) -> Write:
    def write(
        directory: Path, *, version: str = "1", bias: float = 0.0, changes: Mapping[str, Any] | None = None
    ) -> Manifest:
        changed = {"runtime": {"name": runtime}, **(changes or {})}
        return write_version(directory, version=version, bias=bias, changes=changed)

    return write


def _write_echo(runtime: str) -> Callable[[Path, str], Manifest]:
    def write(directory: Path, dtype: str) -> Manifest:
        tensors = {
            "inputs": [{"name": "x", "dtype": dtype, "shape": [-1, 3]}],
            "outputs": [{"name": "y", "dtype": dtype, "shape": [-1, 3]}],
        }
        manifest = write_version(directory, changes={"runtime": {"name": runtime}, **tensors})
        return replace_model(directory, manifest, _echo(dtype))

    return write


def _echo(dtype: str) -> bytes:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    assert kind != TensorProto.UNDEFINED
    graph = helper.make_graph(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)],
        "echo",
        [helper.make_tensor_value_info("x", kind, ["n", 3])],
        [helper.make_tensor_value_info("y", kind, ["m", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _missing(module: str) -> str:
    return "" if find_spec(module) else f"{module} is not installed"


CASES: list[Case] = [
    Case(
        "onnxruntime",
        _write("onnxruntime"),
        why_not=_missing("onnxruntime"),
        write_echo=_write_echo("onnxruntime"),
        library="ONNX Runtime",
    ),
    Case(
        "openvino",
        _write("openvino"),
        why_not=_missing("openvino"),
        write_echo=_write_echo("openvino"),
        computes={"int64": "int32"},
        library="OpenVINO",
    ),
    Case(
        "tensorrt",
        _write("tensorrt"),
        why_not="" if COMPILER else "no C compiler for the driver's double",
        surroundings=nvidia,
        write_echo=_write_echo("tensorrt"),
        library="TensorRT",
    ),
    Case(
        "dlr",
        write_neo,
        why_not="" if COMPILER else "no C compiler for the artefact's library",
        free_batch=False,
        refused=(b'{"Model": {}}', b'{"Model": {"Inputs": [{"name": "image"}], "Outputs": []}}'),
        library="DLR",
        settings={"allow_native_code": True},
    ),
]
