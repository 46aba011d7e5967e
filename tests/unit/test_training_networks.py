"""What learns and what does not in the networks that learn with labels."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra train is not installed")

import numpy as np
import torch
from torch import nn

from cloud_tools.training.backbone import Trunk
from cloud_tools.training.batches import Loaded
from cloud_tools.training.classification import Classifier
from cloud_tools.training.segmentation import UNet, train_unet

_IMAGES = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_trunk_that_is_prepared_to_learn_says_what_it_said_before() -> None:
    trunk = Trunk(5, (2, 5)).eval()
    with torch.no_grad():
        before = trunk(_IMAGES)
        trunk.prepare_to_learn()
        for was, now in zip(before, trunk(_IMAGES), strict=True):
            torch.testing.assert_close(now, was, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in trunk.modules())


def test_a_u_net_whose_validation_shows_no_defect_is_that_of_the_last_epoch() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 64, 64, 3), np.uint8)
    masks = np.zeros((4, 64, 64), np.uint8)
    masks[:, 20:40, 20:40] = 1
    learnt, held = Loaded((), images, masks, ()), Loaded((), images, np.zeros_like(masks), ())
    last: dict[str, torch.Tensor] = {}

    def steps(_stage: str, total: int, **parts: Any) -> Iterator[int]:
        for epoch in range(total):
            yield epoch
            last.update(copy.deepcopy(parts["net"].state_dict()))

    kept = train_unet(learnt, held, depth=4, epochs=2, seed=0, progress=lambda _: None, steps=steps).state_dict()  # type: ignore[arg-type]
    assert all(torch.equal(kept[name], value) for name, value in last.items())


@pytest.mark.parametrize("network", [Classifier(4, (True, False)), UNet(4)], ids=["classification", "segmentation"])
def test_edges_and_textures_stay_as_they_are_and_all_else_learns(network: nn.Module) -> None:
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    learning = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    torch.autograd.backward(network.train()(_IMAGES)[0].sum())
    optimizer.step()
    stayed = {name for name, value in network.named_parameters() if torch.equal(value, before[name])}
    frozen = ("trunk.stem.", "trunk.blocks.0.", "trunk.blocks.1.", "trunk.blocks.2.")
    assert {name for name in before if name.startswith(frozen)} <= stayed
    assert not any(name.startswith(("trunk.blocks.3.", "trunk.blocks.4.")) and "weight" in name for name in stayed)
