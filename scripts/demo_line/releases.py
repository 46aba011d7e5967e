"""Releases that must not come through, and one that takes long: made from a sample bundle."""

import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnx

_EXTRA = "extra.bin"


def with_wrong_golden(source: Path, target: Path, version: str) -> Path:
    """Write a bundle whose golden samples say the opposite of what its model says."""

    def change(manifest: dict[str, Any]) -> None:
        for sample in manifest["golden"]["samples"]:
            sample["score"] = 1 - sample["score"]
            sample["verdict"] = "OK" if sample["verdict"] == "NG" else "NG"

    return _copy(source, target, version, change)


def with_own_graph(source: Path, target: Path, version: str) -> Path:
    """Write a bundle whose graph answers the same but is another file, so that no device holds it."""

    def change(manifest: dict[str, Any]) -> None:
        graph = target / _model(manifest)["path"]
        model = onnx.load(graph)
        model.doc_string = f"version {version}"
        onnx.save(model, graph)
        _model(manifest).update(_described(graph))

    return _copy(source, target, version, change)


def with_large_extra(source: Path, target: Path, version: str, size_bytes: int) -> Path:
    """Write a bundle with another artefact of random bytes beside the model."""

    def change(manifest: dict[str, Any]) -> None:
        (target / _EXTRA).write_bytes(os.urandom(size_bytes))
        manifest["artefacts"].append({"path": _EXTRA, "role": "extra", **_described(target / _EXTRA)})

    return _copy(source, target, version, change)


def model_digest(bundle: Path) -> str:
    """Return the digest of the bundle's model file."""
    return str(_model(json.loads((bundle / "manifest.json").read_bytes()))["sha256"])


def extra_digest(bundle: Path) -> str:
    """Return the digest of the bundle's extra file."""
    return sha256((bundle / _EXTRA).read_bytes()).hexdigest()


def _copy(source: Path, target: Path, version: str, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(source, target)
    file = target / "manifest.json"
    manifest = json.loads(file.read_bytes())
    manifest["version"] = version
    change(manifest)
    file.write_text(json.dumps(manifest), encoding="utf-8")
    return target


def _model(manifest: dict[str, Any]) -> dict[str, Any]:
    return next(artefact for artefact in manifest["artefacts"] if artefact["role"] == "model")


def _described(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"size_bytes": len(content), "sha256": sha256(content).hexdigest()}
