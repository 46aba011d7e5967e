"""One training from end to end: read, gate, learn, export, prove, judge, write down."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cloud_tools.datasets import (
    Dataset,
    Finding,
    Level,
    Split,
    inspect_dataset,
    read_anomaly,
    read_classification,
    read_segmentation,
)
from cloud_tools.errors import CloudError
from cloud_tools.packaging.parts import FILE, GOLDEN, MODEL, ManifestParts
from cloud_tools.training.methods import Method, method_of
from cloud_tools.training.progress import Progress
from cloud_tools.training.report import (
    PREDICTIONS,
    Prediction,
    code_version,
    predictions_of,
    write_predictions,
    write_report,
)
from edge_agent import vision
from edge_agent.errors import Code
from edge_agent.formats import Kind, Preprocess, Verdict

if TYPE_CHECKING:
    from cloud_tools.training.fit import Control

PARITY = 1e-4
"""The calibrated score of the graph may differ from the training side's by this much."""

_SIZES = (192, 256)
_STEP, _LARGEST = 32, 1024
_DEPTH = 10
_GOLDEN_PER_VERDICT = 3
_READERS = {
    Kind.CLASSIFICATION: read_classification,
    Kind.SEGMENTATION: read_segmentation,
    Kind.ANOMALY: read_anomaly,
}


class TrainingOptions(NamedTuple):
    """What a training may be told."""

    depth: int = _DEPTH
    """The last block of the trunk that is kept."""
    seed: int = 0
    override: str = ""
    """Why the gates shall not stop it; empty: they do."""
    part_regex: str = ""
    only: str = ""
    """Regular expression that file names must match at their beginning."""
    size: int = 0
    """Side of the model's input in pixels, a multiple of 32; 0: chosen from the pictures."""
    epochs: int = 0
    """Of learning with the trunk, at most; 0: the method's own number."""
    threads: int = 0
    """For torch; 0: all cores."""


class Trained(NamedTuple):
    """What came of it."""

    ok: bool
    message: str
    """Why it is not ok."""
    metrics: dict[str, Any]
    seconds: float
    report: dict[str, Any]


def train(name: str, data: Path, run: Path, options: TrainingOptions, progress: Progress) -> Trained:
    """Train on ``data`` and leave model, report, predictions, parts and golden pictures in ``run``.

    A gate that stops it, before (hygiene) or after (quality), is no exception: the report is
    written all the same and says why.

    Args:
        name: of the method, as in the table (``methods``).
        data: the data set's root, in the layout of the method's kind.
        run: new or empty folder.
        options: what the training is told.
        progress: is told each step.

    Raises:
        CloudError: no such method, wrong options or layout; the exported graph says something else than the network.
    """
    started = time.monotonic()
    method = method_of(name)
    dataset = _read(method.kind, data, options)
    _prepare_run(run)
    findings = inspect_dataset(dataset)
    for finding in findings:
        progress(f"gate, {finding.level.value}: {finding.check}: {finding.message}")
    report = _opening(name, method.kind, dataset, findings, options)
    blocked = [f"{f.check}: {f.message}" for f in findings if f.level is Level.BLOCK]
    if blocked and not options.override:
        message = f"the hygiene gate stops this data set: {'; '.join(blocked)}"
        return _close(run, report, started, {}, message)
    metrics = _learn(method, dataset, run, options, report, progress)
    return _close(run, report, started, metrics, _shortfall(method, metrics, options))


def _read(kind: Kind, data: Path, options: TrainingOptions) -> Dataset:
    if options.size and (options.size % _STEP or not _STEP <= options.size <= _LARGEST):
        raise CloudError(
            Code.OUT_OF_RANGE, f"expected a size of {_STEP}..{_LARGEST}, a multiple of {_STEP}, came {options.size}"
        )
    return _READERS[kind](data, seed=options.seed, part_regex=options.part_regex, only=options.only)


def _prepare_run(run: Path) -> None:
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise CloudError(Code.ALREADY_EXISTS, f"expected a new or empty folder for the run, came {run}")
    run.mkdir(parents=True, exist_ok=True)


def _opening(
    name: str, kind: Kind, dataset: Dataset, findings: Sequence[Finding], options: TrainingOptions
) -> dict[str, Any]:
    return {
        "method": str(name),
        "kind": kind.value,
        "data": {
            "sha256": dataset.digest(),
            "classes": list(dataset.classes),
            "pictures": {split.value: len(dataset.of(split)) for split in Split},
        },
        "options": options._asdict(),
        "seed": options.seed,
        "code_version": code_version(),
        "gate": {
            "findings": [{"check": f.check, "level": f.level.value, "message": f.message} for f in findings],
            "override": options.override or None,
        },
    }


def _close(run: Path, report: dict[str, Any], started: float, metrics: dict[str, Any], message: str) -> Trained:
    seconds = round(time.monotonic() - started, 2)
    report |= {"ok": not message, "message": message, "metrics": metrics, "seconds": seconds}
    write_report(run, report)
    return Trained(not message, message, metrics, seconds, report)


