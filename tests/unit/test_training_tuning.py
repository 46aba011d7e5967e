"""What CutPaste teaches with, and what EfficientAD's networks look at."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra train is not installed")

import torch

from cloud_tools.training.anomaly.distilling import crop, framed_pictures
from cloud_tools.training.anomaly.pdn import STRIDE, Autoencoder, framed, pdn, pixels
from cloud_tools.training.anomaly.tuning import pasted, scarred


@pytest.mark.parametrize("side", [32, 96, 256])
@pytest.mark.parametrize("cut", [pasted, scarred])
def test_a_cut_changes_a_part_of_the_picture_and_leaves_the_rest(cut: object, side: int) -> None:
    assert callable(cut)
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    before = picture.copy()
    shares = []
    for seed in range(20):
        done = cut(picture, np.random.default_rng(seed))
        assert (done.shape, done.dtype) == (picture.shape, np.uint8)
        shares.append(float((done != picture).any(2).mean()))
    assert (picture == before).all()
    assert max(shares) <= 0.25
    assert float(np.median(shares)) > 0


@pytest.mark.parametrize("side", [32, 64, 96, 192, 256])
def test_both_networks_answer_on_one_grid(side: int) -> None:
    image = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    with torch.inference_mode():
        local = pdn(0.25, 5)(framed(pixels(image)))
        whole = Autoencoder(0.25, 5, side).eval()(pixels(image))
    assert local.shape == whole.shape == (2, 5, side // STRIDE, side // STRIDE)


def test_a_crop_is_described_as_the_same_place_of_the_whole() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1, 96, 96, 3), np.uint8)
    network = pdn(0.25, 4).eval()
    with torch.inference_mode():
        whole = network(framed(pixels(torch.from_numpy(picture))))
        part = network(pixels(crop(framed_pictures(picture), 5, 9, 8)))
    np.testing.assert_allclose(part.numpy(), whole[:, :, 5:13, 9:17].numpy(), atol=1e-5)
