"""A graph that was not trained here: its manifest parts are told, or read off the graph."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cloud_tools.errors import CloudError
from cloud_tools.export.check import check_graph
from cloud_tools.packaging.parts import ManifestParts
from edge_agent.errors import Code
from edge_agent.formats import Decision, Kind, Preprocess
from edge_agent.vision import RGB, decode

_SYNTHETIC = 4
_NAMES = (".png", ".jpg", ".jpeg")


def describe_graph(
    model: Path, *, labels: Sequence[str], normal_labels: Sequence[str], threshold: float
) -> ManifestParts:
    """Return the parts of a graph that keeps the contract; the kind follows from its outputs.

    Args:
        model: the ONNX file.
        labels: of "probabilities", in its order.
        normal_labels: those that mean OK.
        threshold: of the score after the sigmoid, 0..1.

    Raises:
        CloudError: the graph breaks the contract, its input size is free, or labels are missing.
    """
    if not 0 <= threshold <= 1:
        raise CloudError(Code.OUT_OF_RANGE, f"expected a threshold of 0..1, came {threshold}")
    signature = check_graph(model)
    _, height, width, _ = signature["inputs"][0].shape
    names = {spec.name for spec in signature["outputs"]}
    kind = Kind.CLASSIFICATION if "probabilities" in names else Kind.SEGMENTATION
    if kind is Kind.CLASSIFICATION and (not labels or not normal_labels or set(normal_labels) - set(labels)):
        came = f"{list(labels)} with {list(normal_labels)} as normal"
        raise CloudError(Code.INVALID_ARGUMENT, f"expected --label for each class and --normal-label, came {came}")
    return ManifestParts(
        kind=kind,
        labels=tuple(labels),
        normal_labels=tuple(normal_labels),
        preprocess=Preprocess(width=width, height=height),
        decision=Decision(threshold=threshold),
        provenance={"source": model.name},
    )


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