def _shortfall(method: Method, metrics: dict[str, Any], options: TrainingOptions) -> str:
    name, least = method.least
    # A line that has only good parts so far cannot measure it; the hygiene gate has warned.
    if metrics[name] is None or metrics[name] >= least or options.override:
        return ""
    return f"the quality gate stops this model: expected {name} of at least {least}, came {metrics[name]:.3f}"


def _learn(
    method: Method, dataset: Dataset, run: Path, options: TrainingOptions, report: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Fit, export, prove and judge; everything that needs torch lies behind this."""
    from cloud_tools.evaluation.device import DeviceModel
    from cloud_tools.training.bank import leave_bank
    from cloud_tools.training.fit import fit
    from cloud_tools.training.judge import figures

    rule = _rule(dataset, options)
    fitted = fit(method, dataset, rule, run / MODEL, options, progress)
    answers, decision = fitted.answers, fitted.decision
    judged = answers.of(Split.TEST if dataset.of(Split.TEST) else Split.VALIDATION)
    metrics = figures(judged, decision, rule)
    scores = answers.scores(decision)
    predictions = predictions_of(answers.loaded.samples, scores, decision.threshold)
    device = DeviceModel(run / MODEL)
    on_device = device.scores(answers.loaded.images, decision)
    parity = _prove_parity(predictions, on_device, decision.threshold)
    metrics |= {"latency_ms": device.latency_ms(judged.loaded.images)["p50"], "size_bytes": device.size_bytes}
    report |= {"parity": parity, "decision": decision.model_dump(mode="json"), "thresholds": fitted.rule}
    if fitted.control is not None:
        metrics["random_control_auroc"] = fitted.control.image_auroc
        report["random_control"] = _told(fitted.control, progress)
    write_predictions(run / PREDICTIONS, predictions)
    _write_golden(run / GOLDEN, dataset, predictions)
    leave_bank(run, device, answers.loaded, progress)
    _write_parts(run, method.kind, dataset, rule, decision, metrics, report)
    return metrics


def _told(control: "Control", progress: Progress) -> dict[str, Any]:
    """Return the control for the report, and warn where it is as good as the model."""
    if control.proves_nothing:
        area = f"{control.image_auroc:.3f}"
        progress(f"control: a trunk with random weights is as good (AUROC {area}): this data set proves nothing")
    return control._asdict()


def _rule(dataset: Dataset, options: TrainingOptions) -> Preprocess:
    """Return a square input: small pictures are enlarged, since the trunk halves them five times."""
    side = options.size
    if not side:
        sides = [max(vision.size_of(sample.content())) for sample in dataset.samples[:50]]
        side = _SIZES[0] if np.median(sides) <= _SIZES[0] else _SIZES[1]
    return Preprocess(width=side, height=side)


def _prove_parity(predictions: Sequence[Prediction], on_device: Sequence[float], threshold: float) -> dict[str, Any]:
    from cloud_tools.evaluation.device import largest_difference

    largest = largest_difference([p.score for p in predictions], on_device)
    turned = [
        p.file
        for p, score in zip(predictions, on_device, strict=True)
        if (p.verdict is Verdict.NG) != (score >= threshold)
    ]
    if largest > PARITY or turned:
        came = f"{largest:.2e} and {len(turned)} other verdicts"
        raise CloudError(Code.INTERNAL, f"the graph must say what the network says within {PARITY}, came {came}")
    return {"max_difference": largest, "pictures": len(predictions), "tolerance": PARITY}


def _write_golden(folder: Path, dataset: Dataset, predictions: Sequence[Prediction]) -> None:
    """Keep a few pictures of each verdict, judged right, and neither the easiest nor the hardest."""
    folder.mkdir()
    samples = {sample.file: sample for sample in dataset.samples}
    held_out = [p for p in predictions if p.split != Split.TRAIN.value] or list(predictions)
    index = 0
    for verdict in (Verdict.OK, Verdict.NG):
        fits = [p for p in held_out if p.verdict is verdict]
        right = [p for p in fits if samples[p.file].anomalous == (verdict is Verdict.NG)] or fits
        right.sort(key=lambda p: (p.score, p.file))
        for position in np.linspace(0.25, 0.75, min(_GOLDEN_PER_VERDICT, len(right))):
            chosen = samples[right[int(position * (len(right) - 1))].file]
            (folder / f"{index}.png").write_bytes(vision.encode_png(chosen.picture()))
            index += 1


def _write_parts(
    run: Path, kind: Kind, dataset: Dataset, rule: Preprocess, decision: Any, metrics: dict[str, Any], report: Any
) -> None:
    classes = kind is Kind.CLASSIFICATION
    parts = ManifestParts(
        kind=kind,
        labels=dataset.classes if classes else (),
        normal_labels=dataset.normal_classes if classes else (),
        preprocess=rule,
        decision=decision,
        evaluation={**metrics, "parity_max_difference": report["parity"]["max_difference"]},
        provenance={
            "data_sha256": report["data"]["sha256"],
            "method": report["method"],
            "seed": report["seed"],
            "code_version": report["code_version"],
            "depth": report["options"]["depth"],
            "gate_override": report["gate"]["override"],
        },
    )
    (run / FILE).write_bytes(parts.to_json())
