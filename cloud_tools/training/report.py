"""What a training leaves behind for people and for the next program."""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import edge_agent
from cloud_tools.datasets import Sample
from edge_agent.formats import Verdict

REPORT = "report.json"
PREDICTIONS = "predictions.csv"
COLUMNS = ("file", "score", "label", "verdict", "split")
_ROOT = Path(edge_agent.__file__).parents[1]
_LEARNING_ROOMS = (
    "cloud_tools/datasets",
    "cloud_tools/datasets/layouts",
    "cloud_tools/training",
    "cloud_tools/training/anomaly",
    "cloud_tools/export",
    "edge_agent/vision",
)


class Prediction(NamedTuple):
    """What the training side says of one picture."""

    file: str
    score: float
    label: str
    verdict: Verdict
    split: str


def predictions_of(samples: Sequence[Sample], scores: Sequence[float], threshold: float) -> tuple[Prediction, ...]:
    """Return one prediction a sample; ``label`` is the truth."""
    return tuple(
        Prediction(s.file, score, s.label, Verdict.NG if score >= threshold else Verdict.OK, s.split.value)
        for s, score in zip(samples, scores, strict=True)
    )


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write them as CSV, scores in full precision."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((p.file, repr(p.score), p.label, p.verdict.value, p.split) for p in predictions)


def read_predictions(path: Path) -> tuple[Prediction, ...]:
    """Return what ``write_predictions`` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        Prediction(row["file"], float(row["score"]), row["label"], Verdict(row["verdict"]), row["split"])
        for row in rows
    )


def write_report(run: Path, report: dict[str, Any]) -> None:
    """Write the report with sorted keys, for people and diffs."""
    (run / REPORT).write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")


def code_version() -> str:
    """Return the package's version and a digest over the code that learns and prepares."""
    total = hashlib.sha256()
    for room in _LEARNING_ROOMS:
        for path in sorted((_ROOT / room).glob("*.py")):
            total.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{edge_agent.__version__}+{total.hexdigest()[:12]}"
