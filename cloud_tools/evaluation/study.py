"""Methods times categories times seeds: each is trained, packaged and judged by the device's own path."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from cloud_tools.datasets import Dataset, Sample, Split
from cloud_tools.evaluation.data import Category, categories_for, read
from cloud_tools.evaluation.judging import Judge, Judgement, Witness
from cloud_tools.evaluation.memory import peak_memory_bytes
from cloud_tools.evaluation.table import Trial
from cloud_tools.packaging.bundle import package_run
from cloud_tools.packaging.parts import MODEL
from cloud_tools.training.methods import method_of
from cloud_tools.training.progress import Progress
from cloud_tools.training.run import Trained, TrainingOptions, train
from edge_agent.errors import AgentError
from edge_agent.formats import AnomalyMap
from edge_agent.vision import RGB

REASON = "an evaluation reports what the gates find and stops at nothing"

WitnessOf: TypeAlias = Callable[[str, str], Witness]
"""Returns the witness of one method on one category."""


class Plan(NamedTuple):
    """What is evaluated."""

    methods: tuple[str, ...]
    data: Path
    """A data set, or a folder of several."""
    seeds: int
    options: TrainingOptions


def conduct(plan: Plan, runs: Path, witness: WitnessOf, progress: Progress) -> tuple[Trial, ...]:
    """Return a trial for each method, category and seed; one that fails says why and stops no other.

    Args:
        plan: what is evaluated.
        runs: a new folder; keeps the first seed's runs.
        witness: is shown every picture of the first seed.
        progress: is told each step.

    Raises:
        CloudError: no such method, or nothing to learn from in the root.
    """
    steps = list(_steps(plan))
    trials = []
    for index, (method, category, seed) in enumerate(steps):
        progress(f"[{index + 1}/{len(steps)}] {method} on {category.name}, seed {seed}")
        told = progress if seed == 0 else _silent
        with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
            run = runs / f"{category.name}-{method}" if seed == 0 else Path(scratch) / "run"
            shown = witness(method, category.name) if seed == 0 else unwatched
            options = _options_for(method, plan.options)._replace(seed=seed, override=REASON)
            trials.append(_attempt(method, category, run, options, shown, told))
        if trials[-1].message:
            progress(f"  no figures: {trials[-1].message}")
    return tuple(trials)


def unwatched(sample: Sample, picture: RGB, anomalies: AnomalyMap | None) -> None:
    """Show a picture to nobody."""


def _silent(line: str) -> None:
    """Tell nobody: what the first seed said of the data, the others would say again."""


def _steps(plan: Plan) -> Iterator[tuple[str, Category, int]]:
    for method in plan.methods:
        method_of(method)  # a typing error is told before an hour of training
    for method in plan.methods:
        for category in categories_for(plan.data, method_of(method).kind):
            for seed in range(plan.seeds):
                yield method, category, seed


def _options_for(method: str, options: TrainingOptions) -> TrainingOptions:
    """Return the options without those that are other methods' own."""
    row, plain = method_of(method), TrainingOptions()
    for name in ("width", "scope", "tune"):
        if name not in row.takes:
            options = options._replace(**{name: getattr(plain, name)})
    return options if row.on_gpu else options._replace(device=plain.device)


def _attempt(
    method: str, category: Category, run: Path, options: TrainingOptions, witness: Witness, progress: Progress
) -> Trial:
    opening = Trial(method, category.name, options.seed, method_of(method).kind.value)
    try:
        trained = train(method, category.root, run, options, lambda line: progress(f"  {line}"))
        if not trained.ok:
            return opening._replace(message=trained.message, gate=trained.report["gate"])
        judgement = _judge(read(category.root, method_of(method).kind, options), run, witness, every=options.seed == 0)
    except AgentError as exc:
        return opening._replace(message=exc.message)
    return _filled(opening, trained, judgement, run, progress)


def _judge(dataset: Dataset, run: Path, witness: Witness, *, every: bool) -> Judgement:
    """Package the run as it would be published, and judge it; of all pictures only where somebody looks."""
    samples = dataset.samples if every else dataset.of(Split.TEST) or dataset.of(Split.VALIDATION)
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        bundle = package_run(run, "evaluated", "1", Path(scratch) / "bundle")
        return Judge(run / MODEL, bundle.manifest).judge(samples, witness)


def _filled(opening: Trial, trained: Trained, judgement: Judgement, run: Path, progress: Progress) -> Trial:
    first = opening.seed == 0
    figures: dict[str, Any] = {
        **judgement.figures,
        "fit_s": trained.metrics["fit_s"],
        "random_control_auroc": trained.metrics.get("random_control_auroc"),
        "memory_bytes": peak_memory_bytes(run / MODEL, progress) if first else None,
    }
    return opening._replace(
        figures=figures,
        decision=trained.report["decision"],
        rule=trained.report["thresholds"],
        gate=trained.report["gate"],
        judgement=judgement if first else None,
    )
