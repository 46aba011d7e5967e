"""A signed repository in a directory, made by the publisher's own code, and its objects as a device reads them."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.publish import Published, publish, read_bundle
from cloud_tools.release.repository import Repository
from cloud_tools.storage import DirectoryStorage
from edge_agent.errors import Code, TransferError

NOW = 1_800_000_000.0
DAY = 86_400.0
PASSPHRASE = "a long enough phrase"


class DirectoryObjects:
    """What ``transfer.ObjectStore`` does for a directory, as far as trust asks for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[str] = []

    def read(self, key: str, *, limit_bytes: int, check: Callable[[], None] = lambda: None) -> bytes:
        check()
        self.asked.append(key)
        path = self.directory / key
        if not path.is_file():
            raise TransferError(Code.OBJECT_MISSING, f"{key}: there is none", permanent=True)
        content = path.read_bytes()
        if len(content) > limit_bytes:
            raise TransferError(Code.TRANSFER_FAILED, f"{key}: expected at most {limit_bytes} bytes", permanent=True)
        return content


class SignedRepository:
    """One repository with its keys.

    Args:
        home: holds ``repository``, ``keys``, ``bundles`` and saved states.
        now: the publisher's clock; may be changed between acts.
    """

    def __init__(self, home: Path, *, demo: bool = True, now: float = NOW) -> None:
        self.home = home
        self.directory = home / "repository"
        self.now = now
        self.keys = KeyDirectory(home / "keys", lambda: PASSPHRASE)
        self.objects = DirectoryObjects(self.directory)
        self.open().create(demo=demo)

    @property
    def root(self) -> Path:
        """Return the root that a device pins."""
        return self.keys.pinned_root

    def open(self) -> Repository:
        """Return it opened for signing, at ``now``."""
        return Repository(DirectoryStorage(self.directory), self.keys, self.now)

    def publish(self, name: str = "unet", version: str = "1", content: bytes = b"weights") -> Published:
        """Publish a bundle with one model file of ``content``."""
        bundle = write_bundle(self.home / "bundles" / f"{name}-{version}", name, version, content)
        return publish(self.open(), [read_bundle(bundle)])[0]

    def save(self, name: str) -> None:
        """Keep a copy of everything that is public now."""
        shutil.copytree(self.directory, self.home / name)

    def restore(self, name: str) -> None:
        """Show an earlier state again, as an attacker with the bucket could."""
        shutil.rmtree(self.directory)
        shutil.copytree(self.home / name, self.directory)


def write_bundle(directory: Path, name: str, version: str, content: bytes = b"weights") -> Path:
    """Write a small bundle and return its directory."""
    shutil.rmtree(directory, ignore_errors=True)
    files = {"model.onnx": ("model", content), "golden/a.png": ("golden", b"picture")}
    for path, (_, data) in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    manifest: dict[str, Any] = {
        "schema": "edge-agent/manifest/1",
        "model": name,
        "version": version,
        "release_seq": 1,
        "kind": "classification",
        "runtime": {"name": "onnxruntime"},
        "inputs": [{"name": "image", "dtype": "uint8", "shape": [-1, 8, 8, 3]}],
        "outputs": [{"name": "score", "dtype": "float32", "shape": [-1]}],
        "preprocess": {"width": 8, "height": 8},
        "decision": {"threshold": 0.5},
        "golden": {"samples": [{"image": "golden/a.png", "score": 0.2, "verdict": "OK"}]},
        "artefacts": [
            {"path": path, "role": role, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, (role, data) in files.items()
        ],
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory
