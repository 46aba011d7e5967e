"""Which libraries can execute a model here, and what is missing where one cannot.

Nothing heavy is imported to tell: the version is read from the package's metadata, and
the list of providers comes from a process of its own that ends at once.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from numpy.typing import NDArray

import edge_agent
from edge_agent.errors import ActivationError, Code
from edge_agent.formats import TensorSpec

if TYPE_CHECKING:
    from edge_agent.inference.engines.source import Source

PACKAGE_ROOT = Path(edge_agent.__file__).resolve().parents[1]
_PROBE_TIMEOUT_S = 60.0


class Tuning(NamedTuple):
    """How a graph is to be executed."""

    threads: int = 1
    """Inside one inference."""
    precision: str = "fp32"
    """Of the arithmetic, as the manifest pins it: fp32, fp16 or int8."""
    providers: tuple[str, ...] = ()
    """What is to execute it, the preferred first, of all runtimes; a runtime takes those that it knows."""


class Engine(Protocol):
    """One graph in memory, whatever library holds it."""

    provider: str
    """What executes it, in the runtime's own words."""
    fallback: str
    """What was wanted instead, and why it did not come; empty where all is as wanted."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the graph's inputs as it tells them."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return the graph's outputs as it tells them."""

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the graph; several threads may.

        Raises:
            InferenceError: INTERNAL, the library failed; UNAVAILABLE, nothing can be executed in this
                process any more, which ends a worker.
        """


class RuntimeInfo(NamedTuple):
    """One runtime, as ``edge-agent doctor`` lists it."""

    name: str
    usable: bool
    why_not: str
    providers: tuple[str, ...]
    version: str = ""
    remark: str = ""
    """What its user must know; empty where nothing is to be said."""
    extra: str = ""
    """What brings it: ``pip install 'edge-agent[…]'``; empty where a release brings all that is needed."""


class Door(Protocol):
    """What a runtime's module offers; it alone imports the library."""

    def load(self, source: "Source", tuning: Tuning) -> Engine:
        """Return the graph in memory.

        Raises:
            ActivationError: LOAD_FAILED.
        """

    def build(self, source: "Source", target: Path, tuning: Tuning) -> None:
        """Compile a model for this machine into one file, and what else it caches into ``source.caches``.

        Raises:
            ActivationError: BUILD_FAILED.
        """

    def providers(self) -> tuple[str, ...]:
        """Return what executes graphs here, in the runtime's own words, the preferred first."""


class _Runtime(NamedTuple):
    module: str
    """Must be installed; empty where a release brings all that is needed."""
    distributions: tuple[str, ...]
    extra: str
    door: str = ""
    suffix: str = "engine"
    """Of the files in the engine cache."""
    remark: str = ""


_RUNTIMES = {
    "onnxruntime": _Runtime(
        "onnxruntime",
        ("onnxruntime", "onnxruntime-gpu"),
        "onnx",
        door="onnx",
        suffix="onnx",
        remark="CUDA and TensorRT untested on hardware",
    ),
    "openvino": _Runtime(
        "openvino", ("openvino",), "openvino", door="openvino", suffix="blob", remark="GPU untested on hardware"
    ),
    "tensorrt": _Runtime(
        "tensorrt",
        ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
        "tensorrt",
        door="tensorrt",
        suffix="plan",
        remark="untested on hardware",
    ),
    "dlr": _Runtime("", (), "", door="dlr", suffix="meta", remark="tried with a stand-in for its library only"),
}


def available_runtimes(names: Iterable[str] = ()) -> list[RuntimeInfo]:
    """Return what a manifest may name, usable or not and why.

    Args:
        names: of these only, since each takes a process that imports it; empty: every runtime.
    """
    return [_describe(name) for name in names or _RUNTIMES]


def require_runtime(name: str) -> str:
    """Return the installed version of a runtime.

    Raises:
        ActivationError: LOAD_FAILED: it is not usable here; the message names the extra that brings it.
    """
    why_not = _why_not(name)
    if why_not:
        raise ActivationError(Code.LOAD_FAILED, f"expected the runtime {name}, {why_not}")
    return _version(name)


def engine_suffix(name: str) -> str:
    """Return what an engine's file name ends with."""
    return _RUNTIMES[name].suffix


def load_engine(name: str, source: "Source", tuning: Tuning) -> Engine:
    """Return the graph in memory; imports the runtime.

    Raises:
        ActivationError: LOAD_FAILED.
    """
    require_runtime(name)
    return _door(name).load(source, tuning)


def write_engine(name: str, source: "Source", target: Path, tuning: Tuning) -> None:
    """Compile a model for this machine; imports the runtime.

    Raises:
        ActivationError: BUILD_FAILED, LOAD_FAILED.
    """
    require_runtime(name)
    _door(name).build(source, target, tuning)


def import_runtime(name: str) -> None:
    """Import a runtime's library now, so that loading finds it.

    Raises:
        ActivationError: LOAD_FAILED: it is not usable here.
        ImportError: its library is broken.
    """
    require_runtime(name)
    _door(name)


def _door(name: str) -> Door:
    # Only a process that executes models pays for the import.
    door: Door = import_module(f"edge_agent.inference.runtimes.{_RUNTIMES[name].door}")
    return door


def _describe(name: str) -> RuntimeInfo:
    runtime, why_not = _RUNTIMES[name], _why_not(name)
    common = {"remark": runtime.remark, "extra": runtime.extra}
    if why_not:
        return RuntimeInfo(name, usable=False, why_not=why_not, providers=(), **common)
    found = _probe(name)
    why_not = "" if found else "its library is installed but cannot be imported, or finds nothing to execute on"
    return RuntimeInfo(name, bool(found), why_not, providers=found, version=_version(name), **common)


def _why_not(name: str) -> str:
    runtime = _RUNTIMES.get(name)
    if runtime is None:
        return f"it is none of {', '.join(_RUNTIMES)}"
    if not runtime.door:
        return "this version of the agent cannot use it yet"
    if runtime.module and find_spec(runtime.module) is None:
        return f"it is not installed: pip install 'edge-agent[{runtime.extra}]'"
    return ""


def _version(name: str) -> str:
    if not _RUNTIMES[name].distributions:
        return ""
    for distribution in _RUNTIMES[name].distributions:
        try:
            return f"{distribution} {metadata.version(distribution)}"
        except metadata.PackageNotFoundError:  # noqa: PERF203 - two tries at most
            continue
    return "unknown"


@lru_cache(maxsize=len(_RUNTIMES))
def _probe(name: str) -> tuple[str, ...]:
    module = f"edge_agent.inference.runtimes.{_RUNTIMES[name].door}"
    code = f"from {module} import providers; print('\\n'.join(providers()))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PACKAGE_ROOT,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ()
    return tuple(done.stdout.splitlines()) if done.returncode == 0 else ()
