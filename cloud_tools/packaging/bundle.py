"""Writes a bundle: manifest.json, the model (model.onnx, model.xml and model.bin, or neo/*), golden/*.png.

``release_seq`` is 1 here: only who publishes knows how many releases there were, and
``publish`` puts the real number in before anything is signed.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.check import check_contract, check_graph
from cloud_tools.packaging.golden import INT8_TOLERANCE, TOLERANCE, steady
from cloud_tools.packaging.parts import BANK, GOLDEN, IR, MODEL, ManifestParts, model_of, read_parts
from edge_agent.errors import Code
from edge_agent.formats import Artefact, Golden, GoldenSample, Kind, Manifest, Role, parse
from edge_agent.formats.bank import EMBEDDING, read_bank, write_bank
from edge_agent.vision import RGB, calibrate, decode, encode_png, prepare

MANIFEST = "manifest.json"
SCHEMA = "edge-agent/manifest/1"
MOST_GOLDEN = 64
NEO = "neo"
_MEMORY_FLOOR_BYTES = 120 << 20
"""What a worker needs before it has loaded anything: Python, numpy, cv2, the runtime."""
_SECOND_OUTPUT = {Kind.CLASSIFICATION: "probabilities", Kind.SEGMENTATION: "map", Kind.ANOMALY: "map"}


class ModelFile(NamedTuple):
    """One file of a model."""

    path: str
    """In the bundle."""
    source: Path
    role: Role


class Packaged(NamedTuple):
    """What was written."""

    directory: Path
    manifest: Manifest
    sha256: str
    """Of manifest.json."""


def package_run(
    run: Path, name: str, version: str, out: Path, *, bank: bool = True, thumbnails: bool = True
) -> Packaged:
    """Write a training's run as a bundle directory ``out``.

    Args:
        run: of the training.
        name: of the model.
        version: of the model.
        out: as for ``package``.
        bank: carry the run's memory bank along, where it has one.
        thumbnails: with small pictures of the parts that were learnt from.

    Raises:
        CloudError: it is no run, its graph is not one for a device, or ``out`` is not empty.
        DocumentError: the name or the version is malformed.
    """
    parts = read_parts(run)
    pictures = [decode(path.read_bytes()) for path in sorted((run / GOLDEN).glob("*.png"))]
    memory = run_bank(run, thumbnails=thumbnails) if bank else b""
    return package(model_of(run), parts, pictures, name, version, out, bank=memory)


def shortfall(run: Path) -> str:
    """Return why a gate stopped the training of a run; empty: none did, or it left no report."""
    from cloud_tools.training.report import REPORT

    try:
        report = json.loads((run / REPORT).read_bytes())
        return "" if report["ok"] else str(report["message"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def run_bank(run: Path, *, thumbnails: bool) -> bytes:
    """Return the memory bank that a training left, as a release carries it; empty where it left none.

    Raises:
        BundleError: MANIFEST_INVALID: the file was changed and is none now.
    """
    path = run / BANK
    if not path.is_file():
        return b""
    content = path.read_bytes()
    bank = read_bank(content, str(path))
    return content if thumbnails else write_bank(bank.without_thumbnails())


def package(
    model: Path,
    parts: ManifestParts,
    pictures: Sequence[RGB],
    name: str,
    version: str,
    out: Path,
    *,
    machines: Sequence[str] = (),
    bank: bytes = b"",
) -> Packaged:
    """Write a graph as a bundle directory; scores of the golden pictures come from the device's path.

    Args:
        model: the ONNX file, the .xml of an IR whose .bin lies beside it, or the .meta of what Neo compiled.
        parts: what is known of it.
        pictures: golden ones, 1..64.
        name: of the model.
        version: of the model.
        out: new or empty; it is there completely or not at all.
        machines: that can execute it, as uname prints them; empty: any.
        bank: the memory bank's content; empty: it carries none.

    Raises:
        CloudError: the graph is not one for a device or contradicts ``parts``; ``out`` is not empty.
        DocumentError: the name or the version is malformed.
    """
    _require_empty(out)
    signature = _signature(model, parts)
    _check_parts(model, parts, signature)
    if not 1 <= len(pictures) <= MOST_GOLDEN:
        raise CloudError(Code.INVALID_ARGUMENT, f"expected 1..{MOST_GOLDEN} golden pictures, came {len(pictures)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.parent / f".{out.name}.{uuid.uuid4().hex}"
    try:
        fields = {"model": name, "version": version, **signature}
        manifest = _stage(staged, model_files(model), parts, pictures, fields, machines, bank)
        if out.exists():
            out.rmdir()
        staged.replace(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Packaged(out, manifest, hashlib.sha256((out / MANIFEST).read_bytes()).hexdigest())


def model_files(model: Path) -> list[ModelFile]:
    """Return the files of a model, the one that the runtime loads first."""
    if model.suffix == ".xml":
        weights = model.with_suffix(".bin")
        return [ModelFile(IR, model, Role.MODEL), ModelFile("model.bin", weights, Role.EXTRA)]
    if model.suffix != ".meta":
        return [ModelFile(MODEL, model, Role.MODEL)]
    others = sorted(path for path in model.parent.iterdir() if path != model)
    roles = {".so": Role.LIBRARY}
    files = [ModelFile(f"{NEO}/{path.name}", path, roles.get(path.suffix, Role.EXTRA)) for path in others]
    return [ModelFile(f"{NEO}/{model.name}", model, Role.MODEL), *files]


def _signature(model: Path, parts: ManifestParts) -> dict[str, Any]:
    if model.suffix == ".onnx":
        return dict(check_graph(model))
    device = DeviceModel(model, precision=parts.runtime.precision)
    ours = ("score", "map", "probabilities", EMBEDDING)
    outputs = tuple(spec for spec in device.outputs if spec.name in ours)
    signature: dict[str, Any] = {"inputs": device.inputs, "outputs": outputs}
    check_contract(model, signature, compiled=model.suffix == ".meta")
    return signature


def _stage(
    staged: Path,
    files: Sequence[ModelFile],
    parts: ManifestParts,
    pictures: Sequence[RGB],
    fields: dict[str, Any],
    machines: Sequence[str],
    bank: bytes,
) -> Manifest:
    (staged / GOLDEN).mkdir(parents=True)
    for file in files:
        (staged / file.path).parent.mkdir(exist_ok=True)
        shutil.copyfile(file.source, staged / file.path)
    device = DeviceModel(staged / files[0].path, precision=parts.runtime.precision)
    golden = _golden(staged, device, pictures, parts)
    artefacts = [_artefact(staged, file.path, file.role) for file in files]
    artefacts += [_artefact(staged, sample.image, Role.GOLDEN) for sample in golden.samples]
    if bank:
        (staged / BANK).write_bytes(bank)
        artefacts.append(_artefact(staged, BANK, Role.BANK))
    memory = _MEMORY_FLOOR_BYTES + 6 * device.size_bytes
    content = {
        "schema": SCHEMA,
        "release_seq": 1,
        "requires": {"memory_bytes": memory} | ({"machines": tuple(machines)} if machines else {}),
        "golden": golden,
        "artefacts": artefacts,
        **{key: getattr(parts, key) for key in ManifestParts.model_fields},
        **fields,
    }
    manifest = parse(Manifest, content, what="manifest")
    (staged / MANIFEST).write_bytes(manifest.to_json())
    return manifest


def _golden(staged: Path, device: DeviceModel, pictures: Sequence[RGB], parts: ManifestParts) -> Golden:
    """Write the pictures and return them with the answers that a device gives on the very files."""
    tolerance = INT8_TOLERANCE if parts.runtime.precision == "int8" else TOLERANCE
    encoded = [encode_png(picture) for picture in pictures]
    scores = [_score(device, content, parts) for content in encoded]
    threshold, samples = parts.decision.threshold, []
    for index in steady(scores, threshold, tolerance):
        path = f"{GOLDEN}/{index}.png"
        (staged / path).write_bytes(encoded[index])
        verdict = "NG" if scores[index] >= threshold else "OK"
        samples.append(GoldenSample(image=path, score=scores[index], verdict=verdict))
    return Golden(tolerance=tolerance, samples=tuple(samples))


def _score(device: DeviceModel, content: bytes, parts: ManifestParts) -> float:
    image, _ = prepare(decode(content), parts.preprocess)
    return calibrate(float(device.run(image[np.newaxis])["score"][0]), parts.decision.calibration)


def _artefact(root: Path, path: str, role: Role) -> Artefact:
    content = (root / path).read_bytes()
    return Artefact(path=path, role=role, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _check_parts(model: Path, parts: ManifestParts, signature: dict[str, Any]) -> None:
    image = signature["inputs"][0]
    size = (parts.preprocess.height, parts.preprocess.width)
    if image.shape[1:3] != size:
        raise CloudError(Code.INVALID_ARGUMENT, f"{model}: expected an input of {size[0]} x {size[1]}, came {image}")
    outputs = {spec.name: spec for spec in signature["outputs"]}
    second = outputs.get(_SECOND_OUTPUT[parts.kind])
    if second is None and parts.kind is not Kind.ANOMALY:
        wanted = f"an output {_SECOND_OUTPUT[parts.kind]} for {parts.kind.value}"
        raise CloudError(Code.INVALID_ARGUMENT, f"{model}: expected {wanted}, came {sorted(outputs)}")
    if parts.kind is Kind.CLASSIFICATION and second is not None and second.shape[-1] not in (-1, len(parts.labels)):
        came = f"{second.shape[-1]}"
        raise CloudError(Code.INVALID_ARGUMENT, f"{model}: expected {len(parts.labels)} probabilities, came {came}")


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CloudError(Code.ALREADY_EXISTS, f"expected a new or empty folder, came {out}")
