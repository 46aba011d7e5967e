"""The pretrained trunk looks at the product first: two ways to tune it on good parts alone.

SimSiam (Chen, He: Exploring Simple Siamese Representation Learning, CVPR 2021): two views of
one part shall be described alike. CutPaste (Li, Sohn, Yoon, Pfister: CutPaste:
Self-Supervised Learning for Anomaly Detection and Localization, CVPR 2021): whole parts
shall be told from parts onto which a patch or a scar of themselves was pasted. The trunk's
normalisations keep their pretrained statistics, as in all tuning here: batches are small.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from cloud_tools.errors import CloudError
from cloud_tools.training.backbone import Trunk
from cloud_tools.training.batches import augment, batches
from cloud_tools.training.lesson import Lesson
from edge_agent.errors import Code

_BATCH = 16
_RATES = (1e-4, 1e-3)
"""Of the trunk, and of what is thrown away afterwards."""
_WIDTH = 128
_STEP = 32
_PASTED = 3
"""Whole, patch, scar."""


class _Task(NamedTuple):
    """What the trunk is set to: layers that are thrown away, and the loss of a batch of pictures."""

    head: nn.Module
    loss_of: Callable[[NDArray[np.uint8], np.random.Generator], torch.Tensor]


def tune(trunk: Trunk, good: NDArray[np.uint8], lesson: Lesson) -> None:
    """Tune a trunk in place, on the lesson's device and back.

    Args:
        trunk: of the lesson's depth.
        good: pictures of good parts [N, side, side, 3].
        lesson: how (``tune``), epochs, seed, checkpoints.

    Raises:
        CloudError: INVALID_ARGUMENT: there are too few pictures to compare.
    """
    if len(good) < 2:  # noqa: PLR2004 - one picture has nothing to be told from
        raise CloudError(Code.INVALID_ARGUMENT, f"expected 2 good pictures or more to tune the trunk, came {len(good)}")
    torch.manual_seed(lesson.seed)
    rng = np.random.default_rng(lesson.seed)
    trunk.to(lesson.device).train()
    task = _TASKS[lesson.tune](trunk, lesson.device)
    groups = [{"params": part.parameters(), "lr": rate} for part, rate in zip((trunk, task.head), _RATES, strict=True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
    for epoch in lesson.steps(lesson.tune, lesson.epochs, trunk=trunk, head=task.head, optimizer=optimizer, rng=rng):
        losses = []
        for chosen in batches(len(good), _BATCH, rng):
            loss = task.loss_of(good[chosen], rng)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
        lesson.progress(f"{lesson.tune}, epoch {epoch + 1}: loss {np.mean(losses):.3f}")
    trunk.to("cpu").eval().requires_grad_(requires_grad=False)


def _pooled(trunk: Trunk, images: torch.Tensor) -> torch.Tensor:
    """Return [N, F], the mean of each level."""
    return torch.cat([level.mean((2, 3)) for level in trunk(images)], 1)


def _simsiam(trunk: Trunk, device: str) -> _Task:
    project = nn.Sequential(
        nn.Linear(sum(trunk.channels), _WIDTH), nn.BatchNorm1d(_WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH)
    )
    predict = nn.Sequential(nn.Linear(_WIDTH, _WIDTH // 4), nn.ReLU(), nn.Linear(_WIDTH // 4, _WIDTH))
    head = nn.ModuleList([project, predict]).to(device)

    def loss_of(images: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
        one, other = (project(_pooled(trunk, _view(images, rng).to(device))) for _ in range(2))
        alike = functional.cosine_similarity(predict(one), other.detach())
        return -0.5 * (alike + functional.cosine_similarity(predict(other), one.detach())).mean()

    return _Task(head, loss_of)


def _view(images: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
    """Return half the side of each picture, at the scale it has: what is fine on the part stays fine."""
    side = max(_STEP, images.shape[1] // 2 // _STEP * _STEP)
    places = rng.integers(images.shape[1] - side + 1, size=(len(images), 2))
    crops = [image[y : y + side, x : x + side] for image, (y, x) in zip(images, places, strict=True)]
    return augment(np.stack(crops), None, rng)[0]


def _cutpaste(trunk: Trunk, device: str) -> _Task:
    head = nn.Sequential(nn.Linear(sum(trunk.channels), _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _PASTED)).to(device)

    def loss_of(images: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
        whole = augment(images, None, rng)[0].numpy()
        pictures = np.concatenate([whole, *([cut(one, rng) for one in whole] for cut in (pasted, scarred))])
        truth = torch.arange(_PASTED, device=device).repeat_interleave(len(images))
        return functional.cross_entropy(head(_pooled(trunk, torch.from_numpy(pictures).to(device))), truth)

    return _Task(head, loss_of)


_TASKS = {"simsiam": _simsiam, "cutpaste": _cutpaste}


def pasted(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture with a rectangle of 2 % to 15 % of it, relit, at another place (section 2.2 of the paper)."""
    area, ratio = rng.uniform(0.02, 0.15) * image.shape[0] * image.shape[1], np.exp(rng.uniform(-1.2, 1.2))
    height, width = (min(int(np.sqrt(area * share)) + 1, image.shape[0] - 1) for share in (ratio, 1 / ratio))
    return _moved(image, height, width, 0.0, rng)


def scarred(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture with a thin strip of itself, turned by up to 45 degrees, at another place."""
    unit = image.shape[0] / 256
    height, width = (max(2, int(unit * rng.uniform(*ends))) for ends in ((10, 25), (2, 16)))
    return _moved(image, height, width, rng.uniform(-45, 45), rng)


def _moved(
    image: NDArray[np.uint8], height: int, width: int, angle: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    top, left, down, across = (int(rng.integers(image.shape[0] - side)) for side in (height, width) * 2)
    piece = image[top : top + height, left : left + width].astype(np.float32)
    piece = np.clip(piece * rng.uniform(0.9, 1.1) + rng.uniform(-10, 10), 0, 255)
    done = image.copy()
    centre = (across + width / 2, down + height / 2)
    matrix = cv2.getRotationMatrix2D(centre, angle, 1.0) @ np.array([[1, 0, across], [0, 1, down], [0, 0, 1.0]])
    size = (image.shape[1], image.shape[0])
    cover = cv2.warpAffine(np.ones((height, width), np.uint8), matrix, size, flags=cv2.INTER_NEAREST).astype(bool)
    done[cover] = cv2.warpAffine(piece, matrix, size, borderMode=cv2.BORDER_REPLICATE)[cover].astype(np.uint8)
    return done
