"""The step between a data set and an exported graph with its thresholds; the same for every method."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from cloud_tools.datasets import Dataset, Split
from cloud_tools.evaluation.metrics import auroc
from cloud_tools.export.graph import export_graph
from cloud_tools.training.batches import Loaded, load
from cloud_tools.training.calibration import GOOD_SHARE, decide, decide_distance
from cloud_tools.training.classification import scores_of
from cloud_tools.training.judge import Answers, best_pixel_threshold
from cloud_tools.training.lesson import Lesson
from cloud_tools.training.methods import Method
from cloud_tools.training.progress import Progress
from edge_agent.formats import Decision, Kind, Preprocess

if TYPE_CHECKING:
    from cloud_tools.training.run import TrainingOptions

_AS_GOOD = 0.02
"""A control this close to the model, or better, says that the data set proves nothing."""


class Control(NamedTuple):
    """The same method on a trunk with random weights."""

    image_auroc: float | None
    """None: there is only one class to judge with."""
    proves_nothing: bool
    """It is as good as the model: whatever tells the pictures apart needs no knowledge of pictures."""


class Fitted(NamedTuple):
    """A trained network's answers on all pictures and the decision rule chosen on validation."""

    answers: Answers
    decision: Decision
    rule: str
    """How the thresholds were chosen, in words."""
    control: Control | None
    """Only of a method that learns good parts alone."""


def fit(
    method: Method, dataset: Dataset, rule: Preprocess, model: Path, options: "TrainingOptions", progress: Progress
) -> Fitted:
    """Train a network, write it to ``model`` as ONNX, and choose its thresholds on validation.

    Raises:
        CloudError: the depth does not exist, or the exported graph breaks the contract.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    lesson = _lesson(method, dataset, rule, options, progress)
    network = _train(method, lesson)
    export_graph(network, model, width=rule.width, height=rule.height, outputs=method.outputs)
    loaded = _joined(lesson.train, lesson.validation, load(dataset.of(Split.TEST), rule))
    score, second, *_ = scores_of(network, loaded.images)
    answers = Answers(loaded, score, None if method.kind is Kind.CLASSIFICATION else second)
    decision, how = _decide(method, answers.of(Split.VALIDATION), rule)
    control = _control(method, lesson, answers) if method.kind is Kind.ANOMALY else None
    return Fitted(answers, decision, how, control)


def _lesson(
    method: Method, dataset: Dataset, rule: Preprocess, options: "TrainingOptions", progress: Progress
) -> Lesson:
    masks = method.kind is Kind.SEGMENTATION
    learnt = load(dataset.of(Split.TRAIN), rule, with_masks=masks)
    held = load(dataset.of(Split.VALIDATION), rule, with_masks=masks)
    names = (dataset.classes, dataset.normal_classes)
    return Lesson(learnt, held, *names, options.depth, options.epochs or method.epochs, options.seed, progress)


def _train(method: Method, lesson: Lesson) -> torch.nn.Module:
    network = import_module(method.module).train(lesson)
    if not isinstance(network, torch.nn.Module):
        raise TypeError(f"expected a network of {method.module}, came {type(network)}")
    return network


def _decide(method: Method, validation: Answers, rule: Preprocess) -> tuple[Decision, str]:
    truth = validation.loaded.anomalous
    drawn = method.kind is Kind.SEGMENTATION or any(sample.mask for sample in validation.loaded.samples)
    pixel = best_pixel_threshold(validation, rule) if drawn else 0.5
    choose = decide_distance if method.kind is Kind.ANOMALY else decide
    decision = choose(truth, validation.raw, pixel_threshold=pixel)
    if method.kind is Kind.ANOMALY and not truth.any():
        return decision, f"{GOOD_SHARE:.0%} prediction limit of {len(truth)} good pictures held out of training"
    return decision, f"F1-optimal on {len(truth)} validation pictures, {int(truth.sum())} of them anomalous"


def _control(method: Method, lesson: Lesson, answers: Answers) -> Control:
    """Judge on the pictures that judge the model; nothing of the model depends on it."""
    judged = answers.of(Split.TEST if any(s.split is Split.TEST for s in answers.loaded.samples) else Split.VALIDATION)
    truth = judged.loaded.anomalous
    own = auroc(truth, judged.raw)
    if own is None:
        return Control(None, proves_nothing=False)
    network = _train(method, lesson._replace(pretrained=False, progress=lambda _line: None))
    area = auroc(truth, scores_of(network, judged.loaded.images)[0])
    return Control(area, proves_nothing=area is not None and area >= own - _AS_GOOD)


def _joined(*parts: Loaded) -> Loaded:
    """Return all parts as one, without masks: what comes next reads them in the pictures' own size."""
    samples = tuple(sample for part in parts for sample in part.samples)
    placements = tuple(placement for part in parts for placement in part.placements)
    return Loaded(samples, np.concatenate([part.images for part in parts]), np.zeros((0, 0, 0), np.uint8), placements)
