"""Pictures as tensors: prepared by ``vision`` as on the device, augmented after the split."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cloud_tools.datasets import Sample
from cloud_tools.errors import CloudError
from edge_agent import vision
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Preprocess
from edge_agent.vision import Placement

_HALF = 0.5
"""A pixel of a resized mask is defective where at least half of what fell on it was."""


class Loaded(NamedTuple):
    """Samples in memory, in the model's input size."""

    samples: tuple[Sample, ...]
    images: NDArray[np.uint8]
    """[N, H, W, 3]"""
    masks: NDArray[np.uint8]
    """[N, H, W], 0 or 1; empty where nobody asked."""
    placements: tuple[Placement, ...]

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """Return the truth of each picture."""
        return np.array([sample.anomalous for sample in self.samples], np.bool_)

    def take(self, chosen: NDArray[np.bool_]) -> "Loaded":
        """Return the chosen ones; ``chosen`` [N]."""
        places = np.flatnonzero(chosen)
        masks = self.masks[places] if len(self.masks) else self.masks
        samples = tuple(self.samples[place] for place in places)
        placements = tuple(self.placements[place] for place in places)
        return Loaded(samples, self.images[places], masks, placements)


def load(samples: Sequence[Sample], rule: Preprocess, *, with_masks: bool = False) -> Loaded:
    """Return samples decoded and letterboxed by the device's own code.

    Raises:
        CloudError: a picture cannot be decoded (the hygiene gate says so before, unless it is overridden).
    """
    images, masks, placements = [], [], []
    for sample in samples:
        picture = _decoded(sample)
        image, placement = vision.prepare(picture, rule)
        images.append(image)
        placements.append(placement)
        if with_masks:
            masks.append(_placed(sample.truth(*picture.shape[:2]), placement, rule))
    stacked = np.stack(images) if images else np.zeros((0, rule.height, rule.width, 3), np.uint8)
    truth = np.stack(masks) if masks else np.zeros((0, rule.height, rule.width), np.uint8)
    return Loaded(tuple(samples), stacked, truth, tuple(placements))


def _decoded(sample: Sample) -> vision.RGB:
    try:
        return sample.picture()
    except InferenceError as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"{sample.file}: {exc.message}") from exc


def _placed(truth: NDArray[np.bool_], placement: Placement, rule: Preprocess) -> NDArray[np.uint8]:
    mask = np.zeros((rule.height, rule.width), np.uint8)
    size = (placement.width, placement.height)
    resized = cv2.resize(truth.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= _HALF
    rows = slice(placement.top, placement.top + placement.height)
    mask[rows, placement.left : placement.left + placement.width] = resized
    return mask


def batches(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Yield shuffled indices; a last batch of one joins the one before."""
    order = rng.permutation(count)
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        yield order[start:stop]


def augment(
    images: NDArray[np.uint8], masks: NDArray[np.uint8] | None, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a batch, each picture flipped, turned, shifted and relit at random, masks alike."""
    done = [_one(image, None if masks is None else masks[i], rng) for i, image in enumerate(images)]
    stacked = torch.from_numpy(np.stack([image for image, _ in done]))
    if masks is None:
        return stacked, None
    return stacked, torch.from_numpy(np.stack([mask for _, mask in done]))


def _one(
    image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    truth = np.zeros(image.shape[:2], np.uint8) if mask is None else mask
    turns = int(rng.integers(4)) if image.shape[0] == image.shape[1] else 2 * int(rng.integers(2))
    image, truth = np.rot90(image, turns), np.rot90(truth, turns)
    if rng.integers(2):
        image, truth = image[:, ::-1], truth[:, ::-1]
    image, truth = _moved(image, truth, rng)
    gain, offset = rng.uniform(0.88, 1.12), rng.uniform(-10, 10)
    relit = np.clip(image.astype(np.float32) * gain + offset, 0, 255).astype(np.uint8)
    return relit, np.ascontiguousarray(truth)


def _moved(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scale and shift by up to a tenth, mirroring at the border."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.9, 1.1)
    across, down = rng.uniform(-0.06, 0.06, 2) * (width, height)
    shift = ((1 - scale) * width / 2 + across, (1 - scale) * height / 2 + down)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    moved = cv2.warpAffine(np.ascontiguousarray(image), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    truth = cv2.warpAffine(
        np.ascontiguousarray(mask), matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.uint8), np.asarray(truth, np.uint8)
