"""The sample line: real surfaces with drawn defects and masks that are exact.

The surfaces are three photographs that come with the scikit-image package (brick,
grass, gravel; all CC0). Scratches, stains and holes are drawn onto crops of them. Crops
for test come from a strip of each photograph that training never sees. Same seed, same
pictures.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cloud_tools.datasets.dataset import Split
from cloud_tools.datasets.defects import DEFECTS
from edge_agent.vision import RGB

SIDE = 192
"""Of a picture, in pixels."""
SURFACES = ("brick", "grass", "gravel")

_TEST_STRIP = 232
_ZOOM = (0.87, 1.13)
_TINTS = {"brick": (1.0, 0.72, 0.58), "grass": (0.72, 0.95, 0.6), "gravel": (0.93, 0.96, 1.0)}
_SEEDS = {Split.TRAIN: 1, Split.VALIDATION: 2, Split.TEST: 3}


class Drawn(NamedTuple):
    """One picture of the sample line."""

    picture: RGB
    mask: NDArray[np.uint8]
    """[SIDE, SIDE], 255 is defective."""
    surface: str
    defect: str
    """Empty for a good part."""


def photographs() -> dict[str, NDArray[np.uint8]]:
    """Return the grey photographs [512, 512] by name; nothing is fetched."""
    from skimage import data

    return {name: np.asarray(getattr(data, name)(), np.uint8) for name in SURFACES}


def draw(photos: dict[str, NDArray[np.uint8]], split: Split, seed: int, index: int, *, defective: bool) -> Drawn:
    """Return one picture; all of it follows from split, seed, index and whether it is defective."""
    rng = np.random.default_rng((_SEEDS[split], seed, index, int(defective)))
    # Every surface meets every defect, also where only each third part is defective.
    surface = SURFACES[(index + index // 3) % len(SURFACES)]
    crop = _crop(photos[surface], split, rng)
    picture = crop[..., None] * np.array(_TINTS[surface], np.float32)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    defect = ""
    if defective:
        defect = sorted(DEFECTS)[(index // 3 + index // 9) % len(DEFECTS)]
        for _ in range(int(rng.integers(1, 3))):
            picture, cover = DEFECTS[defect](picture, rng)
            mask |= cover
    return Drawn(_lit(picture, rng), mask, surface, defect)


def _crop(photo: NDArray[np.uint8], split: Split, rng: np.random.Generator) -> NDArray[np.float32]:
    edge = photo.shape[1] - _TEST_STRIP
    region = photo[:, edge:] if split is Split.TEST else photo[:, :edge]
    side = min(round(SIDE / rng.uniform(*_ZOOM)), *region.shape)
    top, left = (int(rng.integers(0, room - side + 1)) for room in region.shape)
    crop = cv2.resize(region[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    turned = np.rot90(crop, int(rng.integers(4)))
    return np.ascontiguousarray(turned[:, ::-1] if rng.integers(2) else turned).astype(np.float32)


def _lit(picture: NDArray[np.float32], rng: np.random.Generator) -> RGB:
    """Light it from one side, unevenly, and add a sensor's noise: good and bad parts alike."""
    down, across = np.mgrid[-0.5 : 0.5 : SIDE * 1j, -0.5 : 0.5 : SIDE * 1j]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.22)
    slope = 1 + strength * (np.cos(angle) * across + np.sin(angle) * down)
    vignette = 1 - rng.uniform(0, 0.3) * (across**2 + down**2)
    lit = picture * (rng.uniform(0.85, 1.15) * slope * vignette)[..., None]
    return np.asarray(np.clip(lit + rng.normal(0, 2.0, lit.shape), 0, 255), np.uint8)
