"""Small releases for tests of the store: a manifest and the bytes it lists."""

import hashlib
import json
from typing import Any, NamedTuple

from edge_agent.formats import Manifest, ModelVersion, parse
from edge_agent.store import Committed, Store

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden/part-1.png"


class Release(NamedTuple):
    """One model version as a repository holds it."""

    content: bytes
    manifest: Manifest
    blobs: dict[str, bytes]

    def __repr__(self) -> str:
        return f"Release({self.model_version})"

    @property
    def model_version(self) -> ModelVersion:
        return self.manifest.model_version

    @property
    def sha256(self) -> str:
        return sha256(self.content)

    def committed(self, previous: str | None = None) -> Committed:
        return Committed(
            version=self.manifest.version,
            manifest_sha256=self.sha256,
            release_seq=self.manifest.release_seq,
            previous=previous,
        )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_release(
    model: str = "unet", version: str = "1", *, files: dict[str, bytes] | None = None, **fields: Any
) -> Release:
    """Return a release; ``files`` replaces or adds to a model file and one golden image."""
    content = {MODEL_FILE: f"graph of {model} {version}".encode(), GOLDEN_FILE: b"the same part", **(files or {})}
    roles = {MODEL_FILE: "model", GOLDEN_FILE: "golden"}
    document = {
        "schema": "edge-agent/manifest/1",
        "model": model,
        "version": version,
        "release_seq": 1,
        "kind": "anomaly",
        "runtime": {"name": "onnxruntime"},
        "inputs": [{"name": "image", "dtype": "uint8", "shape": [-1, 8, 8, 3]}],
        "outputs": [{"name": "score", "dtype": "float32", "shape": [-1]}],
        "preprocess": {"width": 8, "height": 8},
        "decision": {"threshold": 0.5},
        "golden": {"samples": [{"image": GOLDEN_FILE, "score": 0.5, "verdict": "NG"}]},
        "artefacts": [
            {"path": path, "role": roles.get(path, "extra"), "size_bytes": len(data), "sha256": sha256(data)}
            for path, data in content.items()
        ],
        **fields,
    }
    text = json.dumps(document).encode()
    return Release(text, parse(Manifest, text, what="manifest"), {sha256(data): data for data in content.values()})


def download(store: Store, release: Release) -> None:
    """Bring what the store lacks, as a download would."""
    for artefact in store.missing(release.manifest):
        partial = store.partial_path(artefact.sha256)
        partial.write_bytes(release.blobs[artefact.sha256])
        store.admit(artefact.sha256, partial)


def install(store: Store, release: Release) -> None:
    """Bring and install a release."""
    download(store, release)
    store.install(release.content)
