"""DFM: what good features' principal components cannot rebuild.

Ahuja, Ndiour, Kalyanpur, Tickoo: Probabilistic Modeling of Deep Features for
Out-of-Distribution and Adversarial Detection, 2019 (arXiv 1909.11786); the score is
the feature reconstruction error of Ndiour, Ahuja, Genc, Tickoo 2022 (arXiv 2203.10422).
"""

import torch
from torch import nn

from cloud_tools.training.anomaly.network import AnomalyNetwork, train_scorer
from cloud_tools.training.anomaly.patches import Patches
from cloud_tools.training.anomaly.tuning import tune
from cloud_tools.training.lesson import Lesson

VARIANCE = 0.99
"""Share of the variance of good features that the components keep."""
_BATCH = 16


def train(lesson: Lesson) -> AnomalyNetwork:
    """Return a network that has learnt the lesson's good parts, on a trunk that may have been tuned on them first."""
    if lesson.tune == "none":
        return train_scorer(Dfm(lesson.scope), lesson)
    patches = Patches(lesson.depth, pretrained=lesson.pretrained, seed=lesson.seed).eval()
    good = lesson.train.images[~lesson.train.anomalous]
    if not lesson.pretrained:
        patches.learn(good)  # random weights get their statistics before they are tuned
    tune(patches.trunk, good, lesson)
    return train_scorer(Dfm(lesson.scope), lesson, patches)


class Subspace(nn.Module):
    """Distance from the principal subspace of what was learnt."""

    mean: torch.Tensor
    components: torch.Tensor

    def learn(self, rows: torch.Tensor) -> None:
        """Keep as many components of rows [R, D] as explain the variance."""
        mean = rows.double().mean(0)
        apart = rows.double() - mean
        values, vectors = torch.linalg.eigh(apart.T @ apart / max(1, len(rows) - 1))
        falling = values.flip(0).clamp(min=0).cumsum(0)
        count = int((falling < VARIANCE * falling[-1]).sum()) + 1
        self.register_buffer("mean", mean.float())
        self.register_buffer("components", vectors.flip(1)[:, :count].float().contiguous())

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return [...] of values [..., D]."""
        apart = values - self.mean
        rest = apart - apart @ self.components @ self.components.T
        return (rest * rest).sum(-1).clamp(min=1e-12).sqrt()


class Dfm(nn.Module):
    """Reconstruction error of the whole picture's pooled features, and of each patch.

    Their units differ, so each is measured in what good parts that were kept apart show on
    average; the score is the length of both, or one of them. The map is always that of the patches.

    Args:
        scope: image, patch or both: what is scored.
    """

    image_unit: torch.Tensor
    patch_unit: torch.Tensor

    def __init__(self, scope: str = "both") -> None:
        super().__init__()
        self.scope = scope
        self.image, self.patch = Subspace(), Subspace()
        self.register_buffer("image_unit", torch.ones(()))
        self.register_buffer("patch_unit", torch.ones(()))

    def learn(self, good: torch.Tensor, held: torch.Tensor, seed: int) -> None:
        """Find both subspaces; nothing is drawn by chance."""
        del seed
        self.image.learn(good.mean((1, 2)))
        self.patch.learn(good.flatten(0, 2))
        with torch.inference_mode():
            errors = [self._errors(held[i : i + _BATCH]) for i in range(0, len(held), _BATCH)]
        self.image_unit.fill_(float(torch.cat([image for image, _ in errors]).mean()) or 1.0)
        self.patch_unit.fill_(float(torch.cat([patch.amax((1, 2)) for _, patch in errors]).mean()) or 1.0)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score [N] and grid [N, h, w]."""
        image, patch = self._errors(features)
        whole, worst = image / self.image_unit, patch.amax((1, 2)) / self.patch_unit
        scores = {"image": whole, "patch": worst, "both": (whole * whole + worst * worst).sqrt()}
        return scores[self.scope], patch / self.patch_unit

    def _errors(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.image(features.mean((1, 2))), self.patch(features)
