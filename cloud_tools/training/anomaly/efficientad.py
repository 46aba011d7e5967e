"""EfficientAD: where a student that saw good parts alone no longer says what its teacher says.

Batzner, Heckler, König: EfficientAD: Accurate Visual Anomaly Detection at
Millisecond-Level Latencies, WACV 2024 (arXiv 2303.14535). The student is held against the
teacher for local defects, and its second half against an autoencoder for what is wrong
with the whole. See ``distilling`` for the teacher and ``pdn`` for the networks.

Unlike the paper, a step learns one crop of one picture, not all of it, all losses see the same
picture, relit by chance, and the student learns from more of the differences: a training in minutes
has few steps, and they shall count.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from cloud_tools.training.anomaly.distilling import STEPS, crop, distilled, framed_pictures, textures
from cloud_tools.training.anomaly.pdn import STRIDE, Autoencoder, framed, pdn, pixels
from cloud_tools.training.checkpoint import Part
from cloud_tools.training.lesson import Lesson
from cloud_tools.training.limits import good_limit

_RATE = 1e-3
_CROP = 32
"""Side of what a step learns, in places of the grid."""
_OTHER_CROP = 16
_HARD = 0.02
"""Of all differences of a crop, the share of the greatest, which alone teach the student; 0.001 in the paper,
by which a student of 1,000 steps still missed a third of good parts' variance (0.02: a sixth)."""
_LOW, _HIGH = 0.9, 0.995
"""Quantiles of good maps that become 0 and 0.1."""
_RELIT = 0.2
_BATCH = 8
_TYPICAL_LOGIT = 3.0


