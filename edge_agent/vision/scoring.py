"""From raw numbers of a graph to 0..1."""

import math

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Calibration

_EDGE = 700.0  # exp overflows a double a little above


def calibrate(raw: float, calibration: Calibration) -> float:
    """Return ``sigmoid(scale * raw + offset)``, computed in double precision.

    Raises:
        InferenceError: INTERNAL: the raw score is not a finite number.
    """
    if not math.isfinite(raw):
        raise InferenceError(Code.INTERNAL, f"expected a finite score, came {raw}")
    return sigmoid(calibration.scale * raw + calibration.offset)


def sigmoid(value: float) -> float:
    """Return ``1 / (1 + exp(-value))`` without overflow."""
    return 1.0 / (1.0 + math.exp(-min(max(value, -_EDGE), _EDGE)))


def logit(share: float) -> float:
    """Return the number whose sigmoid is ``share``; infinite at 0 and 1."""
    if share <= 0:
        return -math.inf
    return math.inf if share >= 1 else math.log(share / (1 - share))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
