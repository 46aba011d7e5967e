"""What good parts reach under networks that have not seen them: more of them than the pictures held out alone.

A line begins with some thirty good pictures, of which a quarter is held out: eight scores say little of
how far the next good part may reach. Those that were learnt from say it too, fold by fold.
"""

import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud_tools.training.anomaly.network import AnomalyNetwork
from cloud_tools.training.classification import scores_of
from cloud_tools.training.lesson import Lesson
from cloud_tools.training.progress import without_lines

FOLDS: Final = 4
ENOUGH: Final = 30
"""Good pictures held out that say enough by themselves."""


class Reach(NamedTuple):
    """What good parts reached, each under a network that had not seen it."""

    scores: NDArray[np.float32]
    """[N], raw"""
    highest: NDArray[np.float64]
    """[N], of the map's distances"""
    files: tuple[str, ...]
    """N, of the pictures"""


NOTHING: Final = Reach(np.zeros(0, np.float32), np.zeros(0), ())


def cross_fitted(train: Callable[[Lesson], AnomalyNetwork], lesson: Lesson) -> Reach:
    """Return what the good pictures that are learnt from reach, each under a network that learnt the other folds.

    Nothing where enough were held out anyway, or where there are too few parts to leave some out.

    Args:
        train: the method.
        lesson: of the model itself; whole parts stay in one fold.
    """
    held = int((~lesson.validation.anomalous).sum())
    folds = fold_of([sample.part for sample in lesson.train.samples], lesson.seed)
    if held >= ENOUGH or len(set(folds.tolist())) < FOLDS:
        return NOTHING
    lesson.progress(f"thresholds: only {held} good pictures were held out; the others are, a quarter at a time")
    quiet = lesson._replace(progress=without_lines(lesson.progress))
    scores, highest, files = zip(*(_left_out(train, quiet, folds == fold) for fold in range(FOLDS)), strict=True)
    return Reach(np.concatenate(scores), np.concatenate(highest), tuple(itertools.chain(*files)))


def _left_out(train: Callable[[Lesson], AnomalyNetwork], lesson: Lesson, out: NDArray[np.bool_]) -> Reach:
    whole = lesson.train
    network = train(lesson._replace(train=whole.take(~out)))
    good = whole.take(out & ~whole.anomalous)
    files = tuple(sample.file for sample in good.samples)
    return Reach(scores_of(network, good.images)[0], network.reach(good.images), files)


def fold_of(parts: list[str], seed: int) -> NDArray[np.intp]:
    """Return the fold of each picture, 0 to FOLDS - 1: pictures of one part are in the same.

    Args:
        parts: the part of each picture.
        seed: of the draw.
    """
    names = sorted(set(parts))
    drawn = np.random.default_rng(seed).permutation(len(names))
    fold = {name: int(place) % FOLDS for name, place in zip(names, drawn, strict=True)}
    return np.array([fold[part] for part in parts], np.intp)
