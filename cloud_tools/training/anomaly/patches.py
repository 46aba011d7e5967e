"""Locally aware patch features (Roth et al. 2022, section 3.1) of the pretrained trunk."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from cloud_tools.training.backbone import STRIDE_ENDS, Trunk

_BATCH = 16
_NEIGHBOURHOOD = 3
_LEAST_SPREAD = 1e-3


class Patches(nn.Module):
    """Image -> [N, h, w, D]: levels of the trunk, each averaged over 3 x 3, on the grid of the last but one.

    Channels are standardised over all patches of the good parts that are learnt from: the
    trunk's blocks end without an activation, and their channels differ in scale by orders.

    Args:
        depth: the last block of the trunk that is kept.
        levels: of its last resolutions, how many; fewer where the trunk has no more.
        pretrained: of the trunk.
        seed: of the random weights where it is not.
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, depth: int, *, levels: int = 2, pretrained: bool = True, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = Trunk(depth, _taps(depth, levels), pretrained=pretrained)
        self.pretrained = pretrained
        channels = sum(self.trunk.channels)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the features [N, h, w, D] of uint8 [N, H, W, 3]."""
        levels = [_averaged(level) for level in self.trunk(image)]
        # Each level has half the resolution of the one before.
        finer = [functional.avg_pool2d(x, 2 ** (len(levels) - 2 - index)) for index, x in enumerate(levels[:-2])]
        grid, *coarser = levels[-2:]
        placed = [*finer, grid, *(functional.interpolate(x, size=grid.shape[2:], mode="bilinear") for x in coarser)]
        return (torch.cat(placed, 1).permute(0, 2, 3, 1) - self.mean) / self.spread

    def learn(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Set the standardisation from good images [N, H, W, 3], and return their features [N, h, w, D]."""
        if not self.pretrained:
            _settle(self.trunk, images)
        raw = self.of(images)
        flat = raw.reshape(-1, raw.shape[-1])
        mean, spread = flat.mean(0), flat.std(0).clamp(min=_LEAST_SPREAD)
        self.mean.copy_(mean)
        self.spread.copy_(spread)
        return raw.sub_(mean).div_(spread)

    def of(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return the features [N, h, w, D] of images, computed without gradients in small batches."""
        with torch.inference_mode():
            pieces = [self(torch.from_numpy(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
        return torch.cat(pieces).clone()


def _taps(depth: int, levels: int) -> tuple[int, ...]:
    """Return the deepest block of each of the last resolutions up to ``depth``."""
    ends = [end for end in STRIDE_ENDS if end < depth]
    if ends and sum(ends[-1] > end for end in STRIDE_ENDS) == sum(depth > end for end in STRIDE_ENDS):
        ends.pop()
    return (*ends[max(0, len(ends) + 1 - levels) :], depth)


def _averaged(level: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(level, _NEIGHBOURHOOD, 1, _NEIGHBOURHOOD // 2, count_include_pad=False)


def _settle(trunk: Trunk, images: NDArray[np.uint8]) -> None:
    """Give random weights the statistics of these images: else their features vanish layer by layer."""
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    with torch.no_grad():
        for start in range(0, len(images), _BATCH):
            trunk(torch.from_numpy(images[start : start + _BATCH]))
    trunk.eval()
