"""One training from end to end: read, gate, learn, export, prove, judge, write down."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cloud_tools.datasets import Dataset, Finding, Level, Split, inspect_dataset, read
from cloud_tools.datasets.hygiene import UNREADABLE
from cloud_tools.datasets.mask_check import MASKS
from cloud_tools.errors import CloudError
from cloud_tools.packaging import golden
from cloud_tools.packaging.parts import FILE, GOLDEN, MODEL, ManifestParts
from cloud_tools.training.methods import Method, method_of
from cloud_tools.training.options import TrainingOptions, check, effective
from cloud_tools.training.progress import Progress
from cloud_tools.training.report import (
    PREDICTIONS,
    Prediction,
    code_version,
    predictions_of,
    write_predictions,
    write_report,
)
from cloud_tools.training.runfolder import begin, end
from cloud_tools.training.sizing import sized
from edge_agent.errors import Code
from edge_agent.formats import Kind, Preprocess, Verdict

if TYPE_CHECKING:
    from cloud_tools.training.fit import Control

__all__ = ["PARITY", "Trained", "TrainingOptions", "train"]

PARITY = 1e-4
"""The calibrated score of the graph may differ from the training side's by this much."""


class Trained(NamedTuple):
    """What came of it."""

    ok: bool
    message: str
    """Why it is not ok."""
    metrics: dict[str, Any]
    seconds: float
    report: dict[str, Any]


def train(
    name: str, data: Path, run: Path, options: TrainingOptions, progress: Progress, *, resume: bool = False
) -> Trained:
    """Train on ``data`` and leave model, report, predictions, parts and golden pictures in ``run``.

    A gate that stops it, before (hygiene) or after (quality), is no exception: the report is
    written all the same and says why.

    Args:
        name: of the method, as in the table (``methods``).
        data: the data set's root, in the layout of the method's kind.
        run: new or empty folder; ``run.yaml`` in it says how to do the same again.
        options: what the training is told.
        progress: is told each step.
        resume: go on with the interrupted training in ``run``, if there is one.

    Raises:
        CloudError: no such method, wrong options or layout; the exported graph says something else than the network.
    """
    started = time.monotonic()
    method = method_of(name)
    check(method.name, method, options)
    dataset = read(data, method.kind, seed=options.seed, part_regex=options.part_regex, only=options.only)
    options = sized(method, dataset, effective(method, options))
    kept = begin(run, method.name, data, options, dataset.digest(), resume=resume)
    findings = inspect_dataset(dataset)
    for finding in findings:
        progress(f"gate, {finding.level.value}: {finding.check}: {finding.message}")
    report = _opening(method, dataset, findings, options)
    blocked = [f"{f.check}: {f.message}" for f in findings if f.level is Level.BLOCK]
    if blocked and not options.override:
        message = f"the hygiene gate stops this data set: {'; '.join(blocked)}"
        return _close(run, report, started, {}, message)
    readable = _readable(dataset, findings)
    lacking = _lacking(readable)
    if lacking:
        return _close(run, report, started, {}, lacking)
    metrics = _learn(method, readable, run, kept, options, report, progress)
    return _close(run, report, started, metrics, _shortfall(method, metrics, options))


def _readable(dataset: Dataset, findings: Sequence[Finding]) -> Dataset:
    """Leave out what the gate could not read: whoever overrides it cannot learn from that either."""
    if not any(finding.check in (UNREADABLE, MASKS) for finding in findings):
        return dataset
    return dataset._replace(samples=tuple(sample for sample in dataset.samples if sample.is_readable()))


def _lacking(dataset: Dataset) -> str:
    """Return what nobody can learn or decide without, gate or not; empty: all is there."""
    good = "good " if dataset.good_only else ""
    for split, purpose in ((Split.TRAIN, "learn from"), (Split.VALIDATION, "set thresholds by")):
        if all(sample.anomalous and dataset.good_only for sample in dataset.of(split)):
            return f"expected at least one {good}picture to {purpose} ({split.value}), there is none"
    return ""


