"""A U-Net (Ronneberger et al. 2015) with the pretrained trunk as encoder; Dice and cross-entropy."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cloud_tools.training.backbone import STRIDE_ENDS, Trunk
from cloud_tools.training.batches import Loaded, augment, batches
from cloud_tools.training.checkpoint import Best, Steps
from cloud_tools.training.lesson import Lesson
from cloud_tools.training.progress import Progress
from cloud_tools.training.schedule import one_cycle

DEFAULT_DEPTH = 10
_BATCH = 4
_PRIOR_LOGIT = -3.0
_WINDOW = 3
"""Side of the window, in pixels of the map, that must agree before the picture counts as anomalous."""


class UNet(nn.Module):
    """Encoder, decoder with skips, mask logits at half the input's resolution.

    Args:
        depth: the last block of the trunk that is kept; the deeper, the wider each pixel looks.
        pretrained: of the trunk.
    """

    def __init__(self, depth: int, *, pretrained: bool = True) -> None:
        super().__init__()
        taps = (*(end for end in STRIDE_ENDS if end < depth), depth)
        if len(taps) > 1 and _stride(taps[-2]) == _stride(depth):
            taps = (*taps[:-2], depth)  # two levels of one resolution: the deeper one knows more
        self.trunk = Trunk(depth, taps, pretrained=pretrained)
        self.trunk.prepare_to_learn()
        widths = [min(64, 24 + 8 * level) for level in range(len(taps))]
        self.reduce = _block(self.trunk.channels[-1], widths[-1])
        pairs = zip(reversed(self.trunk.channels[:-1]), reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        self.up = nn.ModuleList(_block(below + skip, out) for skip, below, out in pairs)
        self.last = nn.Conv2d(widths[0], 1, 1)
        # Most pixels are good: starting from that share spares the first epochs.
        self.last.bias = nn.Parameter(torch.full((1,), _PRIOR_LOGIT))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score [N] and map [N, H/2, W/2], both logits, of uint8 [N, H, W, 3].

        The score is the greatest mean of the map over a small window: one stray pixel is no defect.
        """
        *skips, deepest = self.trunk(image)
        features = self.reduce(deepest)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            features = functional.interpolate(features, size=skip.shape[2:], mode="nearest")
            features = block(torch.cat([features, skip], 1))
        logits = self.last(features)
        score = functional.avg_pool2d(logits, _WINDOW, 1).amax((1, 2, 3))
        return score, logits[:, 0]


def train(lesson: Lesson) -> UNet:
    """Return a U-Net that has learnt the lesson."""
    options = {"depth": lesson.depth, "epochs": lesson.epochs, "seed": lesson.seed}
    return train_unet(lesson.train, lesson.validation, **options, progress=lesson.progress, steps=lesson.steps)


def train_unet(
    train: Loaded, validation: Loaded, *, depth: int, epochs: int, seed: int, progress: Progress, steps: Steps
) -> UNet:
    """Return a U-Net in eval mode, of the epoch with the best pooled overlap on validation.

    Args:
        train: with masks; what is learnt from.
        validation: with masks; what chooses the epoch, the last one where nothing is drawn on them.
        depth: the last block of the trunk that is kept.
        epochs: how many.
        seed: of the decoder's start, the order and the augmentation.
        progress: is told each epoch.
        steps: counts the epochs, and keeps their state.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = UNet(depth)
    decoder = [p for name, p in model.named_parameters() if not name.startswith("trunk.")]
    rates = [4e-4, 3e-3]
    groups = [{"params": model.trunk.learning(), "lr": rates[0]}, {"params": decoder, "lr": rates[1]}]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-3)
    per_epoch = len(list(batches(len(train.images), _BATCH, np.random.default_rng(0))))
    schedule = one_cycle(optimizer, rates, epochs * per_epoch)
    best = Best(model, (-1.0, -1.0))
    for epoch in steps("unet", epochs, net=model, best=best, optimizer=optimizer, schedule=schedule, rng=rng):
        model.train()
        for chosen in batches(len(train.images), _BATCH, rng):
            images, masks = augment(train.images[chosen], train.masks[chosen], rng)
            optimizer.zero_grad()
            loss = loss_of(model(images)[1], _halved(masks))
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        overlap = _overlap(model.eval(), validation)
        progress(f"epoch {epoch + 1}: overlap {overlap:.3f} on validation")
        # Of equals the later one: without a defect on validation each overlap is 0, and the last has learnt most.
        best.offer((overlap, float(epoch)))
    model.load_state_dict(best.kept)
    return model.eval()


def loss_of(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy + (1 - Dice pooled over the batch); truth [N, h, w] in 0..1."""
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    shares = torch.sigmoid(logits)
    dice = (2 * (shares * truth).sum() + 1) / (shares.sum() + truth.sum() + 1)
    return entropy + 1 - dice


def _halved(masks: torch.Tensor | None) -> torch.Tensor:
    if masks is None:
        raise TypeError("expected masks, came none")
    return functional.avg_pool2d(masks.float()[:, None], 2)[:, 0]


def _overlap(model: UNet, validation: Loaded) -> float:
    """Return intersection over union of shares, pooled: smoother than that of a cut at 0.5."""
    both = union = 0.0
    with torch.inference_mode():
        for start in range(0, len(validation.images), _BATCH):
            shares = torch.sigmoid(model(torch.from_numpy(validation.images[start : start + _BATCH]))[1])
            truth = _halved(torch.from_numpy(validation.masks[start : start + _BATCH]))
            both += float(torch.minimum(shares, truth).sum())
            union += float(torch.maximum(shares, truth).sum())
    return both / union if union else 0.0


def _stride(block: int) -> int:
    return sum(block > end for end in STRIDE_ENDS)


def _block(channels: int, out: int) -> nn.Sequential:
    """Return a 1 x 1 convolution that narrows and a 3 x 3 one, each normalised."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )
