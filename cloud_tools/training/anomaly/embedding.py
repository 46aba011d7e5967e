"""Where a whole picture lies among others: what the memory bank of a run holds, and parts are compared by."""

import torch
from torch import nn
from torch.nn import functional

from cloud_tools.training.anomaly.patches import Patches

_LEAST = 1e-3


class Embedding(nn.Module):
    """Patch features [N, h, w, D] -> [N, D] of length 1: pooled, large channels made smaller.

    The features come standardised: pooled as they are, good parts would lie around 0 and point
    anywhere. So what was taken off is put back, and good parts point the same way. A channel is
    then divided by the root of its usual size on good parts: the trunk's channels differ in size
    by orders, and a few of them would be all that the cosine sees. By the size itself those that
    are nearly 0 on good parts would count as much as the others, and no two parts were alike.
    """

    offset: torch.Tensor
    scale: torch.Tensor

    def __init__(self, patches: Patches, good: torch.Tensor) -> None:
        """Take the channels' sizes from the features of good parts, as ``patches`` gives them."""
        super().__init__()
        pooled = good.mean((1, 2)) * patches.spread + patches.mean
        usual = (pooled * pooled).mean(0).sqrt().clamp(min=_LEAST)
        self.register_buffer("offset", patches.mean / usual.sqrt())
        self.register_buffer("scale", patches.spread / usual.sqrt())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return one row of length 1 for each picture."""
        return functional.normalize(features.mean((1, 2)) * self.scale + self.offset, dim=1)
