"""What good parts stay below, from scores of good parts alone. The door to scipy's distributions."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOOD_SHARE: Final = 0.95
"""Of good parts, how many are expected below a limit that only good parts set: rather one in twenty
too many to look at than a defect that passes."""
_FALSELY: Final = 0.01
"""How often a part is called unlike the others where none is."""
_MOST: Final = 10
"""At most one in so many parts is unlike the others: more of them are a look of their own."""
_LEAST: Final = 3


def good_limit(values: ArrayLike) -> float:
    """Return what the next good part stays below with a chance of 0.95, from these good ones [N].

    The one-sided prediction limit of a normal distribution whose mean and spread are
    estimated from n values: mean + t * spread * sqrt(1 + 1/n). A quantile of few values
    would be their greatest, which one good part in n + 1 exceeds. Values that are unlike
    the others (``unlike``) do not count: one of them can triple the spread, and hide each defect.
    """
    good = np.asarray(values, np.float64)
    if len(good) <= 1:
        return float(good.max(initial=0.0)) * 2
    good = good[~unlike(good)]
    spread = float(good.std(ddof=1)) * np.sqrt(1 + 1 / len(good))
    return float(good.mean()) + _student(GOOD_SHARE, len(good) - 1) * float(spread)


def unlike(values: ArrayLike) -> NDArray[np.bool_]:
    """Return which of values [N] lie farther above the others than chance explains.

    The generalised extreme studentised deviate test of Rosner (Technometrics 25, 1983), one-sided:
    it finds several although they widen the spread that each is measured by, and one of normal
    values in a hundred samples.
    """
    good = np.asarray(values, np.float64)
    order = np.argsort(good, kind="stable")
    most = min(max(1, len(good) // _MOST), len(good) - _LEAST + 1)
    found = 0
    for above in range(most):
        rest = good[order[: len(good) - above]]
        if _deviate(rest) > _critical(len(rest)):
            found = above + 1
    outside = np.zeros(len(good), np.bool_)
    outside[order[len(good) - found :]] = True
    return outside


def _deviate(rising: NDArray[np.float64]) -> float:
    """Return how many standard deviations the greatest lies above the mean; 0 where all are the same."""
    spread = float(rising.std(ddof=1))
    return float(rising[-1] - rising.mean()) / spread if spread > 0 else 0.0


def _critical(count: int) -> float:
    """Return what the deviate of so many normal values exceeds once in a hundred times."""
    t = _student(1 - _FALSELY / count, count - 2)
    return (count - 1) * t / float(np.sqrt((count - 2 + t * t) * count))


def _student(share: float, freedom: int) -> float:
    """Return a quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))
