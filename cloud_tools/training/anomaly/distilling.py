"""EfficientAD's teacher: a small network that learns to say what the pretrained trunk says.

The paper distils on ImageNet. Here it is done on the product's good parts and on the sample
line's surfaces with and without defects (``datasets.texture``), which come with the tools: no
download, but also far less variety. The trunk looks at pictures of twice the size, so
that its grid is the teacher's; what it says is computed once and kept.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from cloud_tools.datasets import Split
from cloud_tools.datasets.texture import draw, photographs
from cloud_tools.training.anomaly.patches import Patches
from cloud_tools.training.anomaly.pdn import AFTER, BEFORE, STRIDE, pdn, pixels
from cloud_tools.training.lesson import Lesson

CHANNELS = 384
STEPS = 50
"""Of an epoch, whatever the number of pictures."""
_SHARE = 4
"""A teacher has this share of the student's epochs."""
_TEXTURES = 48
_MOST_GOOD = 96
_STANDARDISED_ON = 16
_CROP = 16
"""Side of what is learnt at once, in places of the grid."""
_BATCH = 8
_RATE = 2e-3
_TAKEN = 8


class Material(NamedTuple):
    """What a teacher is distilled from."""

    pictures: torch.Tensor
    """uint8 [P, side, side, 3]: good parts and textures."""
    wanted: torch.Tensor
    """float16 [P, side / 4, side / 4, channels]: the trunk's features, on their strongest components."""


def textures(side: int, seed: int) -> NDArray[np.uint8]:
    """Return the sample line's surfaces [48, side, side, 3], every second one with a defect."""
    photos, found = photographs(), []
    for index in range(_TEXTURES):
        drawn = draw(photos, Split.TRAIN, seed, index // 2, defective=bool(index % 2)).picture
        found.append(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_LINEAR))
    return np.stack(found).astype(np.uint8)


def distilled(lesson: Lesson, good: NDArray[np.uint8], other: NDArray[np.uint8]) -> nn.Sequential:
    """Return a teacher [N, 3, H + 32, W + 32] -> [N, channels, H / 4, W / 4] that learnt the trunk's features.

    Args:
        lesson: depth and weights of the trunk, width, epochs, seed and device.
        good: pictures of good parts [N, side, side, 3].
        other: pictures of anything else [M, side, side, 3].

    Raises:
        CloudError: the depth does not exist, or a checkpoint is not one of this training.
    """
    learnt = _material(lesson, good, other)
    torch.manual_seed(lesson.seed)
    teacher = pdn(lesson.width, learnt.wanted.shape[-1]).to(lesson.device)
    optimizer = torch.optim.AdamW(teacher.parameters(), _RATE)
    epochs = max(1, lesson.epochs // _SHARE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * STEPS)
    rng = np.random.default_rng(lesson.seed)
    for epoch in lesson.steps("teacher", epochs, net=teacher, optimizer=optimizer, schedule=schedule, rng=rng):
        losses = []
        for _ in range(STEPS):
            seen, wanted = (batch.to(lesson.device) for batch in _crops(learnt, rng))
            loss = functional.mse_loss(teacher(pixels(seen)), wanted)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch publishes no types for it
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        lesson.progress(f"teacher, epoch {epoch + 1}: {np.mean(losses):.3f} of the variance not explained")
    return teacher.eval()


def _material(lesson: Lesson, good: NDArray[np.uint8], other: NDArray[np.uint8]) -> Material:
    chosen = np.random.default_rng(lesson.seed).permutation(len(good))[:_MOST_GOOD]
    pictures = np.concatenate([good[np.sort(chosen)], other])
    patches = Patches(lesson.depth, pretrained=lesson.pretrained, seed=lesson.seed).eval()
    patches.learn(_doubled(pictures[:_STANDARDISED_ON]))
    grid = pictures.shape[1] // STRIDE
    said = [_on_grid(patches.of(_doubled(pictures[i : i + _TAKEN])), grid) for i in range(0, len(pictures), _TAKEN)]
    wanted = _strongest(torch.cat(said), round(CHANNELS * lesson.width))
    lesson.progress(f"teacher: {len(chosen)} good pictures and {len(other)} textures, {wanted.shape[-1]} channels")
    return Material(framed_pictures(pictures), wanted)


def framed_pictures(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Return uint8 [N, H + 32, W + 32, 3]: ``framed`` once, before crops are taken."""
    edges = ((0, 0), (BEFORE, AFTER), (BEFORE, AFTER), (0, 0))
    return torch.from_numpy(np.pad(pictures, edges, mode="reflect"))


def _crops(learnt: Material, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch of framed crops uint8 [8, 96, 96, 3] and what the trunk says there [8, channels, 16, 16]."""
    side = min(_CROP, learnt.wanted.shape[1])
    seen, wanted = [], []
    for index in rng.integers(len(learnt.pictures), size=_BATCH):
        top, left = rng.integers(learnt.wanted.shape[1] - side + 1, size=2)
        seen.append(crop(learnt.pictures[index], top, left, side))
        wanted.append(learnt.wanted[index, top : top + side, left : left + side])
    return torch.stack(seen), torch.stack(wanted).permute(0, 3, 1, 2).float()


def crop(picture: torch.Tensor, top: int, left: int, side: int) -> torch.Tensor:
    """Return of a framed picture [.., H + 32, W + 32, 3] what ``side`` x ``side`` places of the grid look at."""
    high, wide, span = STRIDE * int(top), STRIDE * int(left), STRIDE * side + BEFORE + AFTER
    return picture[..., high : high + span, wide : wide + span, :]


def _doubled(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = 2 * pictures.shape[1]
    return np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_LINEAR) for one in pictures]).astype(
        np.uint8
    )


def _on_grid(features: torch.Tensor, grid: int) -> torch.Tensor:
    """Return features [N, h, w, D] as float16 [N, grid, grid, D]."""
    if features.shape[1] == grid:
        return features.half()
    placed = functional.interpolate(features.permute(0, 3, 1, 2), size=(grid, grid), mode="bilinear", antialias=True)
    return placed.permute(0, 2, 3, 1).half()


def _strongest(features: torch.Tensor, channels: int) -> torch.Tensor:
    """Return features [P, h, w, D] on at most ``channels`` principal components, of variance 1 on average."""
    rows = features.reshape(-1, features.shape[-1])
    sample = rows[:: max(1, len(rows) // 50_000)].double()
    mean = sample.mean(0)
    values, vectors = torch.linalg.eigh((sample - mean).T @ (sample - mean) / max(1, len(sample) - 1))
    kept = vectors.flip(1)[:, :channels] / values.flip(0)[:channels].mean().sqrt().clamp(min=1e-6)
    pieces = [features[i : i + _TAKEN].float() for i in range(0, len(features), _TAKEN)]
    return torch.cat([((piece - mean.float()) @ kept.float()).half() for piece in pieces])
