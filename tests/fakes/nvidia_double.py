"""NVIDIA's libraries around a test: doubles of ``tensorrt``, ``pycuda`` and the driver's graph functions.

There is no GPU where the tests run. The doubles offer only what the real bindings offer (see
``nvidia/bindings.json``) and execute graphs with ONNX's reference, in worker processes too.
"""

import atexit
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

DOUBLES = Path(__file__).parent / "nvidia"
_ROOM = "edge_agent.inference.runtimes"
_OURS = ("tensorrt", "tensorrt_lane", "cuda", "cuda_graph")
COMPILER = shutil.which("cc")


@lru_cache(maxsize=1)
def _libcuda() -> str:
    # One for the process: whoever asks for libcuda.so.1 gets the first that was loaded under that name.
    directory = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = directory / "libcuda.so.1"
    assert COMPILER is not None
    command = [COMPILER, "-Wall", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(library)]
    subprocess.run([*command, str(DOUBLES / "libcuda.c")], check=True)
    return str(library)


@contextmanager
def nvidia(
    directory: Path, *, version: str = "11.4.0.106", gpu: str = "NVIDIA Double", fault: str = ""
) -> Iterator[Any]:
    """Have the doubles found, here and in processes that are started; yields the GPU.

    Args:
        directory: of its own; gets what tells the bindings' version.
        version: of the bindings.
        gpu: its name.
        fault: what fails; see ``fake_gpu``.
    """
    told = directory / f"tensorrt-{version}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt\nVersion: {version}\n")
    paths = [str(DOUBLES), str(directory)]
    environment = {
        "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "FAKE_LIBCUDA": _libcuda(),
        "FAKE_TENSORRT_VERSION": version,
        "FAKE_GPU_NAME": gpu,
        "FAKE_GPU_FAULT": fault,
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    sys.path[:0] = paths
    _forget()
    try:
        yield importlib.import_module("fake_gpu")
    finally:
        _forget()
        for path in paths:
            sys.path.remove(path)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _forget() -> None:
    doubles = [name for name in sys.modules if name.partition(".")[0] in ("tensorrt", "pycuda", "fake_gpu")]
    for name in (*doubles, *(f"{_ROOM}.{own}" for own in _OURS)):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
