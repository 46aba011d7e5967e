"""The networks of EfficientAD: the patch description network and the autoencoder.

Batzner, Heckler, König: EfficientAD: Accurate Visual Anomaly Detection at
Millisecond-Level Latencies, WACV 2024 (arXiv 2303.14535), tables 6 and 7. Widths are a
share of the paper's.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

STRIDE = 4
BEFORE, AFTER = 15, 17
"""Mirrored at the picture's edges, in pixels: each place of the grid then sees what lies around its own 4 x 4."""
_LATENT = 64
_LEAST = 16
_DROPPED = 0.2


def pixels(image: torch.Tensor) -> torch.Tensor:
    """Return float [N, 3, H, W] around 0 of uint8 [N, H, W, 3]."""
    return (image.permute(0, 3, 1, 2).float() - 127.0) / 64.0


def framed(picture: torch.Tensor) -> torch.Tensor:
    """Return pictures [N, 3, H, W] with mirrored edges, so that a network without padding covers all of them."""
    return functional.pad(picture, (BEFORE, AFTER, BEFORE, AFTER), mode="reflect")


def pdn(width: float, channels: int) -> nn.Sequential:
    """Return PDN-S: framed [N, 3, H + 32, W + 32] -> [N, channels, H / 4, W / 4], each from 33 x 33 pixels.

    No layer pads: a crop of a picture is described as the same place of the whole.
    """
    first, second = round(128 * width), round(256 * width)
    return nn.Sequential(
        nn.Conv2d(3, first, 4),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(first, second, 4),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(second, second, 3),
        nn.ReLU(),
        nn.Conv2d(second, channels, 4),
    )


class Autoencoder(nn.Sequential):
    """Picture [N, 3, side, side] -> [N, channels, side / 4, side / 4] through a bottleneck of 64 numbers.

    The paper's last enlargement, beyond the grid and back, is left out: it costs most and adds
    no information.
    """

    def __init__(self, width: float, channels: int, side: int) -> None:
        narrow, wide = (max(_LEAST, round(full * width)) for full in (32, 64))
        ends = (3, narrow, narrow, wide, wide, wide)
        layers: list[nn.Module] = []
        for before, after in pairwise(ends):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        layers.append(nn.Conv2d(wide, _LATENT, side // 32))
        before = _LATENT
        for share in (32, 16, 8, 4):
            layers += [nn.Upsample(size=side // share, mode="bilinear"), nn.Conv2d(before, wide, 3, padding=1)]
            layers += [nn.ReLU(), nn.Dropout(_DROPPED)]
            before = wide
        layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, channels, 3, padding=1)]
        super().__init__(*layers)
