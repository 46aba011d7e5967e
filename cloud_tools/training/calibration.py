"""Calibration and thresholds: chosen on validation, written into the manifest."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cloud_tools.evaluation.metrics import confusion
from cloud_tools.training.limits import good_limit
from edge_agent.formats import Calibration, Decision
from edge_agent.vision import sigmoid

_STEPS = 60
_RIDGE = 1e-3
_STEEPEST = 6.0
_F1_GIVEN_AWAY = 0.1
_LEAST_ROOM = 0.1
_TYPICAL_LOGIT = 3.0
_LEAST_RELATIVE = 0.02
_GOOD_RANGE = (0.1, 0.99)


def fit_calibration(anomalous: ArrayLike, raw: ArrayLike) -> Calibration:
    """Return scale and offset so that the sigmoid reads as a probability (Platt 1999, smoothed targets).

    Scores that separate the classes do not make it infinitely steep: targets keep away from 0
    and 1 as in Platt's paper, and the scale is bounded so that fp32 noise stays below 1e-4.
    """
    truth, values = np.asarray(anomalous, bool), np.asarray(raw, np.float64)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return Calibration()
    spread = float(values.std()) or 1.0
    centre = float(values.mean())
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, offset = _newton((values - centre) / spread, target)
    scale = min(max(slope / spread, 1e-3), _STEEPEST)
    return Calibration(scale=scale, offset=offset - scale * centre)


def _newton(values: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float]:
    columns = np.stack([values, np.ones_like(values)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-np.clip(columns @ weights, -30, 30)))
        gradient = columns.T @ (share - target) + _RIDGE * weights
        curvature = (columns * (share * (1 - share))[:, None]).T @ columns + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights -= step * min(1.0, 4.0 / float(np.abs(step).max() or 1.0))
    return float(weights[0]), float(weights[1])


def best_threshold(anomalous: ArrayLike, scores: ArrayLike) -> float:
    """Return the F1-optimal threshold, in the middle of the gap between the scores around it."""
    truth, values = np.asarray(anomalous, bool), np.asarray(scores, np.float64)
    if truth.all() or not truth.any():
        return 0.5
    levels = np.unique(values)
    cuts = np.concatenate([[max(0.0, levels[0] - 1e-6)], (levels[1:] + levels[:-1]) / 2])
    figures = np.array([confusion(truth, values, cut).f1 for cut in cuts])
    best = np.flatnonzero(figures == figures.max())
    # Of several equal cuts the one in the widest gap is the least likely to be luck.
    widths = np.concatenate([[0.0], np.diff(levels)])
    return float(cuts[best[np.argmax(widths[best])]])


def decide(anomalous: ArrayLike, raw: ArrayLike, *, pixel_threshold: float = 0.5) -> Decision:
    """Return calibration, threshold and the range in which a device may move it.

    The range is where F1 on validation stays within 0.1 of the best, at least 0.1 to each side.
    """
    truth = np.asarray(anomalous, bool)
    calibration = fit_calibration(truth, raw)
    scores = np.array([sigmoid(calibration.scale * float(r) + calibration.offset) for r in np.asarray(raw)])
    threshold = round(min(max(best_threshold(truth, scores), 0.01), 0.99), 6)
    grid = np.linspace(0.01, 0.99, 99)
    figures = np.array([confusion(truth, scores, cut).f1 for cut in grid])
    fair = grid[figures >= figures.max() - _F1_GIVEN_AWAY]
    low = max(0.01, min(float(fair.min()), threshold - _LEAST_ROOM))
    high = min(0.99, max(float(fair.max()), threshold + _LEAST_ROOM))
    return Decision(
        calibration=calibration,
        threshold=threshold,
        threshold_range=(round(low, 6), round(high, 6)),
        pixel_threshold=pixel_threshold,
    )


def decide_distance(anomalous: ArrayLike, raw: ArrayLike, *, pixel_threshold: float = 0.5) -> Decision:
    """Return the decision for distances, which have any unit: as ``decide``, or by good parts alone.

    Without a defect in validation there is no F1 to be best: the threshold is the limit of
    the good parts (``good_limit``), a score of 0.5, and a typical good part shows 0.05. A device may
    move it between 0.1 and 0.99, since nobody could measure what moving costs.
    """
    truth, values = np.asarray(anomalous, bool), np.asarray(raw, np.float64)
    if not truth.any():
        limit, centre = good_limit(values), float(np.median(values))
        scale = _TYPICAL_LOGIT / max(limit - centre, _LEAST_RELATIVE * abs(limit), 1e-9)
        calibration = Calibration(scale=scale, offset=-scale * limit)
        return Decision(
            calibration=calibration, threshold=0.5, threshold_range=_GOOD_RANGE, pixel_threshold=pixel_threshold
        )
    centre = float(values.mean())
    unit = max(float(values.std()), _LEAST_RELATIVE * abs(centre), 1e-9)
    decision = decide(truth, (values - centre) / unit, pixel_threshold=pixel_threshold)
    scale = decision.calibration.scale / unit
    calibration = Calibration(scale=scale, offset=decision.calibration.offset - scale * centre)
    return decision.model_copy(update={"calibration": calibration})
