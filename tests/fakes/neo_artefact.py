"""Versions as SageMaker Neo compiles them, with a small ``libdlr.so`` of our own: compiled where the tests run."""

import atexit
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from edge_agent.formats import Artefact, Manifest, Role, parse
from tests.fakes.tiny_models import SIDE, write_version

SOURCES = Path(__file__).parent / "neo"
COMPILER = shutil.which("cc")
META: dict[str, Any] = {
    "Requirements": {"TargetDevice": "LINUX_X86_64", "TargetDeviceType": "cpu"},
    "Compilation": {"CreatedTime": 1600000000.0},
    "Model": {
        "Inputs": [{"name": "image", "dtype": "uint8", "shape": [1, SIDE, SIDE, 3]}],
        "Outputs": [
            {"name": "score", "dtype": "float32", "shape": [1]},
            {"name": "probabilities", "dtype": "float32", "shape": [1, 2]},
        ],
    },
}


@lru_cache(maxsize=8)
def compiled(source: str, fault: str = "NONE") -> bytes:
    """Return a shared library.

    Args:
        source: libdlr or compiled.
        fault: what fails in it; see libdlr.c.
    """
    assert COMPILER is not None
    directory = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    target = directory / f"{source}.so"
    command = [COMPILER, "-Wall", "-Werror", "-O1", "-shared", "-fPIC", f"-DFAULT={fault}", "-o", str(target)]
    subprocess.run([*command, str(SOURCES / f"{source}.c"), "-lm", "-ldl"], check=True)
    return target.read_bytes()


def write_neo(
    directory: Path,
    *,
    version: str = "1",
    bias: float = 0.0,
    changes: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes | None] | None = None,
    fault: str = "NONE",
) -> Manifest:
    """Write one version as the store lays it out and return its manifest.

    Args:
        directory: made when absent.
        version: of the model.
        bias: added to the raw score.
        changes: fields of the manifest to replace.
        files: of the artefact, by name, in place of the usual ones; None: it is left out.
        fault: of ``libdlr.so``.
    """
    plain = write_version(directory, version=version, bias=bias)
    (directory / "model.onnx").unlink()
    (directory / "neo").mkdir(exist_ok=True)
    artefact: dict[str, bytes | None] = {
        "compiled.meta": json.dumps(META).encode(),
        "compiled.so": compiled("compiled"),
        "compiled.params": f"bias {bias}\n".encode(),
        "compiled_model.json": b'{"nodes": []}',
        "libdlr.so": compiled("libdlr", fault),
        **(files or {}),
    }
    listed = [each for each in plain.artefacts if each.role is Role.GOLDEN]
    for name, content in artefact.items():
        if content is not None:
            (directory / "neo" / name).write_bytes(content)
            listed.append(_artefact(f"neo/{name}", content))
    document = plain.model_dump(mode="json", by_alias=True) | {
        "runtime": {"name": "dlr"},
        "inputs": [{"name": "image", "dtype": "uint8", "shape": [1, SIDE, SIDE, 3]}],
        "outputs": META["Model"]["Outputs"],
        "artefacts": [each.model_dump(mode="json") for each in listed],
    }
    manifest = parse(Manifest, document | dict(changes or {}), what="manifest")
    (directory / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def _artefact(path: str, content: bytes) -> Artefact:
    role = Role.MODEL if path.endswith(".meta") else Role.LIBRARY if path.endswith(".so") else Role.EXTRA
    return Artefact(path=path, role=role, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
