"""Curves of one model's scores: ROC, precision over recall, how the two classes' scores are spread. Pure."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST_POINTS = 200
BINS = 24


class Point(NamedTuple):
    """One point of a curve, both 0..1."""

    x: float
    y: float


class Spread(NamedTuple):
    """Pictures by score, in ``BINS`` equal steps of 0..1."""

    good: tuple[int, ...]
    anomalous: tuple[int, ...]


def roc_curve(anomalous: ArrayLike, scores: ArrayLike) -> tuple[Point, ...]:
    """Return share of good pictures called NG over share of anomalous ones found; empty with one class."""
    truth, hits, false = _falling(anomalous, scores)
    if truth.all() or not truth.any():
        return ()
    x = np.concatenate([[0.0], false / false[-1]])
    y = np.concatenate([[0.0], hits / hits[-1]])
    return _thinned(x, y)


def precision_recall_curve(anomalous: ArrayLike, scores: ArrayLike) -> tuple[Point, ...]:
    """Return precision over recall, from the highest score down; empty without an anomalous picture."""
    truth, hits, false = _falling(anomalous, scores)
    if not truth.any():
        return ()
    x = hits / hits[-1]
    y = hits / (hits + false)
    return _thinned(np.concatenate([[0.0], x]), np.concatenate([y[:1], y]))


def spread(anomalous: ArrayLike, scores: ArrayLike) -> Spread:
    """Return how many pictures of each class have which score."""
    truth, values = np.asarray(anomalous, bool), np.asarray(scores, np.float64)
    bins = np.clip((values * BINS).astype(int), 0, BINS - 1)
    counted = [np.bincount(bins[chosen], minlength=BINS).tolist() for chosen in (~truth, truth)]
    return Spread(tuple(counted[0]), tuple(counted[1]))


def _falling(anomalous: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return the truth, and true and false alarms at each distinct score, from the highest down."""
    truth, values = np.asarray(anomalous, bool), np.asarray(scores, np.float64)
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.diff(values[order]) != 0, True)[: len(values)]
    hits = np.cumsum(truth[order])[last_of_tie]
    false = np.cumsum(~truth[order])[last_of_tie]
    return truth, hits, false


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Point, ...]:
    """Keep what a drawing can show: both ends and at most ``_MOST_POINTS`` between them."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    return tuple(Point(round(float(x[i]), 5), round(float(y[i]), 5)) for i in kept)
