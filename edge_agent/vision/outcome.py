"""From a model's outputs to what the line acts on: verdict, score, label, mask."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import AnomalyMap, Decision, Kind, Manifest, Preprocess, Verdict
from edge_agent.vision.preprocess import Placement
from edge_agent.vision.scoring import calibrate, logit

DEFECT = "defect"


class Outcome(NamedTuple):
    """What one model says of one picture."""

    verdict: Verdict
    score: float
    """Calibrated, 0..1; at or above the threshold the part is NG."""
    threshold: float
    label: str
    """The best class that agrees with the verdict; of a mask model "defect" or nothing."""
    mask: NDArray[np.uint8] | None
    """[source height, source width], 255 is defective; None where nobody asked or the model draws none."""
    area: float
    """Defective share of the picture, 0..1, counted on the map (so it costs the same without a mask)."""


def form_outcome(
    manifest: Manifest,
    outputs: Mapping[str, NDArray[Any]],
    placement: Placement,
    *,
    threshold: float | None = None,
    with_mask: bool = True,
) -> Outcome:
    """Return the outcome of one picture (batch 1).

    Args:
        manifest: of the model that answered.
        outputs: "score" float32 [1] raw, "map" float32 [1, h, w] logits (segmentation, and
            anomaly where the manifest lists it), "probabilities" float32 [1, classes].
        placement: where ``prepare`` put the picture.
        threshold: in place of the manifest's; must lie in its signed range.
        with_mask: draw the mask in the picture's size.

    Raises:
        InferenceError: OUT_OF_RANGE: the threshold is outside the signed range. INTERNAL: an
            output is missing, has another shape or is not finite: such a candidate never answers.
    """
    decision = manifest.decision
    limit = _threshold(decision, threshold)
    score = calibrate(float(_output(outputs, "score", (1,))[0]), decision.calibration)
    verdict = Verdict.NG if score >= limit else Verdict.OK
    label = _label(manifest, outputs, verdict)
    if not _draws(manifest):
        return Outcome(verdict, score, limit, label, None, 0.0)
    logits = _output(outputs, "map", (1, -1, -1))[0]
    inner = _inner(logits, placement, manifest.preprocess)
    area = float(np.mean(inner >= logit(decision.pixel_threshold)))
    mask = mask_from_logits(_to_source(inner, placement), decision) if with_mask else None
    return Outcome(verdict, score, limit, label, mask, area)


def anomaly_map(manifest: Manifest, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> AnomalyMap | None:
    """Return what masks and heat maps of one picture are drawn from; None where the model draws none.

    Raises:
        InferenceError: INTERNAL: the map is missing, has another shape or is not finite.
    """
    if not _draws(manifest):
        return None
    inner = _inner(_output(outputs, "map", (1, -1, -1))[0], placement, manifest.preprocess)
    logits = np.ascontiguousarray(inner, np.float32)
    rows, columns = logits.shape
    threshold = manifest.decision.pixel_threshold
    return AnomalyMap(logits.tobytes(), rows, columns, threshold, placement.source_width, placement.source_height)


def picture_logits(logits: NDArray[np.float32], placement: Placement, rule: Preprocess) -> NDArray[np.float32]:
    """Return a map [h, w] without its padding, in the picture's size, still as logits."""
    return _to_source(_inner(logits, placement, rule), placement)


def mask_from_logits(logits: NDArray[np.float32], decision: Decision) -> NDArray[np.uint8]:
    """Return 255 where the sigmoid of the logits reaches the pixel threshold, else 0."""
    # The sigmoid is monotonic: comparing logits spares an exp for every pixel of the picture.
    return np.where(logits >= logit(decision.pixel_threshold), np.uint8(255), np.uint8(0))


def _threshold(decision: Decision, asked: float | None) -> float:
    low, high = decision.threshold_range
    limit = decision.threshold if asked is None else asked
    if not low <= limit <= high:
        raise InferenceError(Code.OUT_OF_RANGE, f"expected a threshold in the signed {low}..{high}, came {limit}")
    return limit


def _draws(manifest: Manifest) -> bool:
    listed = any(output.name == "map" for output in manifest.outputs)
    return manifest.kind is Kind.SEGMENTATION or (manifest.kind is Kind.ANOMALY and listed)


def _output(outputs: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    values = outputs.get(name)
    if values is None:
        raise InferenceError(Code.INTERNAL, f"expected an output {name}, came {sorted(outputs)}")
    fits = values.ndim == len(shape) and all(w in (-1, g) for w, g in zip(shape, values.shape, strict=True))
    if not fits or values.size == 0:
        raise InferenceError(Code.INTERNAL, f"expected {name}{list(shape)}, came {list(values.shape)}")
    if not np.isfinite(values).all():
        raise InferenceError(Code.INTERNAL, f"expected finite numbers in {name}, came NaN or infinity")
    return values


def _label(manifest: Manifest, outputs: Mapping[str, NDArray[Any]], verdict: Verdict) -> str:
    if manifest.kind is not Kind.CLASSIFICATION or not manifest.labels:
        return DEFECT if verdict is Verdict.NG else ""
    probabilities = _output(outputs, "probabilities", (1, len(manifest.labels)))[0]
    wanted = verdict is Verdict.OK
    agreeing = [i for i, name in enumerate(manifest.labels) if (name in manifest.normal_labels) == wanted]
    # With a threshold other than 0.5 the best class may contradict the verdict; a person reads both.
    best = max(agreeing or range(len(manifest.labels)), key=lambda i: float(probabilities[i]))
    return manifest.labels[best]


def _inner(logits: NDArray[np.float32], placement: Placement, rule: Preprocess) -> NDArray[np.float32]:
    """Cut the padding off; the map may be smaller than the input."""
    down = logits.shape[0] / rule.height
    across = logits.shape[1] / rule.width
    top, left = round(placement.top * down), round(placement.left * across)
    bottom = max(top + 1, round((placement.top + placement.height) * down))
    right = max(left + 1, round((placement.left + placement.width) * across))
    return logits[top:bottom, left:right]


def _to_source(logits: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    size = (placement.source_width, placement.source_height)
    inner = np.ascontiguousarray(logits, np.float32)
    return np.asarray(cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR), np.float32)
