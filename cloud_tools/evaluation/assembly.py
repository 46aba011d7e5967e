"""From a plan or a bundle to an evaluation with its files."""

import os
import platform
import time
from pathlib import Path
from typing import Any

import edge_agent
from cloud_tools.datasets import inspect_dataset
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.data import Category, categories_for, read
from cloud_tools.evaluation.gallery import Gallery
from cloud_tools.evaluation.judging import Judge
from cloud_tools.evaluation.memory import peak_memory_bytes
from cloud_tools.evaluation.report import Evaluation, write
from cloud_tools.evaluation.study import Plan, WitnessOf, conduct
from cloud_tools.evaluation.table import Trial
from cloud_tools.release.publish import Bundle, read_bundle
from cloud_tools.training.progress import Progress
from cloud_tools.training.run import TrainingOptions
from edge_agent.errors import AgentError, Code

RUNS = "runs"
_COMPARED = {
    "image_auroc": 1e-3,
    "image_ap": 1e-3,
    "f1": 1e-3,
    "accuracy": 1e-3,
    "iou": 1e-3,
    "dice": 1e-3,
    # A training looks at a sample of the pixels, an evaluation at all of them.
    "pixel_auroc": 5e-3,
    "pixel_ap": 1e-2,
    "size_bytes": 0.0,
}
"""Figures of a manifest that another measurement must give again, and within what."""


def evaluate_methods(plan: Plan, out: Path, progress: Progress) -> Evaluation:
    """Train and judge every method of the plan; leave report, explorer and the first seed's runs in ``out``.

    Raises:
        CloudError: ``out`` is not empty, no such method, no data set.
    """
    gallery = _open(out)
    trials = conduct(plan, out / RUNS, gallery.witness, progress)
    seeds = f"0 to {plan.seeds - 1}" if plan.seeds > 1 else "0"
    return _finish(f"Evaluation of {plan.data.resolve().name}", {"Seeds": seeds}, trials, gallery, out)


def evaluate_bundle(directory: Path, data: Path, options: TrainingOptions, out: Path, progress: Progress) -> Evaluation:
    """Judge a bundle as a device would, with its manifest's threshold, and compare its own figures.

    Raises:
        CloudError: it is no bundle, or was changed; ``out`` is not empty; no data set for its kind.
    """
    bundle = read_bundle(directory)
    seed = bundle.manifest.provenance.get("seed")
    # The split that is drawn where none is given must be the training's: else it is asked what it has learnt.
    options = options._replace(seed=seed if isinstance(seed, int) else 0)
    found = categories_for(data, bundle.manifest.kind)
    gallery = _open(out)
    trials = tuple(_judged(bundle, category, options, gallery.witness, progress) for category in found)
    name = f"{bundle.manifest.model} {bundle.manifest.version}"
    return _finish(f"{name} on {data.resolve().name}", {"Bundle": name}, trials, gallery, out)


def _judged(
    bundle: Bundle, category: Category, options: TrainingOptions, witness: WitnessOf, progress: Progress
) -> Trial:
    manifest = bundle.manifest
    name = f"{manifest.model}-{manifest.version}"
    progress(f"{name} on {category.name}")
    opening = Trial(name, category.name, options.seed, manifest.kind.value)
    graph = bundle.directory / manifest.model_artefact.path
    try:
        dataset = read(category.root, manifest.kind, options)
        findings = [f._asdict() | {"level": f.level.value} for f in inspect_dataset(dataset)]
        judgement = Judge(graph, manifest).judge(dataset.samples, witness(name, category.name))
    except AgentError as exc:
        return opening._replace(message=exc.message)
    learnt = manifest.provenance.get("data_sha256")
    same = learnt is not None and learnt == dataset.digest()
    return opening._replace(
        figures=judgement.figures | {"memory_bytes": peak_memory_bytes(graph, progress)},
        decision=manifest.decision.model_dump(mode="json"),
        rule=_SAME if same else _OTHER if learnt else _UNKNOWN,
        gate={"findings": findings, "override": manifest.provenance.get("gate_override")},
        judgement=judgement,
        differences=differences(manifest.evaluation, judgement.figures),
    )


_SAME = "the data and the split that it was trained with: the test pictures are new to it"
_OTHER = "other data, or another split, than it was trained with: its own figures are of other pictures"
_UNKNOWN = "the bundle does not say what it was trained with"


def differences(told: dict[str, Any], measured: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the figures that a manifest tells and that came out otherwise: figure, bundle, here."""
    found = []
    for figure, tolerance in _COMPARED.items():
        there, here = told.get(figure), measured.get(figure)
        if not isinstance(there, int | float) or (here is not None and abs(there - here) <= tolerance):
            continue
        found.append({"figure": figure, "bundle": _rounded(there), "here": _rounded(here)})
    return tuple(found)


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if isinstance(value, float) else value


def _open(out: Path) -> Gallery:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CloudError(Code.ALREADY_EXISTS, f"expected a new or empty folder for the report, came {out}")
    out.mkdir(parents=True, exist_ok=True)
    return Gallery(out)


def _finish(title: str, about: dict[str, str], trials: tuple[Trial, ...], gallery: Gallery, out: Path) -> Evaluation:
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    when = time.strftime("%Y-%m-%d %H:%M")
    about = {"When": when, **about, "Machine": machine, "Version": edge_agent.__version__}
    evaluation = Evaluation(title, about, trials)
    write(evaluation, gallery, out)
    return evaluation
