"""The step between a data set and an exported graph with its thresholds."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from cloud_tools.datasets import Dataset, Split
from cloud_tools.export.graph import export_graph
from cloud_tools.training.batches import Loaded, load
from cloud_tools.training.calibration import decide
from cloud_tools.training.classification import scores_of, train_classifier
from cloud_tools.training.judge import Answers, best_pixel_threshold
from cloud_tools.training.progress import Progress
from cloud_tools.training.segmentation import train_unet
from edge_agent.formats import Decision, Kind, Preprocess

if TYPE_CHECKING:
    from cloud_tools.training.run import TrainingOptions


class Fitted(NamedTuple):
    """A trained network's answers on all pictures and the decision rule chosen on validation."""

    answers: Answers
    decision: Decision


def fit(
    kind: Kind, dataset: Dataset, rule: Preprocess, model: Path, options: "TrainingOptions", progress: Progress
) -> Fitted:
    """Train a network, write it to ``model`` as ONNX, and choose its thresholds on validation.

    Raises:
        CloudError: the depth does not exist, or the exported graph breaks the contract.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    masks = kind is Kind.SEGMENTATION
    learnt = load(dataset.of(Split.TRAIN), rule, with_masks=masks)
    held = load(dataset.of(Split.VALIDATION), rule, with_masks=masks)
    network = _train(kind, dataset, learnt, held, options, progress)
    names = ("score", "map") if masks else ("score", "probabilities")
    export_graph(network, model, width=rule.width, height=rule.height, outputs=names)
    loaded = _joined(learnt, held, load(dataset.of(Split.TEST), rule))
    score, second = scores_of(network, loaded.images)
    answers = Answers(loaded, score, second if masks else None)
    validation = answers.of(Split.VALIDATION)
    pixel = best_pixel_threshold(validation, rule) if masks else 0.5
    return Fitted(answers, decide(validation.loaded.anomalous, validation.raw, pixel_threshold=pixel))


def _train(
    kind: Kind, dataset: Dataset, learnt: Loaded, held: Loaded, options: "TrainingOptions", progress: Progress
) -> torch.nn.Module:
    depth, epochs, seed = options.depth, options.epochs, options.seed
    if kind is Kind.SEGMENTATION:
        return train_unet(learnt, held, depth=depth, epochs=epochs, seed=seed, progress=progress)
    classes, normal = dataset.classes, dataset.normal_classes
    return train_classifier(learnt, held, classes, normal, depth=depth, epochs=epochs, seed=seed, progress=progress)


def _joined(*parts: Loaded) -> Loaded:
    """Return all parts as one, without masks: what comes next reads them in the pictures' own size."""
    samples = tuple(sample for part in parts for sample in part.samples)
    placements = tuple(placement for part in parts for placement in part.placements)
    return Loaded(samples, np.concatenate([part.images for part in parts]), np.zeros((0, 0, 0), np.uint8), placements)
