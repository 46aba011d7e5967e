"""How large the input is and how often pictures are learnt from, where nobody says: both follow from the pictures."""

import math
from collections.abc import Sequence

import numpy as np

from cloud_tools.datasets import Dataset, Sample, Split
from cloud_tools.training.methods import Method
from cloud_tools.training.options import TrainingOptions
from edge_agent import vision
from edge_agent.errors import InferenceError

_GOOD_ONLY = 256
"""What learns from good parts alone scores patches of the trunk, and needs many: as in the papers."""
_SMALLEST, _LARGEST, _STEP = 192, 320, 32
_LOOKED_AT = 50


def sized(method: Method, dataset: Dataset, options: TrainingOptions) -> TrainingOptions:
    """Return the effective options with the input's side, and with epochs where the method has a bound of pixels.

    Args:
        method: a row of the table.
        dataset: as it was read; what cannot be read in it does not count.
        options: otherwise effective.
    """
    side = options.size or (_GOOD_ONLY if dataset.good_only else side_for(_median_side(dataset.samples)))
    epochs = options.epochs
    if method.sight and not epochs:
        epochs = method.epochs_for(len(dataset.of(Split.TRAIN)), side * side)
    return options._replace(size=side, epochs=epochs)


def side_for(own: float) -> int:
    """Return the input's side for pictures whose longer side is ``own`` pixels, where they have labels.

    Their own, since a small defect is lost where a picture is shrunk. Small ones are enlarged, since the
    trunk halves them five times; of large ones the cost is bounded, here and on the device.
    """
    return min(max(_STEP * math.ceil(own / _STEP), _SMALLEST), _LARGEST)


def _median_side(samples: Sequence[Sample]) -> float:
    """Return the median of the longer sides of some pictures from all over the data set; 0: none can be read."""
    some = samples[:: max(1, len(samples) // _LOOKED_AT)]
    sides = [side for side in map(_longer_side, some) if side]
    return float(np.median(sides)) if sides else 0.0


def _longer_side(sample: Sample) -> int:
    try:
        return max(vision.size_of(sample.content()))
    except InferenceError:
        return 0
