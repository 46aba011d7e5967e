"""A graph that was not trained here: its manifest parts are told, or read off the graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.check import check_graph
from cloud_tools.export.told import Told
from cloud_tools.packaging import golden
from cloud_tools.packaging.bundle import MOST_GOLDEN, Packaged, package
from cloud_tools.packaging.parts import ManifestParts
from edge_agent.errors import Code
from edge_agent.formats import Decision, Kind, Preprocess, parse
from edge_agent.vision import RGB, calibrate, decode, prepare

_SYNTHETIC = 4
_NAMES = (".png", ".jpg", ".jpeg")


class Rule(NamedTuple):
    """What is told of a model beside its graph."""

    threshold: float = 0.5
    """Of the calibrated score."""
    letterbox: bool = True
    """Keep the aspect ratio and pad; False: stretch, as most trainings elsewhere do."""
    provenance: Mapping[str, Any] = MappingProxyType({})


def package_graph(
    source: Path, told: Told, rule: Rule, pictures: Path | None, name: str, version: str, out: Path, work: Path
) -> tuple[Packaged, str]:
    """Write a model from elsewhere as a bundle; return it, and what was recognised, in words.

    Args:
        source: an ONNX file of our contract or of floats, or what ``converted`` makes one of.
        told: how it wants its pictures and what it says.
        rule: what is told beside that.
        pictures: folder that golden samples are chosen from; None: noise.
        name: of the model.
        version: of the model.
        out: new or empty; it is there completely or not at all.
        work: an empty folder for what is made on the way.

    Raises:
        CloudError: the model is not allowed, contradicts what is told, or ``out`` is not empty.
        BundleError: its weights lie outside its own folder.
        DocumentError: the name or the version is malformed.
        InferenceError: a golden picture cannot be decoded.
    """
    from cloud_tools.export.convert import converted
    from cloud_tools.export.wrap import wrap

    graph = converted(source, told, work)
    wrapped = wrap(graph, told, work / "wrapped.onnx")
    labels, normal = told.labels, told.normal_labels
    if wrapped.contract is not None:
        labels, normal = wrapped.contract.labels, wrapped.contract.normal_labels
    parts = describe_graph(
        wrapped.path, labels=labels, normal_labels=normal, threshold=rule.threshold, letterbox=rule.letterbox
    )
    parts = _completed(parts, told, rule, source)
    chosen = choose_pictures(wrapped.path, parts, golden_pictures(pictures, parts.preprocess))
    recognised = "" if wrapped.contract is None else wrapped.contract.recognised
    return package(wrapped.path, parts, chosen, name, version, out), recognised


def _completed(parts: ManifestParts, told: Told, rule: Rule, source: Path) -> ManifestParts:
    decision = decision_of(told, rule.threshold)
    provenance = {"source": source.name, **rule.provenance}
    return parts.model_copy(update={"decision": decision, "provenance": provenance})


def decision_of(told: Told, threshold: float) -> Decision:
    """Return what is decided by.

    Raises:
        DocumentError: scale, offset or threshold cannot be.
    """
    content = {"calibration": {"scale": told.scale, "offset": told.offset}, "threshold": threshold}
    return parse(Decision, content, what="decision")


def describe_graph(
    model: Path, *, labels: Sequence[str], normal_labels: Sequence[str], threshold: float, letterbox: bool = True
) -> ManifestParts:
    """Return the parts of a graph that keeps the contract; the kind follows from its outputs.

    Args:
        model: the ONNX file.
        labels: of "probabilities", in its order.
        normal_labels: those that mean OK.
        threshold: of the score after the sigmoid, 0..1.
        letterbox: pictures keep their aspect ratio.

    Raises:
        CloudError: the graph breaks the contract, its input size is free, or labels are missing.
    """
    if not 0 <= threshold <= 1:
        raise CloudError(Code.OUT_OF_RANGE, f"expected a threshold of 0..1, came {threshold}")
    signature = check_graph(model)
    _, height, width, _ = signature["inputs"][0].shape
    kind = _kind({spec.name for spec in signature["outputs"]})
    if kind is Kind.CLASSIFICATION and (not labels or not normal_labels or set(normal_labels) - set(labels)):
        came = f"{list(labels)} with {list(normal_labels)} as normal"
        raise CloudError(Code.INVALID_ARGUMENT, f"expected --label for each class and --normal-label, came {came}")
    return ManifestParts(
        kind=kind,
        labels=tuple(labels),
        normal_labels=tuple(normal_labels),
        preprocess=Preprocess(width=width, height=height, letterbox=letterbox),
        decision=Decision(threshold=threshold),
        provenance={"source": model.name},
    )


def _kind(outputs: set[str]) -> Kind:
    if "probabilities" in outputs:
        return Kind.CLASSIFICATION
    return Kind.SEGMENTATION if "map" in outputs else Kind.ANOMALY


def golden_pictures(folder: Path | None, rule: Preprocess) -> list[RGB]:
    """Return the pictures of a folder; without one, noise: it still shows whether a device computes the same.

    Raises:
        CloudError: the folder holds no picture.
        InferenceError: one of them cannot be decoded.
    """
    if folder is None:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 256, (rule.height, rule.width, 3), np.uint8) for _ in range(_SYNTHETIC)]
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in _NAMES)
    if not files:
        raise CloudError(Code.NOT_FOUND, f"expected PNG or JPEG pictures in {folder}, came none")
    return [decode(path.read_bytes()) for path in files]


def choose_pictures(model: Path, parts: ManifestParts, pictures: Sequence[RGB]) -> list[RGB]:
    """Return the pictures that become golden samples: all of few, of many those that ``golden.choose`` takes."""
    if len(pictures) <= golden.MOST_CHOSEN:
        return list(pictures)
    device, decision = DeviceModel(model), parts.decision
    candidates = []
    for index, picture in enumerate(pictures):
        image, _ = prepare(picture, parts.preprocess)
        raw = float(device.run(image[np.newaxis])["score"][0])
        candidates.append(golden.Candidate(f"{index:06}", calibrate(raw, decision.calibration)))
    chosen = golden.choose(candidates, decision.threshold)[:MOST_GOLDEN]
    return [pictures[int(candidate.file)] for candidate in chosen]
