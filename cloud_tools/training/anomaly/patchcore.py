"""PatchCore: the distance to the nearest patch of a good part.

Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler: Towards Total Recall in Industrial
Anomaly Detection, CVPR 2022.
"""

import torch
from torch import nn

from cloud_tools.training.anomaly.network import AnomalyNetwork, train_scorer
from cloud_tools.training.lesson import Lesson

BANK = 1000
_CANDIDATES = 60_000
_PROJECTED = 64
_NEIGHBOURS = 9
_RIDGE = 0.01
"""Of the mean variance, added to each direction's."""


def train(lesson: Lesson) -> AnomalyNetwork:
    """Return a network that has learnt the lesson's good parts."""
    return train_scorer(PatchCore(), lesson)


class PatchCore(nn.Module):
    """A memory bank of patches, thinned to a coreset; nearest neighbour, re-weighted.

    Distances are those of whitened patches: what varies little among good patches counts
    as much as what varies a lot. The paper's network ends its blocks with activations and needs
    none; here plain distances are ruled by a few directions in which good parts differ too.

    Args:
        size: patches that are kept.
    """

    mean: torch.Tensor
    whiten: torch.Tensor
    bank: torch.Tensor
    norms: torch.Tensor
    near: torch.Tensor

    def __init__(self, size: int = BANK) -> None:
        super().__init__()
        self.size = size

    def learn(self, good: torch.Tensor, held: torch.Tensor, seed: int) -> None:
        """Keep the patches that cover all others best."""
        del held
        patches = self._whitened(good.reshape(-1, good.shape[-1]))
        generator = torch.Generator().manual_seed(seed)
        if len(patches) > _CANDIDATES:  # bounds time and memory: neighbours in a picture are nearly the same
            patches = patches[torch.randperm(len(patches), generator=generator)[:_CANDIDATES]]
        bank = patches[greedy_coreset(patches, self.size, generator)].clone()
        self.register_buffer("bank", bank)
        self.register_buffer("norms", (bank * bank).sum(1))
        neighbours = min(_NEIGHBOURS, len(bank))
        self.register_buffer("near", torch.cdist(bank, bank).topk(neighbours, largest=False).indices)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score [N] and grid [N, h, w]; the score of the most anomalous patch is re-weighted (equation 7)."""
        patches = (features.flatten(1, 2) - self.mean) @ self.whiten
        # Against the product's own rounding: a square of a distance is never below 0.
        square = (patches * patches).sum(2, keepdim=True) + self.norms - 2 * (patches @ self.bank.T)
        distances = square.clamp(min=1e-6).sqrt()
        nearest = distances.amin(2)
        # The most anomalous patch, picked by a product so that equals share; then the bank around its neighbour.
        chosen = (nearest >= nearest.amax(1, keepdim=True)).float()
        chosen = (chosen / chosen.sum(1, keepdim=True))[:, None]
        neighbours = self.bank[self.near[(chosen @ distances)[:, 0].argmin(1)]]
        apart = neighbours - chosen @ patches
        around = (apart * apart).sum(2).clamp(min=1e-6).sqrt()
        return (1 - around.softmax(1)[:, 0]) * around[:, 0], nearest.reshape(features.shape[:3])

    def _whitened(self, rows: torch.Tensor) -> torch.Tensor:
        """Set and apply what makes rows [R, D] white, up to directions that hardly vary at all."""
        mean = rows.mean(0)
        apart = (rows - mean).double()
        values, vectors = torch.linalg.eigh(apart.T @ apart / max(1, len(rows) - 1))
        whiten: torch.Tensor = (vectors / (values + _RIDGE * values.mean()).sqrt()).float().contiguous()
        self.register_buffer("mean", mean)
        self.register_buffer("whiten", whiten)
        return (rows - mean) @ whiten


def greedy_coreset(patches: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Return the indices of ``size`` patches, each the one farthest from those before (Sener and Savarese 2018).

    Args:
        patches: [P, D]; compared in a random projection (Johnson and Lindenstrauss 1984).
        size: at most P are returned.
        generator: of the projection and the start.
    """
    count, width = patches.shape
    projection = torch.randn(width, min(width, _PROJECTED), generator=generator)
    points = patches @ projection if width > _PROJECTED else patches
    norms = (points * points).sum(1)
    chosen = [int(torch.randint(count, (1,), generator=generator))]
    gap = torch.full((count,), torch.inf)
    while len(chosen) < min(size, count):
        last = points[chosen[-1]]
        torch.minimum(gap, norms - 2 * (points @ last) + norms[chosen[-1]], out=gap)
        chosen.append(int(gap.argmax()))
    return torch.tensor(chosen)
