"""A tiny model that also tells where a picture lies among others: by its colour."""

import hashlib
import math
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_agent.formats import Manifest, parse
from edge_agent.formats.bank import Bank, BankPart, write_bank
from edge_agent.vision import encode_png, small_jpeg
from tests.fakes.tiny_models import replace_model, write_version

BLUES = tuple(range(60, 100, 2))
"""How blue the parts were that it learnt from; their green is 80."""
_HELD = tuple(range(61, 100, 4))


def coloured(blue: int, green: int = 80) -> bytes:
    """Return a PNG of one colour, dark enough to be OK."""
    return encode_png(np.full((16, 24, 3), (0, green, blue), np.uint8))


def where(blue: int, green: int = 80) -> NDArray[np.float32]:
    """Return what the graph answers for that colour: its direction, [3]."""
    return np.array([0, green, blue], np.float32) / np.float32(math.hypot(green, blue))


def write_telling(directory: Path, *, name: str = "colour", version: str = "1", bank: bytes | None = None) -> Manifest:
    """Write a version whose graph has an output "embedding", with a memory bank, or with ``bank`` in its place."""
    manifest = write_version(directory, name=name, version=version, kind="anomaly")
    model = onnx.load(directory / manifest.model_artefact.path)
    _add_embedding(model)
    manifest = replace_model(directory, manifest, model.SerializeToString())
    content = colour_bank() if bank is None else bank
    (directory / "bank.safetensors").write_bytes(content)
    told = manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
    told["outputs"].append({"name": "embedding", "dtype": "float32", "shape": [-1, 3]})
    digest = hashlib.sha256(content).hexdigest()
    told["artefacts"].append({"path": "bank.safetensors", "role": "bank", "size_bytes": len(content), "sha256": digest})
    manifest = parse(Manifest, told, what="manifest")
    (directory / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def colour_bank() -> bytes:
    """Return the bank of parts of ``BLUES``."""
    rows = np.stack([where(blue) for blue in BLUES])
    held = np.stack([where(blue) for blue in _HELD])
    distances = (1 - (held @ rows.T).max(1)).astype(np.float32)
    parts = tuple(BankPart(file=f"train/good/<b>{blue}</b>.png", label="good") for blue in BLUES)
    small = tuple(small_jpeg(np.full((96, 96, 3), (0, 80, blue), np.uint8), 96) for blue in BLUES)
    return write_bank(Bank(rows, parts, small, distances))


def _add_embedding(model: onnx.ModelProto) -> None:
    axes = onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "plane")
    model.graph.initializer.append(axes)
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["image"], ["coloured"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["coloured", "plane"], ["colour"], keepdims=0),
            helper.make_node("LpNormalization", ["colour"], ["embedding"], axis=1, p=2),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3]))
    onnx.checker.check_model(model)


def write_telling_anew(directory: Path, manifest: Manifest) -> Manifest:
    """Give a version another graph, of the same answers."""
    model = onnx.load(directory / manifest.model_artefact.path)
    model.producer_name = "another"
    return replace_model(directory, manifest, model.SerializeToString())
