"""GMM: how unlikely a patch is under a mixture of Gaussians of all good patches.

As FOMO-AD does it on the features of a small network (Edge Impulse, 2023); the mixture
itself is Dempster, Laird, Rubin 1977. The door to scikit-learn's mixtures.
"""

import warnings

import numpy as np
import torch
from torch import nn

from cloud_tools.training.anomaly.network import AnomalyNetwork, train_scorer
from cloud_tools.training.lesson import Lesson

COMPONENTS = 6
WIDTH = 64
_LEARNT = 12_000
_STEPS = 20
_RIDGE = 1e-2


def train(lesson: Lesson) -> AnomalyNetwork:
    """Return a network that has learnt the lesson's good parts."""
    return train_scorer(Gmm(), lesson)


class Gmm(nn.Module):
    """Distance in units of the nearest component: its weighted log likelihood, as the root of twice its negative.

    The likelihood itself falls with the square of the distance; the root keeps the score's
    scale that of the other methods, and its order that of the best component's likelihood.

    Args:
        components: of the mixture.
        width: principal components of the features that are modelled.
    """

    mean: torch.Tensor
    basis: torch.Tensor
    whiten: torch.Tensor
    centres: torch.Tensor
    costs: torch.Tensor

    def __init__(self, components: int = COMPONENTS, width: int = WIDTH) -> None:
        super().__init__()
        self.components, self.width = components, width

    def learn(self, good: torch.Tensor, held: torch.Tensor, seed: int) -> None:
        """Fit the mixture by expectation maximisation, on patches drawn from ``seed``."""
        from sklearn.mixture import GaussianMixture

        del held
        rows = good.flatten(0, 2)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:_LEARNT]
        reduced = self._reduce(rows[order].double())
        count = max(1, min(self.components, len(reduced) // (4 * reduced.shape[1])))
        mixture = GaussianMixture(count, reg_covar=_RIDGE, max_iter=_STEPS, init_params="k-means++", random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a few steps short of convergence is as good here
            mixture.fit(reduced)
        whiten = np.asarray(mixture.precisions_cholesky_)  # [K, d, d]
        logdet = np.log(np.diagonal(whiten, axis1=1, axis2=2)).sum(1)
        costs = -2 * (np.log(mixture.weights_) + logdet)
        self.register_buffer("whiten", torch.from_numpy(np.concatenate(list(whiten), 1)).float())
        centres = np.concatenate([mean @ root for mean, root in zip(mixture.means_, whiten, strict=True)])
        self.register_buffer("centres", torch.from_numpy(centres).float())
        self.register_buffer("costs", torch.from_numpy(costs - costs.min()).float())

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score [N], the greatest distance of the picture, and grid [N, h, w]."""
        reduced = (features - self.mean) @ self.basis
        white = (reduced @ self.whiten - self.centres).reshape(*features.shape[:3], self.costs.shape[0], -1)
        grid = ((white * white).sum(4) + self.costs).amin(3).sqrt()
        return grid.amax((1, 2)), grid

    def _reduce(self, rows: torch.Tensor) -> np.ndarray:
        mean = rows.mean(0)
        apart = rows - mean
        _, vectors = torch.linalg.eigh(apart.T @ apart / max(1, len(rows) - 1))
        basis = vectors.flip(1)[:, : self.width]
        self.register_buffer("mean", mean.float())
        self.register_buffer("basis", basis.float().contiguous())
        return np.asarray((apart @ basis).numpy())
