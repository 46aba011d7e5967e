"""The step between a data set and an exported graph with its thresholds; the same for every method."""

import time
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch

from cloud_tools.datasets import Dataset, Split
from cloud_tools.evaluation.metrics import auroc
from cloud_tools.export.graph import export_graph
from cloud_tools.training.anomaly.network import AnomalyNetwork
from cloud_tools.training.batches import Loaded, load
from cloud_tools.training.calibration import decide, decide_distance
from cloud_tools.training.checkpoint import Checkpoint
from cloud_tools.training.classification import scores_of
from cloud_tools.training.crossfit import NOTHING, Reach, cross_fitted
from cloud_tools.training.judge import Answers, best_pixel_threshold
from cloud_tools.training.lesson import Lesson
from cloud_tools.training.limits import GOOD_SHARE, unlike
from cloud_tools.training.methods import Method
from cloud_tools.training.options import TrainingOptions
from cloud_tools.training.progress import Progress, without_lines
from edge_agent.formats import Decision, Kind, Preprocess

_AS_GOOD = 0.02
"""A control this close to the model, or better, says that the data set proves nothing."""
_NAMED = 5
"""Of good pictures that are unlike the others, how many are named."""
_CHANCE = 0.7
"""Below this AUROC a method tells bad from good hardly better than a coin does."""


class Control(NamedTuple):
    """The same method on a trunk with random weights."""

    image_auroc: float | None
    """None: there is only one class to judge with."""
    proves_nothing: bool
    """It is as good as the model: whatever tells the pictures apart needs no knowledge of pictures."""
    note: str = ""
    """What that, or a model near chance, says of the data, in words; empty: nothing."""


class Fitted(NamedTuple):
    """A trained network's answers on all pictures and the decision rule chosen on validation."""

    answers: Answers
    decision: Decision
    rule: str
    """How the thresholds were chosen, in words."""
    control: Control | None
    """Only of a method that learns good parts alone."""
    seconds: float
    """Of learning alone."""


def fit(
    method: Method,
    dataset: Dataset,
    rule: Preprocess,
    model: Path,
    kept: Path,
    options: TrainingOptions,
    progress: Progress,
) -> Fitted:
    """Train a network, write it to ``model`` as ONNX, and choose its thresholds on validation.

    Args:
        method: a row of the table.
        dataset: what is learnt from and judged with.
        rule: how pictures become inputs.
        model: the file that is written.
        kept: folder of checkpoints; those that lie there are gone on from.
        options: the effective ones.
        progress: is told each step.

    Raises:
        CloudError: the depth does not exist, or the exported graph breaks the contract.
    """
    torch.set_num_threads(options.threads)
    lesson = _lesson(method, dataset, rule, options, progress)._replace(checkpoint=Checkpoint(kept))
    started = time.monotonic()
    network = _train(method, lesson)
    further = _further(method, lesson, network)
    seconds = round(time.monotonic() - started, 2)
    export_graph(network, model, width=rule.width, height=rule.height, outputs=method.outputs)
    loaded = _joined(lesson.train, lesson.validation, load(dataset.of(Split.TEST), rule))
    score, second, *_ = scores_of(network, loaded.images)
    answers = Answers(loaded, score, None if method.kind is Kind.CLASSIFICATION else second)
    decision, how = _decide(method, answers.of(Split.VALIDATION), rule, further, progress)
    control = _control(method, lesson, answers) if method.kind is Kind.ANOMALY else None
    return Fitted(answers, decision, how, control, seconds)


def _lesson(method: Method, dataset: Dataset, rule: Preprocess, options: TrainingOptions, progress: Progress) -> Lesson:
    masks = method.kind is Kind.SEGMENTATION
    learnt = load(dataset.of(Split.TRAIN), rule, with_masks=masks)
    held = load(dataset.of(Split.VALIDATION), rule, with_masks=masks)
    return Lesson(
        learnt,
        held,
        dataset.classes,
        dataset.normal_classes,
        options.depth,
        options.epochs,
        options.seed,
        progress,
        device=options.device,
        **{name: getattr(options, name) for name in method.takes},
    )


def _train(method: Method, lesson: Lesson) -> torch.nn.Module:
    network = import_module(method.module).train(lesson)
    if not isinstance(network, torch.nn.Module):
        raise TypeError(f"expected a network of {method.module}, came {type(network)}")
    return network


