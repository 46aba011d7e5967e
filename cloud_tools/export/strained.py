"""Good pictures with made defects: what a graph in another form is tried on where nobody has real ones to spare."""

import numpy as np
from numpy.typing import NDArray

from cloud_tools.training.anomaly.tuning import pasted
from cloud_tools.training.batches import Loaded

_SIDE = 0.3
"""Of the rectangle of noise, as a share of the picture's."""


def with_defects(loaded: Loaded) -> Loaded:
    """Return the pictures, and each twice more as anomalous ones without a mask.

    Once with a piece of itself at another place (CutPaste), which is hard to see, and once with a
    rectangle of noise, which is not: a graph that no longer finds that finds nothing.

    Args:
        loaded: good pictures, square.
    """
    rng = np.random.default_rng(0)
    made = [draw(image, rng) for draw in (pasted, _noisy) for image in loaded.images]
    samples = tuple(
        sample._replace(file=f"{sample.file} ({what})", anomalous=True, mask=None)
        for what in ("piece", "noise")
        for sample in loaded.samples
    )
    images = np.concatenate([loaded.images, np.stack(made)])
    return Loaded((*loaded.samples, *samples), images, np.zeros((0, 0, 0), np.uint8), loaded.placements * 3)


def _noisy(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    done = image.copy()
    height, width = (max(1, int(side * _SIDE)) for side in image.shape[:2])
    top, left = (int(rng.integers(side - own + 1)) for side, own in zip(image.shape[:2], (height, width), strict=True))
    done[top : top + height, left : left + width] = rng.integers(0, 256, (height, width, 3), np.uint8)
    return done