class EfficientAd(nn.Module):
    """Score [N] and map [N, H, W] (logits) of uint8 [N, H, W, 3].

    Args:
        teacher: framed picture -> features.
        width: of student and autoencoder.
        side: of the pictures.
    """

    ranges: torch.Tensor
    """[2, 2]: low and high quantile of student's and autoencoder's maps of good parts."""
    gain: torch.Tensor
    offset: torch.Tensor

    def __init__(self, teacher: nn.Sequential, width: float, side: int) -> None:
        super().__init__()
        self.teacher = teacher
        self.channels = int(teacher[-1].out_channels)  # type: ignore[arg-type]  # a convolution's, an int
        self.student = pdn(width, 2 * self.channels)
        self.autoencoder = Autoencoder(width, self.channels, side)
        self.register_buffer("ranges", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score, the greatest of the combined map, and the map as logits."""
        local, whole = self.differences(image)
        grid = 0.5 * self._ranged(local, 0) + 0.5 * self._ranged(whole, 1)
        wide = functional.interpolate(grid[:, None], size=(image.shape[1], image.shape[2]), mode="bilinear")[:, 0]
        return grid.amax((1, 2)), wide * self.gain + self.offset

    def differences(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the maps [N, H / 4, W / 4] of student against teacher, and of student against autoencoder."""
        picture = pixels(image)
        said = self.student(framed(picture))
        local = self.teacher(framed(picture)) - said[:, : self.channels]
        whole = self.autoencoder(picture) - said[:, self.channels :]
        return (local * local).mean(1), (whole * whole).mean(1)

    def _ranged(self, grid: torch.Tensor, row: int) -> torch.Tensor:
        low, high = self.ranges[row, 0], self.ranges[row, 1]
        return 0.1 * (grid - low) / (high - low)


def train(lesson: Lesson) -> EfficientAd:
    """Return a network, on the CPU, that has learnt the lesson's good parts."""
    good = lesson.train.images[~lesson.train.anomalous]
    held = lesson.validation.images[~lesson.validation.anomalous]
    side = good.shape[1]
    other = textures(side, lesson.seed)
    teacher = distilled(lesson, good, other)
    torch.manual_seed(lesson.seed)
    network = EfficientAd(_normalised(teacher, good, lesson.device), lesson.width, side).to(lesson.device)
    _learn(network, lesson, good, other)
    network.eval().requires_grad_(requires_grad=False).to("cpu")
    _calibrate(network, held)
    return network


def _normalised(teacher: nn.Sequential, good: NDArray[np.uint8], device: str) -> nn.Sequential:
    """Give each channel mean 0 and spread 1 over good parts, inside the last convolution."""
    with torch.inference_mode():
        pieces = [
            teacher(framed(pixels(torch.from_numpy(good[i : i + _BATCH]).to(device)))).double().cpu()
            for i in range(0, len(good), _BATCH)
        ]
        said = torch.cat(pieces)
    mean, spread = said.mean((0, 2, 3)).to(device), said.std((0, 2, 3)).clamp(min=1e-6).to(device)
    last = teacher[-1]
    if not isinstance(last, nn.Conv2d) or last.bias is None:
        raise TypeError(f"expected a convolution at the teacher's end, came {type(last)}")
    with torch.no_grad():
        last.weight.copy_(last.weight.double() / spread[:, None, None, None])
        last.bias.copy_((last.bias.double() - mean) / spread)
    return teacher.requires_grad_(requires_grad=False)


def _learn(network: EfficientAd, lesson: Lesson, good: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    learnt = [*network.student.parameters(), *network.autoencoder.parameters()]
    optimizer = torch.optim.AdamW(learnt, _RATE, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=lesson.epochs * STEPS, pct_start=0.1)
    rng = np.random.default_rng(lesson.seed + 1)
    frames = framed_pictures(other)
    network.train()
    parts: dict[str, Part] = {"student": network.student, "autoencoder": network.autoencoder, "optimizer": optimizer}
    for epoch in lesson.steps("student", lesson.epochs, **parts, schedule=schedule, rng=rng):
        losses = []
        for _ in range(STEPS):
            picture = torch.from_numpy(_relit(good[rng.integers(len(good))], rng))[None].to(lesson.device)
            terms = _losses(network, picture, _other(frames, rng).to(lesson.device), rng)
            optimizer.zero_grad()
            torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]  # torch publishes no types for it
            optimizer.step()
            schedule.step()
            losses.append([float(term.detach()) for term in terms])
        told = ", ".join(f"{value:.3f}" for value in np.mean(losses, 0))
        lesson.progress(f"student, epoch {epoch + 1}: hard, elsewhere, autoencoder, student of it: {told}")


def _losses(
    network: EfficientAd, image: torch.Tensor, other: torch.Tensor, rng: np.random.Generator
) -> list[torch.Tensor]:
    """Return the student's hard loss, what it says of other things, the autoencoder's loss, the student's of that."""
    picture = pixels(image)
    grid = image.shape[1] // STRIDE
    side = min(_CROP, grid)
    top, left = (int(value) for value in rng.integers(grid - side + 1, size=2))
    seen = crop(framed(picture).permute(0, 2, 3, 1), top, left, side).permute(0, 3, 1, 2)
    with torch.no_grad():
        wanted = network.teacher(seen)
    said = network.student(seen)
    rebuilt = network.autoencoder(picture)[:, :, top : top + side, left : left + side]
    local = (wanted - said[:, : network.channels]).square().flatten()
    hard = local.topk(max(1, round(_HARD * len(local)))).values.mean()
    elsewhere = network.student(pixels(other))[:, : network.channels].square().mean()
    whole = functional.mse_loss(rebuilt, wanted)
    second = functional.mse_loss(said[:, network.channels :], rebuilt.detach())
    return [hard, elsewhere, whole, second]


def _other(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    side = min(_OTHER_CROP, (frames.shape[1] - 32) // STRIDE)
    top, left = rng.integers((frames.shape[1] - 32) // STRIDE - side + 1, size=2)
    return crop(frames[int(rng.integers(len(frames)))][None], top, left, side)


def _relit(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast or saturation by up to a fifth, one of them."""
    share = rng.uniform(1 - _RELIT, 1 + _RELIT)
    values = image.astype(np.float32)
    centre = (0.0, values.mean(), values.mean(2, keepdims=True))[int(rng.integers(3))]
    return np.clip(centre + share * (values - centre), 0, 255).astype(np.uint8)


def _calibrate(network: EfficientAd, held: NDArray[np.uint8]) -> None:
    """Set both maps' ranges, and put the highest value that a good part is expected to show at logit 0."""
    with torch.inference_mode():
        pieces = [network.differences(torch.from_numpy(held[i : i + _BATCH])) for i in range(0, len(held), _BATCH)]
        for row, grids in enumerate(zip(*pieces, strict=True)):
            values = torch.cat(list(grids)).double().numpy()
            low, high = np.quantile(values, (_LOW, _HIGH))
            network.ranges[row] = torch.tensor([low, max(high, low + 1e-9)])
        scores = [network(torch.from_numpy(held[i : i + _BATCH]))[0] for i in range(0, len(held), _BATCH)]
    highest = torch.cat(scores).double().numpy()
    limit = good_limit(highest)
    room = max(limit, 1e-9)  # half of all places are below 0, the low quantile
    network.gain.fill_(_TYPICAL_LOGIT / room)
    network.offset.fill_(-_TYPICAL_LOGIT * limit / room)
