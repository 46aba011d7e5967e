"""Metrics of detection, written out: numpy only, ties handled, no surprise defaults."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Confusion(NamedTuple):
    """Counts of verdicts; anomalous is positive."""

    true_ng: int
    false_ng: int
    false_ok: int
    true_ok: int

    @property
    def f1(self) -> float:
        """Return 2 TP / (2 TP + FP + FN); 0 where nothing is positive."""
        total = 2 * self.true_ng + self.false_ng + self.false_ok
        return 2 * self.true_ng / total if total else 0.0

    @property
    def accuracy(self) -> float:
        """Return the share of right verdicts."""
        return (self.true_ng + self.true_ok) / max(1, sum(self))


def confusion(anomalous: ArrayLike, scores: ArrayLike, threshold: float) -> Confusion:
    """Return the counts when a score at or above the threshold is NG."""
    truth, ng = np.asarray(anomalous, bool), np.asarray(scores) >= threshold
    counts = (truth & ng, ~truth & ng, truth & ~ng, ~truth & ~ng)
    return Confusion(*(int(np.count_nonzero(c)) for c in counts))


def auroc(anomalous: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the ROC curve (ties count half); None with only one class."""
    truth = np.asarray(anomalous, bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    ranks = _mean_ranks(np.asarray(scores, np.float64))
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(anomalous: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the precision-recall steps; None with only one class: of positives alone it is always 1."""
    truth, values = np.asarray(anomalous, bool), np.asarray(scores, np.float64)
    if truth.all() or not truth.any():
        return None
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(truth[order])
    last_of_tie = np.append(np.diff(values[order]) != 0, True)
    precision = (hits / np.arange(1, len(hits) + 1))[last_of_tie]
    recall = (hits / hits[-1])[last_of_tie]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


class PixelCounts(NamedTuple):
    """Pixels of truth and prediction, summed over pictures."""

    both: int = 0
    predicted: int = 0
    true: int = 0

    def plus(self, truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> "PixelCounts":
        """Return the counts with one more picture."""
        both = int(np.count_nonzero(truth & predicted))
        return PixelCounts(
            self.both + both,
            self.predicted + int(np.count_nonzero(predicted)),
            self.true + int(np.count_nonzero(truth)),
        )

    @property
    def iou(self) -> float:
        """Return intersection over union, pooled over all pixels; 1 where both are empty."""
        union = self.predicted + self.true - self.both
        return self.both / union if union else 1.0

    @property
    def dice(self) -> float:
        """Return 2 * intersection / (predicted + true), pooled; 1 where both are empty."""
        total = self.predicted + self.true
        return 2 * self.both / total if total else 1.0


def image_metrics(anomalous: ArrayLike, scores: ArrayLike, threshold: float) -> dict[str, Any]:
    """Return f1, accuracy, image_auroc, image_ap and the confusion at this threshold."""
    counts = confusion(anomalous, scores, threshold)
    return {
        "f1": counts.f1,
        "accuracy": counts.accuracy,
        "image_auroc": auroc(anomalous, scores),
        "image_ap": average_precision(anomalous, scores),
        "confusion": counts._asdict(),
    }


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)
