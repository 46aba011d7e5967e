"""Figures of pixels over any number of pictures in bounded memory: histograms on the floats' own grid.

A float's bits, with the sign turned over, rise with its value. Their upper 18 tell 262,144
levels apart, finest around the threshold at logit 0 (1/512 of the value), whatever unit a method has.
Pixels of one level count as ties, so an area is wrong by at most half of what truth and
background share of the levels: that bound is computed and told (``rounding``).
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cloud_tools.evaluation.metrics import PixelCounts

PRO_LIMIT = 0.3
"""AUPRO is the mean up to this share of false pixels (Bergmann et al. 2021, section 5.2)."""
_BITS = 18
LEVELS = 1 << _BITS
_SIGN = np.uint32(1 << 31)
_SHIFT = np.uint32(32 - _BITS)


class PixelFigures(NamedTuple):
    """What pixels say; None where truth or background is missing."""

    pixel_auroc: float | None
    pixel_ap: float | None
    aupro: float | None
    iou: float | None
    dice: float | None
    rounding: float
    """``pixel_auroc`` is exact to within this."""


class PixelTally:
    """Pictures' pixels, summed; about 6 MB however many there are."""

    def __init__(self) -> None:
        self.counts = PixelCounts()
        self._good = np.zeros(LEVELS, np.int64)
        self._bad = np.zeros(LEVELS, np.int64)
        self._covered = np.zeros(LEVELS, np.float64)
        self._regions = 0

    def add(self, truth: NDArray[np.bool_], logits: NDArray[np.float32], threshold: float) -> None:
        """Count one picture.

        Args:
            truth: [H, W], True where it is defective.
            logits: [H, W], finite.
            threshold: a logit; at or above it a pixel is drawn.
        """
        self.counts = self.counts.plus(truth, logits >= threshold)
        levels = levels_of(logits)
        self._good += np.bincount(levels[~truth], minlength=LEVELS)
        if not truth.any():
            return
        defective = levels[truth]
        self._bad += np.bincount(defective, minlength=LEVELS)
        number, labels, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8), connectivity=8)
        shares = 1.0 / stats[:, cv2.CC_STAT_AREA]
        self._covered += np.bincount(defective, weights=shares[labels[truth]], minlength=LEVELS)
        self._regions += number - 1  # 0 is the background

    def figures(self) -> PixelFigures:
        """Return the figures of all pictures so far."""
        area, rounding = _auroc(self._bad, self._good)
        return PixelFigures(
            pixel_auroc=area,
            pixel_ap=_average_precision(self._bad, self._good),
            aupro=_aupro(self._covered, self._regions, self._good),
            iou=self.counts.iou if self.counts.true else None,
            dice=self.counts.dice if self.counts.true else None,
            rounding=rounding,
        )


def levels_of(logits: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the level 0..LEVELS-1 of each number; it never falls as the number rises."""
    bits = (np.ascontiguousarray(logits, np.float32) + np.float32(0)).view(np.uint32)  # -0 is 0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN) >> _SHIFT


def _auroc(bad: NDArray[np.int64], good: NDArray[np.int64]) -> tuple[float | None, float]:
    positives, negatives = float(bad.sum()), float(good.sum())
    if not positives or not negatives:
        return None, 0.0
    p, n = bad / positives, good / negatives
    below = np.cumsum(n) - n
    return float(p @ (below + n / 2)), float(p @ n / 2)


def _average_precision(bad: NDArray[np.int64], good: NDArray[np.int64]) -> float | None:
    positives = float(bad.sum())
    if not positives:
        return None
    hits, drawn = np.cumsum(bad[::-1]), np.cumsum((bad + good)[::-1])
    return float(bad[::-1] @ (hits / np.maximum(drawn, 1)) / positives)


def _aupro(covered: NDArray[np.float64], regions: int, good: NDArray[np.int64]) -> float | None:
    """Return the mean share of each region that is found, over false shares of 0 to ``PRO_LIMIT``."""
    negatives = float(good.sum())
    if not regions or not negatives:
        return None
    false = np.concatenate([[0.0], np.cumsum(good[::-1]) / negatives])
    found = np.concatenate([[0.0], np.cumsum(covered[::-1]) / regions])
    inside = false <= PRO_LIMIT
    x = np.append(false[inside], PRO_LIMIT)
    y = np.append(found[inside], np.interp(PRO_LIMIT, false, found))
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / PRO_LIMIT)
