"""PatchCore: the distance to the nearest patch of a good part.

Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler: Towards Total Recall in Industrial
Anomaly Detection, CVPR 2022.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from cloud_tools.training.anomaly.network import AnomalyNetwork, strangest, strangest_count, train_scorer
from cloud_tools.training.anomaly.patches import Patches
from cloud_tools.training.lesson import Lesson

BANK = 800
LEVELS = 3
_CANDIDATES = 60_000
_PROJECTED = 64
_MEASURED = 50
"""Pictures learnt from whose distances set the unit."""


def train(lesson: Lesson) -> AnomalyNetwork:
    """Return a network that has learnt the lesson's good parts."""
    patches = Patches(lesson.depth, levels=LEVELS, pretrained=lesson.pretrained, seed=lesson.seed).eval()
    return train_scorer(PatchCore(patches.trunk.channels), lesson, patches)


class PatchCore(nn.Module):
    """Two memory banks: one of the paper's two levels, one of the finer level before them.

    What a small defect changes in a fine texture is drowned in the deep levels by how good
    patches differ there, and the fine level alone knows no shapes. Joined in one patch the many
    deep channels would outvote the few fine ones; so each bank measures in its own unit, how far
    good parts lie from each other, and the greater distance counts.

    Args:
        channels: of the features' levels, the finest first.
        size: patches that each bank keeps.
    """

    def __init__(self, channels: Sequence[int], size: int = BANK) -> None:
        super().__init__()
        fine = len(channels) - 2
        self.widths = [*channels[:fine], sum(channels[fine:])] if fine > 0 else [sum(channels)]
        self.counted = 1
        self.banks = nn.ModuleList(Bank(size) for _ in self.widths)

    def learn(self, good: torch.Tensor, held: torch.Tensor, seed: int) -> None:
        """Keep the patches that cover all others best, in each bank."""
        self.counted = strangest_count(good)
        generator = torch.Generator().manual_seed(seed)
        for bank, own, apart in zip(self._each(), self._parts(good), self._parts(held), strict=True):
            bank.learn(own, apart, generator)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score [N] and grid [N, h, w]; about 1 is the most that a good part shows."""
        parts = zip(self._each(), self._parts(features), strict=True)
        grid = torch.stack([bank(part) for bank, part in parts]).amax(0)
        return strangest(grid, self.counted), grid

    def _each(self) -> list["Bank"]:
        return [bank for bank in self.banks if isinstance(bank, Bank)]

    def _parts(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.split_with_sizes(features, self.widths, 3)


class Bank(nn.Module):
    """Good patches, thinned to a coreset; distances from them, 0 for a typical good patch.

    Args:
        size: patches that are kept.
    """

    weights: torch.Tensor
    typical: torch.Tensor
    unit: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("typical", torch.zeros(()))
        self.register_buffer("unit", torch.ones(()))

    def learn(self, good: torch.Tensor, held: torch.Tensor, generator: torch.Generator) -> None:
        """Fill the bank from ``good`` [N, h, w, D]; how far good parts lie from each other's patches is the unit.

        These are ``held``, and those learnt from, each without its own patches: eight pictures
        that were kept apart are too few for a unit.
        """
        rows = good.reshape(-1, good.shape[-1])
        order = torch.randperm(len(rows), generator=generator)[:_CANDIDATES]  # bounds time: neighbours are alike
        chosen = order[greedy_coreset(rows[order], self.size, generator)]
        kept, owner = rows[chosen], chosen // (good.shape[1] * good.shape[2])
        weights = torch.cat([-2 * kept.T, (kept * kept).sum(1)[None]])
        self.register_buffer("weights", weights)
        others = [(index, weights[:, owner != index]) for index in range(min(_MEASURED, len(good)))]
        found = [_nearest(good[index : index + 1], rest) for index, rest in others if rest.shape[1]]
        found += [_nearest(held[index : index + 1], weights) for index in range(len(held))]
        distances = torch.cat(found)
        self.typical.copy_(distances.mean())
        self.unit.copy_((strangest(distances, strangest_count(good)).mean() - self.typical).clamp(min=1e-6))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the distances [N, h, w] of features [N, h, w, D]."""
        return (_nearest(features, self.weights) - self.typical) / self.unit


def _nearest(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the distances [N, h, w] from the nearest patch; the weights are -2 * patches above their squares.

    With the squares inside the product, the largest array is written once and read once.
    """
    patches = features.flatten(1, 2)
    square = (functional.pad(patches, (0, 1), value=1.0) @ weights).amin(2) + (patches * patches).sum(2)
    # Against the product's own rounding: a square of a distance is never below 0.
    return square.clamp(min=1e-6).sqrt().reshape(features.shape[:3])


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
