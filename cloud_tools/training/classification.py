"""A classifier on the pretrained trunk: frozen first, then briefly fine-tuned.

Frozen: the trunk's pooled features are computed once, and a standardised linear head
is fitted on them. Fine-tuned: head and trunk together, with augmentation and a small
step. Validation decides which of the two leaves the room.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cloud_tools.evaluation.metrics import confusion
from cloud_tools.training.backbone import STRIDE_ENDS, Trunk
from cloud_tools.training.batches import Loaded, augment, batches
from cloud_tools.training.calibration import best_threshold
from cloud_tools.training.checkpoint import Best, Steps
from cloud_tools.training.lesson import Lesson
from cloud_tools.training.progress import Progress
from cloud_tools.training.schedule import one_cycle

DEFAULT_DEPTH = 10
_BATCH = 16
_HEAD_EPOCHS = 300
_HEAD_JUDGED = 5
_RATES = [1.5e-4, 3e-4]


class Classifier(nn.Module):
    """Trunk -> pooled features of its levels -> linear head -> score, probabilities.

    Args:
        depth: the last block of the trunk that is kept.
        normal: which classes mean OK, in the graph's order.
        pretrained: of the trunk.
    """

    def __init__(self, depth: int, normal: tuple[bool, ...], *, pretrained: bool = True) -> None:
        super().__init__()
        taps = tuple(sorted({end for end in STRIDE_ENDS[2:] if end < depth} | {depth}))
        self.trunk = Trunk(depth, taps, pretrained=pretrained)
        self.trunk.prepare_to_learn()
        self.normal = normal
        self.head = nn.Linear(2 * sum(self.trunk.channels), len(normal))

    def pooled(self, image: torch.Tensor) -> torch.Tensor:
        """Return [N, F]: mean and maximum of each level; a small defect is lost in the mean alone."""
        levels = self.trunk(image)
        return torch.cat([torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1) for x in levels], 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score [N] (log odds of not OK) and probabilities [N, C] of uint8 [N, H, W, 3]."""
        return self.answer(self.head(self.pooled(image)))

    def answer(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return score and probabilities of the head's logits."""
        good = [i for i, normal in enumerate(self.normal) if normal]
        bad = [i for i, normal in enumerate(self.normal) if not normal]
        score = torch.logsumexp(logits[:, bad], 1) - torch.logsumexp(logits[:, good], 1)
        return score, torch.softmax(logits, 1)


class _Judged(NamedTuple):
    """How good a state is on validation; compared in this order."""

    f1: float
    negative_loss: float


def train(lesson: Lesson) -> Classifier:
    """Return a classifier that has learnt the lesson."""
    return train_classifier(
        lesson.train,
        lesson.validation,
        lesson.classes,
        lesson.normal_classes,
        depth=lesson.depth,
        epochs=lesson.epochs,
        seed=lesson.seed,
        progress=lesson.progress,
        steps=lesson.steps,
    )


def train_classifier(
    train: Loaded,
    validation: Loaded,
    classes: tuple[str, ...],
    normal_classes: tuple[str, ...],
    *,
    depth: int,
    epochs: int,
    seed: int,
    progress: Progress,
    steps: Steps,
) -> Classifier:
    """Return a classifier in eval mode, the best on validation of frozen and fine-tuned.

    Args:
        train: what is learnt from.
        validation: what stops the training; never learnt from.
        classes: names, in the graph's order.
        normal_classes: those that mean OK.
        depth: the last block of the trunk that is kept.
        epochs: of fine-tuning at most; 0 leaves the trunk frozen.
        seed: of the head's start, the order and the augmentation.
        progress: is told each stage and epoch.
        steps: counts the epochs of fine-tuning, and keeps their state.
    """
    torch.manual_seed(seed)
    model = Classifier(depth, tuple(name in normal_classes for name in classes))
    target, held = _targets(train, classes), _targets(validation, classes)
    _fit_head(model, train, target, validation, held, progress)
    model.eval()
    if epochs:
        _fine_tune(model, train, target, validation, held, epochs, np.random.default_rng(seed), progress, steps)
    return model.eval()


def scores_of(model: nn.Module, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return each output of the model for [N, H, W, 3], computed without gradients in small batches."""
    parts: list[list[NDArray[np.float32]]] = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            outputs = model(torch.from_numpy(images[start : start + _BATCH]))
            parts.append([output.numpy() for output in outputs])
    return [np.concatenate(group) for group in zip(*parts, strict=True)]


def _targets(loaded: Loaded, classes: tuple[str, ...]) -> torch.Tensor:
    return torch.tensor([classes.index(sample.label) for sample in loaded.samples])


def _class_weights(target: torch.Tensor, count: int) -> torch.Tensor:
    counts = torch.bincount(target, minlength=count).clamp(min=1)
    return (len(target) / (count * counts)).float()


def _pool_all(model: Classifier, images: NDArray[np.uint8]) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        pieces = [model.pooled(torch.from_numpy(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
    return torch.cat(pieces).clone()


def _fit_head(
    model: Classifier,
    train: Loaded,
    target: torch.Tensor,
    validation: Loaded,
    held: torch.Tensor,
    progress: Progress,
) -> None:
    """Fit the head on cached features, augmented views among them, and fold the standardisation in."""
    views = [train.images, train.images[:, :, ::-1], train.images[:, ::-1]]
    features = torch.cat([_pool_all(model, np.ascontiguousarray(view)) for view in views])
    targets = target.repeat(len(views))
    mean, spread = features.mean(0), features.std(0) + 1e-3
    seen = (features - mean) / spread
    unseen = (_pool_all(model, validation.images) - mean) / spread
    head = nn.Linear(features.shape[1], len(model.normal))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
    loss_of = nn.CrossEntropyLoss(_class_weights(target, len(model.normal)), label_smoothing=0.02)
    best, kept = _Judged(-1.0, 0.0), copy.deepcopy(head.state_dict())
    for epoch in range(_HEAD_EPOCHS):
        optimizer.zero_grad()
        loss_of(head(seen), targets).backward()
        optimizer.step()
        if (epoch + 1) % _HEAD_JUDGED == 0:
            judged = _judge(model, head(unseen).detach(), validation, held, loss_of)
            if judged > best:
                best, kept = judged, copy.deepcopy(head.state_dict())
    head.load_state_dict(kept)
    with torch.no_grad():
        model.head.weight.copy_(head.weight / spread)
        model.head.bias.copy_(head.bias - head.weight @ (mean / spread))
    progress(f"frozen trunk: F1 {best.f1:.3f} on validation")


def _judge(
    model: Classifier, logits: torch.Tensor, validation: Loaded, held: torch.Tensor, loss_of: nn.Module
) -> _Judged:
    score, _ = model.answer(logits)
    values, truth = score.numpy(), validation.anomalous
    f1 = confusion(truth, values, best_threshold(truth, values)).f1 if not truth.all() and truth.any() else 0.0
    return _Judged(round(f1, 4), -float(loss_of(logits, held)))


def _fine_tune(
    model: Classifier,
    train: Loaded,
    target: torch.Tensor,
    validation: Loaded,
    held: torch.Tensor,
    epochs: int,
    rng: np.random.Generator,
    progress: Progress,
    steps: Steps,
) -> None:
    loss_of = nn.CrossEntropyLoss(_class_weights(target, len(model.normal)), label_smoothing=0.02)
    optimizer = torch.optim.AdamW(
        [{"params": model.trunk.learning(), "lr": _RATES[0]}, {"params": model.head.parameters(), "lr": _RATES[1]}],
        weight_decay=1e-2,
    )
    total = epochs * max(1, len(train.images) // _BATCH) + epochs
    schedule = one_cycle(optimizer, _RATES, total)
    best = Best(model, _judge(model, _logits(model, validation.images), validation, held, loss_of))
    for epoch in steps("fine-tuning", epochs, net=model, best=best, optimizer=optimizer, schedule=schedule, rng=rng):
        model.train()
        for chosen in batches(len(train.images), _BATCH, rng):
            images, _ = augment(train.images[chosen], None, rng)
            optimizer.zero_grad()
            loss_of(model.head(model.pooled(images)), target[chosen]).backward()
            optimizer.step()
            schedule.step()
        model.eval()
        judged = _judge(model, _logits(model, validation.images), validation, held, loss_of)
        progress(f"epoch {epoch + 1}: F1 {judged.f1:.3f}, loss {-judged.negative_loss:.3f} on validation")
        best.offer(judged)
    model.load_state_dict(best.kept)


def _logits(model: Classifier, images: NDArray[np.uint8]) -> torch.Tensor:
    with torch.inference_mode():
        pieces = [
            model.head(model.pooled(torch.from_numpy(images[i : i + _BATCH]))) for i in range(0, len(images), _BATCH)
        ]
    return torch.cat(pieces).clone()