def _further(method: Method, lesson: Lesson, network: torch.nn.Module) -> Reach:
    """Return what further good pictures reach where limits must come of good ones alone; the map is told of them."""
    # Whatever learns for many epochs has no time to learn four times more; what has none overlooks how many were told.
    if not isinstance(network, AnomalyNetwork) or lesson.tune != "none" or lesson.validation.anomalous.any():
        return NOTHING
    reached = cross_fitted(lambda part: cast("AnomalyNetwork", _train(method, part)), lesson)
    if reached is not NOTHING:  # without further pictures the map stands as training left it
        held = lesson.validation.images
        network.calibrate_map(network.patches.of(held), held.shape[1:3], reached.highest)
    return reached


def _decide(
    method: Method, validation: Answers, rule: Preprocess, further: Reach, progress: Progress
) -> tuple[Decision, str]:
    truth = validation.loaded.anomalous
    drawn = any(sample.anomalous and sample.mask for sample in validation.loaded.samples)
    pixel = best_pixel_threshold(validation, rule) if drawn else 0.5
    choose = decide_distance if method.kind is Kind.ANOMALY else decide
    if method.kind is Kind.ANOMALY and not truth.any():
        return _decide_by_good(validation, further, pixel, progress)
    decision = choose(truth, validation.raw, pixel_threshold=pixel)
    return decision, f"F1-optimal on {len(truth)} validation pictures, {int(truth.sum())} of them anomalous"


def _decide_by_good(validation: Answers, further: Reach, pixel: float, progress: Progress) -> tuple[Decision, str]:
    good = np.concatenate([validation.raw, further.scores])
    how = f"{GOOD_SHARE:.0%} prediction limit of {len(validation.raw)} good pictures held out of training"
    how += f" and {len(further.files)} held out of it fold by fold" * bool(further.files)
    files = (*(sample.file for sample in validation.loaded.samples), *further.files)
    strange = [file for file, outside in zip(files, unlike(good), strict=True) if outside]
    if strange:
        told = ", ".join(strange[:_NAMED]) + f" and {len(strange) - _NAMED} more" * (len(strange) > _NAMED)
        how += f"; unlike the others, and not counted: {told}"
        progress(f"thresholds: look at good pictures that are unlike the others, they do not count: {told}")
    return decide_distance(np.zeros(len(good), bool), good, pixel_threshold=pixel), how


def _control(method: Method, lesson: Lesson, answers: Answers) -> Control:
    """Judge on the pictures that judge the model; nothing of the model depends on it."""
    judged = answers.of(Split.TEST if any(s.split is Split.TEST for s in answers.loaded.samples) else Split.VALIDATION)
    truth = judged.loaded.anomalous
    own = auroc(truth, judged.raw)
    if own is None:
        return Control(None, proves_nothing=False)
    lesson.progress("control: the same on a trunk with random weights")
    quiet, kept = without_lines(lesson.progress), lesson.checkpoint.of("control")
    network = _train(method, lesson._replace(pretrained=False, progress=quiet, checkpoint=kept))
    area = auroc(truth, scores_of(network, judged.loaded.images)[0])
    return control_of(own, area or 0.0)


def control_of(own: float, area: float) -> Control:
    """Return the verdict on a data set on which the model reaches AUROC ``own`` and random weights ``area``."""
    as_good = area >= own - _AS_GOOD
    if own < _CHANCE:
        note = (
            f"AUROC {own:.3f} is near chance, random weights reach {area:.3f}: good parts differ from each other "
            "as much as from defects; this data does not suit a method that learns from good parts alone"
        )
    else:
        note = f"a trunk with random weights is as good (AUROC {area:.3f}): this data set proves nothing" * as_good
    return Control(area, as_good, note)


def _joined(*parts: Loaded) -> Loaded:
    """Return all parts as one, without masks: what comes next reads them in the pictures' own size."""
    samples = tuple(sample for part in parts for sample in part.samples)
    placements = tuple(placement for part in parts for placement in part.placements)
    return Loaded(samples, np.concatenate([part.images for part in parts]), np.zeros((0, 0, 0), np.uint8), placements)
