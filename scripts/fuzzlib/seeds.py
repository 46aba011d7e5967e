"""What the fuzzing begins with: documents as they should be."""

import json
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.publish import publish, read_bundle
from cloud_tools.release.repository import Repository
from cloud_tools.storage import DirectoryStorage
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import InspectedFrame, ModelResult, ModelVersion, Verdict
from edge_agent.formats.bank import Bank, BankPart, write_bank
from edge_agent.wire.fast import frames
from edge_agent.wire.fast.inspection import Drawn, PictureOrder, PngAt, inspect, inspected
from edge_agent.wire.fast.tensors import InferAnswer, InferOrder, TensorAt, infer, inferred

NOW = 1_800_000_000.0
ROOT = Path(__file__).resolve().parents[2]
_BUNDLE = ROOT / "samples" / "bundles" / "unet" / "1"
_MANIFEST = _BUNDLE / "manifest.json"


class SignedFiles(NamedTuple):
    """A small repository in memory, and the root that a device pins."""

    root: bytes
    metadata: dict[str, bytes]


@lru_cache(maxsize=1)
def signed_files() -> SignedFiles:
    """Return a repository with one release, signed for these runs."""
    with TemporaryDirectory() as name:
        home = Path(name)
        keys = KeyDirectory(home / "keys", lambda: "a long enough phrase")
        repository = Repository(DirectoryStorage(home / "repository"), keys, NOW)
        repository.create(demo=True)
        publish(repository, [read_bundle(_BUNDLE)])
        public = home / "repository"
        wanted = [*(public / "metadata").iterdir(), *(public / "targets").rglob("*.json")]
        files = {str(path.relative_to(public)): path.read_bytes() for path in wanted}
        return SignedFiles(keys.pinned_root.read_bytes(), files)


def seeds(target: str) -> list[bytes]:
    """Return sound inputs of a target."""
    if target == "tuf_refresh":
        names = [*sorted(signed_files().metadata), "root"]
        files = {**signed_files().metadata, "root": signed_files().root}
        return [bytes([place]) + files[name] for place, name in enumerate(names)]
    if target == "tuf_metadata":
        return [*signed_files().metadata.values(), signed_files().root]
    if target == "fast_messages":
        return _fast_messages()
    if target == "bank":
        return [_bank()]
    if target == "contents":
        return [_ONNX, (_BUNDLE / "model.onnx").read_bytes()[:4096], b'<?xml version="1.0"?><net name="a"/>', b"PK\3\4"]
    return [json.dumps(document).encode() for document in _documents(target)]


def _fast_messages() -> list[bytes]:
    image = TensorAt("image", "uint8", (1, 16, 16, 3), 0, 768)
    score = TensorAt("score", "float32", (1,), 4096, 4)
    result = ModelResult(application="line", model="unet", version="1", verdict=Verdict.NG, score=0.9, label="defect")
    frame = InspectedFrame(id="1", at=NOW, verdict=Verdict.NG, results=(result, result), width=24, height=16)
    picture = PictureOrder((0, 100), (4096, 4096), applications=("line", "other"), source="plc", with_mask=True)
    return [
        frames.hello(),
        frames.welcome(1),
        infer(2, InferOrder("unet", "1", (image, image._replace(name="second")), (4096, 4096), 10**7)),
        inferred(3, InferAnswer(ModelVersion("unet", "1"), (score,))),
        inspect(4, picture),
        inspected(5, frame, [Drawn(PngAt(4096, 80)), Drawn(PngAt(0, 9000, left_out=True))]),
        frames.error(6, InferenceError(Code.NOT_FOUND, "no such model"), 5),
    ]


def _documents(target: str) -> list[dict[str, Any]]:
    models = [{"name": "unet", "version": "1"}]
    job = {"schema": "edge-agent/job/1", "operation": "install", "models": models}
    execution = {"jobId": "a", "status": "QUEUED", "versionNumber": 1, "executionNumber": 1, "jobDocument": job}
    policy = {"deadline_s": 60.0, "probation": {"min_requests": 1, "max_seconds": 2.0}}
    record = {
        "id": "1",
        "operation": "install",
        "targets": [{"name": "unet", "to": "1"}],
        "state": "ACCEPTED",
        "started": 1.0,
        "deadline": 2.0,
    }
    custom = {"model": "unet", "version": "1", "release_seq": 1, "min_release_seq": 1}
    table: dict[str, list[dict[str, Any]]] = {
        "manifest": [json.loads(_MANIFEST.read_text())],
        "job": [
            {**job, "policy": policy},
            {**job, "operation": "rollback", "models": [{"name": "unet"}]},
            {"type": "new_model", "bucket": "b"},
        ],
        "models_config": [
            json.loads((ROOT / "models_config.json").read_text()),
            {"mappings": {"line": "unet"}, "models": [{"name": "unet", "version": "1", "identifier": "unet-1"}]},
        ],
        "messages": [
            {"timestamp": 1, "clientToken": "a", "execution": execution, "executionState": {"status": "IN_PROGRESS"}},
            {"code": "VersionMismatch", "message": "no", "executionState": {"status": "FAILED", "versionNumber": 2}},
            {"timestamp": 1, "jobs": {"QUEUED": [execution]}, "queuedJobs": [execution], "inProgressJobs": []},
        ],
        "records": [{**record, "policy": policy}],
        "facts": [custom, {**custom, "demo": True, "issued": "2027-01-15T08:00:00Z"}, {"issued": NOW}],
    }
    return table[target]


# A whole ONNX file in some bytes: a tensor whose data lies in the file beside it.
_ONNX = bytes.fromhex("0809") + b"\x3a\x1e\x2a\x1c\x42\x01w\x6a\x15\x0a\x08location\x12\x05w.bin\x30\x00\x70\x01"[:32]


def _bank() -> bytes:
    rows = np.eye(3, 4, dtype=np.float32)
    parts = tuple(BankPart(file=f"train/good/{number}.png", label="good") for number in range(3))
    return write_bank(Bank(rows, parts, (b"\xff\xd8\xff", b"", b""), np.array([0.1, 0.2], np.float32)))
