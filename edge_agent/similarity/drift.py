"""Whether live parts lie farther from the memory bank than good parts did at training. Pure."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.formats.bank import Bank
from edge_agent.formats.similar import BankStatus

LIVE = 500
"""The newest parts that are judged."""
NEEDED = 100
_GOOD_SHARE = 0.99
_CHANCE = 1e-3
_LEAST_DRIFT = 0.25
"""With many parts any change can be told from chance; a smaller one is no reason to act."""


class Watch:
    """The distances of the newest live parts to one bank.

    Args:
        bank: what they are measured from.
    """

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.limit = bank.limit(_GOOD_SHARE)
        self._live = np.zeros(LIVE, np.float32)
        self._count = 0

    def add(self, distance: float) -> bool:
        """Take the distance of one more part; tell whether it is beyond what good parts keep within."""
        self._live[self._count % LIVE] = distance
        self._count += 1
        return distance > self.limit

    def status(self) -> BankStatus:
        """Return how the live parts lie."""
        live = self._live[: self._count].copy()
        common = {"parts": len(self.bank.parts), "needed": NEEDED, "seen": len(live), "limit": self.limit}
        if not len(live):
            return BankStatus(state="WAITING", **common)
        drift = farther(self.bank.distances, live)
        return BankStatus(
            state="WAITING" if len(live) < NEEDED else "DRIFTED" if drift.is_more_than_chance else "STEADY",
            distance=float(np.median(live)),
            far_share=float((live > self.limit).mean()),
            drift=drift.statistic,
            **common,
        )


class Farther(NamedTuple):
    """How much farther one sample lies than another."""

    statistic: float
    """One-sided two-sample Kolmogorov-Smirnov, 0..1."""
    critical: float
    """What chance alone exceeds once in a thousand times (Smirnov 1939, for large samples)."""

    @property
    def is_more_than_chance(self) -> bool:
        """Tell whether it is a drift: more than chance, and more than a little."""
        return self.statistic > max(self.critical, _LEAST_DRIFT)


def farther(held: NDArray[np.float32], live: NDArray[np.float32]) -> Farther:
    """Return how much farther live distances [N] lie than those of good parts [V], which rise.

    Nearer is no drift: a line whose parts vary less than those of the training is a good line.
    """
    points = np.concatenate([held, live])
    below_held = np.searchsorted(held, points, side="right") / len(held)
    below_live = np.searchsorted(np.sort(live), points, side="right") / len(live)
    statistic = float(max(0.0, (below_held - below_live).max()))
    return Farther(statistic, math.sqrt(-math.log(_CHANCE) / 2 * (1 / len(held) + 1 / len(live))))
