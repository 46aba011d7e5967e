"""Writes ``nvidia/bindings.json``: what NVIDIA's and pycuda's real bindings offer, by their own signatures.

``python -m tests.fakes.record_bindings [PYTHON_WITH_PYCUDA]`` downloads the bindings of some versions of
TensorRT (1 MB each; the libraries, some GB, are not needed) and imports them above empty libraries of the
same names: the signatures stand in the bindings themselves. pycuda publishes no wheels; where an
interpreter is given that has it, its driver's library is stood in for in the same way.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TARGET = Path(__file__).parent / "nvidia" / "bindings.json"
VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")
_ENTRANCES = (
    "createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL createNvOnnxParser_INTERNAL "
    "createNvOnnxParserRefitter_INTERNAL getBuilderPluginRegistry getNvOnnxParserVersion getPluginRegistry "
    "initLibNvInferPlugins"
)
_CLASSES = (
    "Builder BuilderFlag DataType Dims IBuilderConfig ICudaEngine IExecutionContext IHostMemory ILogger "
    "INetworkDefinition IOptimizationProfile ITensor ITimingCache MemoryPoolType NetworkDefinitionCreationFlag "
    "OnnxParser ParserError Runtime TensorIOMode TensorLocation nptype"
)
_PYCUDA = (
    "Context Device DeviceAllocation Error LogicError MemoryError PagelockedHostAllocation Stream init mem_alloc "
    "memcpy_dtoh_async memcpy_htod_async pagelocked_empty"
)
_LOOK = r"""
import importlib, inspect, json, re, sys

def signatures(it):
    if inspect.isfunction(it):
        return [it.__name__ + str(inspect.signature(it))]
    lines = [line.strip() for line in (it.__doc__ or "").splitlines()]
    return [re.sub(r"^\d+\. |\s*:$", "", line) for line in lines if re.match(r"(\d+\. )?\w+\(.*\) ->", line)]

def look(it):
    if not inspect.isclass(it):
        return signatures(it)
    members = {name: getattr(it, name) for name in dir(it) if name in ("__init__", "__int__") or name[0] != "_"}
    # A network has a function for each kind of layer; the parser calls them.
    members = {name: member for name, member in members.items() if not name.startswith("add_") or "profile" in name}
    return {
        name: "value" if isinstance(member, it) else "property" if isinstance(member, property) else signatures(member)
        for name, member in members.items()
    }

module = importlib.import_module(sys.argv[1])
print(json.dumps({name: look(getattr(module, name)) for name in sys.argv[2].split()}))
"""


def main(arguments: list[str]) -> None:
    """Record everything that can be had here; what cannot stays as it was recorded."""
    recorded = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for version in VERSIONS:
            recorded[f"tensorrt {version}"] = _tensorrt(Path(scratch) / version, version)
        for python in arguments:
            recorded["pycuda"] = _pycuda(Path(scratch), python)
    TARGET.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


def _tensorrt(scratch: Path, version: str) -> object:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch)]
    subprocess.run([*command, f"tensorrt-cu12-bindings=={version}"], check=True)
    for wheel in scratch.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(scratch)
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        _stand_in(scratch / f"lib{library}.so.{version.partition('.')[0]}", _ENTRANCES.split())
    return _look(sys.executable, "tensorrt_bindings", _CLASSES, PYTHONPATH=str(scratch), LD_LIBRARY_PATH=str(scratch))


def _pycuda(scratch: Path, python: str) -> object:
    found = subprocess.check_output(
        [python, "-c", "import importlib.util as u; print(u.find_spec('pycuda').submodule_search_locations[0])"]
    )
    bindings = next(Path(found.decode().strip()).glob("_driver*.so"))
    symbols = subprocess.check_output(["nm", "-D", "--undefined-only", str(bindings)], text=True).split()
    library = scratch / "libcuda.so.1"
    _stand_in(library, [symbol.partition("@")[0] for symbol in symbols if symbol.startswith("cu")])
    return _look(python, "pycuda.driver", _PYCUDA, LD_PRELOAD=str(library))


def _stand_in(library: Path, functions: list[str]) -> None:
    code = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in functions)
    command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", "-o", str(library), "-xc", "-"]
    subprocess.run(command, input=code, text=True, check=True)


def _look(python: str, module: str, names: str, **environment: str) -> object:
    # An empty library is not there to be unloaded in order: what counts is what was printed before.
    done = subprocess.run(
        [python, "-W", "ignore", "-c", f"{_LOOK}\nsys.stdout.flush()\nimport os\nos._exit(0)", module, names],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
