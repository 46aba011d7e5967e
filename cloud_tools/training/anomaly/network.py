"""The one network of all unsupervised methods: patches -> scorer -> score and map."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from cloud_tools.training.anomaly.embedding import Embedding
from cloud_tools.training.anomaly.patches import Patches
from cloud_tools.training.calibration import good_limit
from cloud_tools.training.lesson import Lesson

_BATCH = 16
_TYPICAL_LOGIT = 3.0
"""A typical good part lies this far below the limit, as a logit: the sigmoid shows it as 0.05."""
_STRANGEST = 0.01
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
        size = (image.shape[1], image.shape[2])
        wide = functional.interpolate(grid[:, None], size=size, mode="bilinear")[:, 0]
        return score, wide * self.gain + self.offset, self.embedding(features)

    def calibrate_map(self, held: torch.Tensor, further: NDArray[np.float64] = _NONE) -> None:
        """Put the highest distance that a good part is expected to show at logit 0.

        Args:
            held: features [N, h, w, D] of good parts that were not learnt from.
            further: highest distances [M] of others, as ``reach`` returns them.
        """
        grids = self._grids(held)
        limit = good_limit(np.concatenate([_highest(grids), further]))
        room = max(limit - float(grids.double().median()), 1e-3 * abs(limit), 1e-9)
        self.gain.fill_(_TYPICAL_LOGIT / room)
        self.offset.fill_(-_TYPICAL_LOGIT * limit / room)

    def reach(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the highest distance [N] in each of uint8 pictures [N, H, W, 3], before it becomes a logit."""
        return _highest(self._grids(self.patches.of(images)))

    def _grids(self, features: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([self.scorer(features[i : i + _BATCH])[1] for i in range(0, len(features), _BATCH)])


def _highest(grids: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(grids.amax((1, 2)).double().numpy(), np.float64)


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
    held = patches.of(lesson.validation.images[~lesson.validation.anomalous])
    lesson.progress(f"{len(good)} good pictures, {good.shape[1]} x {good.shape[2]} patches of {good.shape[3]} channels")
    embedding = Embedding(patches, good)
    scorer.learn(good, held, lesson.seed)
    network = AnomalyNetwork(patches, scorer, embedding).eval()
    network.calibrate_map(held)
    return network
