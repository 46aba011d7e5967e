"""From raw outputs to thresholds, figures and predictions; the same for every kind of model."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud_tools.datasets import Split
from cloud_tools.evaluation.metrics import PixelCounts, auroc, average_precision, image_metrics
from cloud_tools.training.batches import Loaded
from edge_agent.formats import Decision, Preprocess
from edge_agent.vision import calibrate, logit, picture_logits

_PIXEL_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
_MOST_PIXELS = 4_000_000


class Answers(NamedTuple):
    """What a network says of loaded pictures, before any threshold."""

    loaded: Loaded
    raw: NDArray[np.float32]
    """[N]"""
    maps: NDArray[np.float32] | None
    """[N, h, w] logits; None for a classifier."""

    def of(self, split: Split) -> "Answers":
        """Return those of one split."""
        chosen = np.array([sample.split is split for sample in self.loaded.samples], np.bool_)
        return Answers(self.loaded.take(chosen), self.raw[chosen], None if self.maps is None else self.maps[chosen])

    def scores(self, decision: Decision) -> list[float]:
        """Return the calibrated scores, computed by the device's own code."""
        return [calibrate(float(value), decision.calibration) for value in self.raw]


def best_pixel_threshold(answers: Answers, rule: Preprocess) -> float:
    """Return the share at which the overlap, pooled over all pixels of the pictures, is best."""
    counts = {threshold: PixelCounts() for threshold in _PIXEL_THRESHOLDS}
    for truth, logits in _pixels(answers, rule):
        for threshold, sofar in counts.items():
            counts[threshold] = sofar.plus(truth, logits >= logit(threshold))
    return max(counts, key=lambda threshold: counts[threshold].iou)


def figures(answers: Answers, decision: Decision, rule: Preprocess) -> dict[str, Any]:
    """Return the metrics of these answers: image level, and pixel level where there are maps and masks."""
    found = image_metrics(answers.loaded.anomalous, answers.scores(decision), decision.threshold)
    anomalous = [sample for sample in answers.loaded.samples if sample.anomalous]
    if answers.maps is None or (anomalous and all(sample.mask is None for sample in anomalous)):
        return found
    counts = PixelCounts()
    truths: list[NDArray[np.bool_]] = []
    shares: list[NDArray[np.float32]] = []
    for truth, logits in _pixels(answers, rule):
        counts = counts.plus(truth, logits >= logit(decision.pixel_threshold))
        truths.append(truth.ravel())
        shares.append(logits.ravel())
    all_truth, all_shares = np.concatenate(truths), np.concatenate(shares)
    step = max(1, len(all_truth) // _MOST_PIXELS)  # ranking needs no more; the overlap counts every pixel
    return found | {
        # Without a defect a map that shows nothing would be perfect, whatever it shows elsewhere.
        "iou": counts.iou if counts.true else None,
        "dice": counts.dice if counts.true else None,
        "pixel_auroc": auroc(all_truth[::step], all_shares[::step]),
        "pixel_ap": average_precision(all_truth[::step], all_shares[::step]),
    }


def _pixels(answers: Answers, rule: Preprocess) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float32]]]:
    """Yield truth and logits of each picture whose truth is known, in its own size: what the device would draw."""
    if answers.maps is None:
        raise TypeError("expected maps, came a classifier's answers")
    for sample, placement, logits in zip(answers.loaded.samples, answers.loaded.placements, answers.maps, strict=True):
        if not sample.is_drawn():
            continue
        truth = sample.truth(placement.source_height, placement.source_width)
        yield truth, picture_logits(logits, placement, rule)
