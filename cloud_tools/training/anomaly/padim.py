"""PaDiM: each place of the picture has its own Gaussian of good patches.

Defard, Setkov, Loesch, Audigier: PaDiM: a Patch Distribution Modeling Framework for
Anomaly Detection and Localization, ICPR 2021 (arXiv 2011.08785).
"""

import torch
from torch import nn

from cloud_tools.training.anomaly.network import AnomalyNetwork, strangest, strangest_count, train_scorer
from cloud_tools.training.anomaly.patches import Patches
from cloud_tools.training.lesson import Lesson

CHANNELS = 64
"""Of 176 at the default depth: about the share that the paper keeps of Wide ResNet-50, 550 of 1,792."""
LEVELS = 3
_RIDGE = 0.01


def train(lesson: Lesson) -> AnomalyNetwork:
    """Return a network that has learnt the lesson's good parts."""
    patches = Patches(lesson.depth, levels=LEVELS, pretrained=lesson.pretrained, seed=lesson.seed).eval()
    return train_scorer(Padim(), lesson, patches)


class Padim(nn.Module):
    """Mahalanobis distance at each place, on a random subset of the channels.

    The paper's covariances come from some 200 pictures. With d channels and n < d of them
    the covariance of one place is singular, so it is drawn towards the mean covariance of
    all places, by d / (d + n): with many pictures that is the paper's again.

    Args:
        channels: how many of the features' channels are kept.
    """

    kept: torch.Tensor
    mean: torch.Tensor
    whiten: torch.Tensor

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.channels = channels
        self.counted = 1

    def learn(self, good: torch.Tensor, held: torch.Tensor, seed: int) -> None:
        """Fit one Gaussian a place; the channels are drawn from ``seed``."""
        del held
        self.counted = strangest_count(good)
        generator = torch.Generator().manual_seed(seed)
        count = min(self.channels, good.shape[-1])
        self.register_buffer("kept", torch.randperm(good.shape[-1], generator=generator)[:count].sort().values)
        places = good[..., self.kept].flatten(1, 2).transpose(0, 1).contiguous()  # [places, N, d]
        mean = places.mean(1, keepdim=True)
        self.register_buffer("mean", mean[:, 0])
        self.register_buffer("whiten", _whitening(places - mean))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score [N] and grid [N, h, w]."""
        apart = features.index_select(3, self.kept).flatten(1, 2) - self.mean
        white = (apart[:, :, None] @ self.whiten)[:, :, 0]
        grid = (white * white).sum(2).sqrt().reshape(features.shape[:3])
        return strangest(grid, self.counted), grid


def _whitening(apart: torch.Tensor) -> torch.Tensor:
    """Return [places, d, d] by which deviations [places, N, d] become white; small, but computed in double."""
    count, width = apart.shape[1:]
    own = apart.transpose(1, 2) @ apart / max(1, count - 1)
    share = width / (width + count)
    covariance = (1 - share) * own + share * own.mean(0) + _RIDGE * torch.eye(width)
    lower = torch.linalg.cholesky(covariance.double())
    identity = torch.eye(width, dtype=torch.float64).expand_as(lower)
    inverse: torch.Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return inverse.transpose(1, 2).float().contiguous()
