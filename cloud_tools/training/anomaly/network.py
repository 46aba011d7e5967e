"""The one network of all unsupervised methods: patches -> scorer -> score and map."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from cloud_tools.training.anomaly.embedding import Embedding
from cloud_tools.training.anomaly.patches import Patches
from cloud_tools.training.lesson import Lesson
from cloud_tools.training.limits import good_limit

_BATCH = 16
_TYPICAL_LOGIT = 3.0
"""A typical good part lies this far below the limit, as a logit: the sigmoid shows it as 0.05."""
_STRANGEST = 0.01
_SHOWN = 0.001
"""Of a map as it is drawn, the share of pixels whose mean good parts keep below the limit: about one patch.
Chosen by defects painted on good parts (docs/decisions/limits-of-good-parts.md)."""
_NONE = np.zeros(0)


class Scorer(Protocol):
    """What a method is: a torch module that learns good patches and scores others.

    What ``__call__`` does is traced into the graph: matrix products, reductions and
    gathers, which every runtime has, and no control flow.
    """

    def learn(self, good: torch.Tensor, held: torch.Tensor, seed: int) -> None:
        """Learn from features ``good`` [N, h, w, D]; ``held`` are of good parts kept apart, for scales only."""

    def __call__(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score [N] and grid [N, h, w] of features [N, h, w, D]: distances, from any zero, in any unit."""


class AnomalyNetwork(nn.Module):
    """Score [N] (a distance, calibrated by the manifest), map [N, H, W] (logits), embedding [N, D]; of uint8 pictures.

    The device draws maps as logits and has no calibration for them: the one here puts the
    limit of good parts at 0, so that a mask shows nothing on a part without a defect.
    """

    gain: torch.Tensor
    offset: torch.Tensor

    def __init__(self, patches: Patches, scorer: nn.Module, embedding: Embedding) -> None:
        super().__init__()
        self.patches = patches
        self.scorer = scorer
        self.embedding = embedding
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return score, map and embedding."""
        features = self.patches(image)
        score, grid = self.scorer(features)
        wide = _enlarged(grid, (image.shape[1], image.shape[2]))
        return score, wide * self.gain + self.offset, self.embedding(features)

    def calibrate_map(self, held: torch.Tensor, size: tuple[int, ...], further: NDArray[np.float64] = _NONE) -> None:
        """Put the highest distances that a good part is expected to show at logit 0.

        Args:
            held: features [N, h, w, D] of good parts that were not learnt from.
            size: height and width of their pictures.
            further: highest distances [M] of others, as ``reach`` returns them.
        """
        grids = self._grids(held)
        limit = good_limit(np.concatenate([_reach(grids, size), further]))
        room = max(limit - float(grids.double().median()), 1e-3 * abs(limit), 1e-9)
        self.gain.fill_(_TYPICAL_LOGIT / room)
        self.offset.fill_(-_TYPICAL_LOGIT * limit / room)

    def reach(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return how high the maps of uint8 pictures [N, H, W, 3] reach [N], as distances, before they are logits."""
        return _reach(self._grids(self.patches.of(images)), images.shape[1:3])

    def _grids(self, features: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([self.scorer(features[i : i + _BATCH])[1] for i in range(0, len(features), _BATCH)])


def _enlarged(grid: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    return functional.interpolate(grid[:, None], size=size, mode="bilinear")[:, 0]


def _reach(grids: torch.Tensor, size: tuple[int, ...]) -> NDArray[np.float64]:
    count = max(1, int(size[0] * size[1] * _SHOWN))
    found = [strangest(_enlarged(grids[i : i + _BATCH], size), count) for i in range(0, len(grids), _BATCH)]
    return np.asarray(torch.cat(found).double().numpy(), np.float64)


def strangest_count(features: torch.Tensor) -> int:
    """Return how many patches of features [N, h, w, D] are a hundredth of a picture; one at least."""
    return max(1, int(features.shape[1] * features.shape[2] * _STRANGEST))


def strangest(grid: torch.Tensor, count: int) -> torch.Tensor:
    """Return the mean of the ``count`` highest of each grid [N, h, w] -> [N]: the score of a picture.

    The greatest of a thousand distances of good patches is noise, and hides small defects. A
    hundredth is also what AnomalyDINO (Damm et al. 2024) and Dinomaly (Guo et al. 2024) take.
    """
    return grid.flatten(1).topk(count, dim=1).values.mean(1)


def train_scorer(scorer: Scorer, lesson: Lesson, patches: Patches | None = None) -> AnomalyNetwork:
    """Return a network whose scorer has learnt the good parts of the lesson.

    Args:
        scorer: what learns.
        lesson: what is learnt.
        patches: the features that are scored; None: of two levels.

    Raises:
        CloudError: the depth does not exist.
        TypeError: the scorer is no torch module.
    """
    if not isinstance(scorer, nn.Module):
        raise TypeError(f"expected a torch module, came {type(scorer)}")
    patches = patches or Patches(lesson.depth, pretrained=lesson.pretrained, seed=lesson.seed).eval()
    good = patches.learn(lesson.train.images[~lesson.train.anomalous])
    apart = lesson.validation.images[~lesson.validation.anomalous]
    held = patches.of(apart)
    lesson.progress(f"{len(good)} good pictures, {good.shape[1]} x {good.shape[2]} patches of {good.shape[3]} channels")
    embedding = Embedding(patches, good)
    scorer.learn(good, held, lesson.seed)
    network = AnomalyNetwork(patches, scorer, embedding).eval()
    network.calibrate_map(held, apart.shape[1:3])
    return network
