"""Models for benches and tests: a classifier and a U-Net on two paper types, judged and packaged."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.errors import CloudError
from cloud_tools.packaging.bundle import package_run
from cloud_tools.training.report import PREDICTIONS, Prediction, read_predictions
from cloud_tools.training.run import TrainingOptions, train
from edge_agent.errors import Code
from edge_agent.formats import Kind, Manifest

PAPER_TYPES = "pa_(bdp01|flr02)"
"""Two of the twelve paper types, by the beginning of the files' names."""
PAPER_PARTS = r"^(.*)_\d+\."
"""A sheet: its patches stay on one side of a split."""


class BenchModel(NamedTuple):
    """One model that was trained and packaged."""

    kind: Kind
    data: Path
    """Root of the data set; ``file`` of a prediction is relative to it."""
    bundle: Path
    manifest: Manifest
    metrics: dict[str, Any]
    parity: float
    """Largest difference of a calibrated score between training and the device's runtime."""
    cpu_seconds: float
    """Of training: processor time, which a busy machine does not stretch."""
    test: tuple[Prediction, ...]
    """What the training side says of every test picture."""


def train_and_package(
    kind: Kind, data: Path, work: Path, *, name: str, version: str = "1", options: TrainingOptions
) -> BenchModel:
    """Train on ``data``, package the run as ``work/bundles/NAME/VERSION`` and return both sides.

    Raises:
        CloudError: a gate stopped it, or the layout is wrong.
    """
    run = work / "runs" / name / version
    started = time.process_time()
    trained = train(kind.value, data, run, options, lambda _line: None)
    cpu_seconds = time.process_time() - started
    if not trained.ok:
        raise CloudError(Code.INTERNAL, trained.message)
    packaged = package_run(run, name, version, work / "bundles" / name / version)
    predictions = read_predictions(run / PREDICTIONS)
    return BenchModel(
        kind,
        data,
        packaged.directory,
        packaged.manifest,
        trained.metrics,
        trained.report["parity"]["max_difference"],
        cpu_seconds,
        tuple(p for p in predictions if p.split == "test"),
    )


def train_paper(
    data: Path, work: Path, *, only: str = PAPER_TYPES, version: str = "1", seed: int = 0, epochs: int = 0
) -> tuple[BenchModel, BenchModel]:
    """Return a classifier ("img-classification") and a U-Net ("unet") trained on paper.

    Args:
        data: the folder that holds ``paper/classification`` and ``paper/segmentation``.
        work: an empty folder for runs and bundles.
        only: which files, by the beginning of their names.
        version: of both models.
        seed: of both trainings.
        epochs: of both trainings; 0: the methods' own number.

    Raises:
        CloudError: a gate stopped one, or the layout is wrong.
    """
    options = TrainingOptions(seed=seed, only=only, part_regex=PAPER_PARTS, epochs=epochs)
    classifier = train_and_package(
        Kind.CLASSIFICATION,
        data / "paper/classification",
        work,
        name="img-classification",
        version=version,
        options=options,
    )
    unet = train_and_package(
        Kind.SEGMENTATION, data / "paper/segmentation", work, name="unet", version=version, options=options
    )
    return classifier, unet