def _opening(method: Method, dataset: Dataset, findings: Sequence[Finding], options: TrainingOptions) -> dict[str, Any]:
    return {
        "method": method.name,
        "kind": method.kind.value,
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
    end(run)
    return Trained(not message, message, metrics, seconds, report)


def _shortfall(method: Method, metrics: dict[str, Any], options: TrainingOptions) -> str:
    name, least = method.least
    # A line that has only good parts so far, or defects that nobody drew, cannot measure it; the hygiene gate told.
    if metrics.get(name) is None or metrics[name] >= least or options.override:
        return ""
    return f"the quality gate stops this model: expected {name} of at least {least}, came {metrics[name]:.3f}"


def _learn(
    method: Method,
    dataset: Dataset,
    run: Path,
    kept: Path,
    options: TrainingOptions,
    report: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Fit, export, prove and judge; everything that needs torch lies behind this."""
    from cloud_tools.evaluation.device import DeviceModel
    from cloud_tools.training.bank import leave_bank
    from cloud_tools.training.fit import fit
    from cloud_tools.training.judge import figures

    rule = Preprocess(width=options.size, height=options.size)
    fitted = fit(method, dataset, rule, run / MODEL, kept, options, progress)
    answers, decision = fitted.answers, fitted.decision
    judged = answers.of(Split.TEST if dataset.of(Split.TEST) else Split.VALIDATION)
    metrics = figures(judged, decision, rule)
    scores = answers.scores(decision)
    predictions = predictions_of(answers.loaded.samples, scores, decision.threshold)
    device = DeviceModel(run / MODEL)
    on_device = device.scores(answers.loaded.images, decision)
    parity = _prove_parity(predictions, on_device, decision.threshold)
    metrics["fit_s"] = fitted.seconds
    metrics |= {"latency_ms": device.latency_ms(judged.loaded.images)["p50"], "size_bytes": device.size_bytes}
    report |= {"parity": parity, "decision": decision.model_dump(mode="json"), "thresholds": fitted.rule}
    if fitted.control is not None:
        metrics["random_control_auroc"] = fitted.control.image_auroc
        report["random_control"] = _told(fitted.control, progress)
    write_predictions(run / PREDICTIONS, predictions)
    _write_golden(run / GOLDEN, dataset, predictions, decision.threshold)
    leave_bank(run, device, answers.loaded, progress)
    _write_parts(run, method, dataset, rule, decision, metrics, report)
    return metrics


def _told(control: "Control", progress: Progress) -> dict[str, Any]:
    """Return the control for the report, and warn of data that proves nothing or does not suit the method."""
    if control.note:
        progress(f"control: {control.note}")
    return control._asdict()


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


def _write_golden(folder: Path, dataset: Dataset, predictions: Sequence[Prediction], threshold: float) -> None:
    samples = {sample.file: sample for sample in dataset.samples}
    held_out = [p for p in predictions if p.split != Split.TRAIN.value] or list(predictions)
    right = ((p, samples[p.file].anomalous == (p.verdict is Verdict.NG)) for p in held_out)
    candidates = [golden.Candidate(p.file, p.score, is_right) for p, is_right in right]
    golden.write(folder, golden.choose(candidates, threshold), lambda file: samples[file].picture())


def _write_parts(
    run: Path, method: Method, dataset: Dataset, rule: Preprocess, decision: Any, metrics: dict[str, Any], report: Any
) -> None:
    classes = method.kind is Kind.CLASSIFICATION
    parts = ManifestParts(
        kind=method.kind,
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
            "size": rule.width,
            **{name: report["options"][name] for name in ("depth", "epochs", *method.takes)},
            "gate_override": report["gate"]["override"],
        },
    )
    (run / FILE).write_bytes(parts.to_json())
