"""Trials to one table: a row for each method and category, means over seeds with their spread. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cloud_tools.evaluation.judging import Answer, Judgement

FIGURES = (
    "image_auroc",
    "image_ap",
    "f1",
    "accuracy",
    "pixel_auroc",
    "pixel_ap",
    "aupro",
    "iou",
    "dice",
    "fit_s",
    "latency_ms",
    "latency_p99_ms",
    "size_bytes",
    "memory_bytes",
    "random_control_auroc",
)
"""Columns of the table, in its order; what cannot be had is None."""


class Trial(NamedTuple):
    """One method on one category with one seed."""

    method: str
    category: str
    seed: int
    kind: str
    message: str = ""
    """Why there are no figures; empty: there are."""
    figures: dict[str, Any] = {}  # noqa: RUF012 - never changed in place
    decision: dict[str, Any] = {}  # noqa: RUF012
    """As in the manifest: calibration, threshold and its range, pixel threshold."""
    rule: str = ""
    """How the thresholds were chosen, in words."""
    gate: dict[str, Any] = {}  # noqa: RUF012
    """What the hygiene gate found, and why it was overridden."""
    judgement: Judgement | None = None
    """Only of the first seed."""
    differences: tuple[dict[str, Any], ...] = ()
    """Of a bundle: where its own figures are others."""

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Return the answers that the figures are of; none where they are not kept."""
        return self.judgement.judged if self.judgement else ()


class Key(NamedTuple):
    """Names a row."""

    method: str
    category: str


def grouped(trials: Iterable[Trial]) -> dict[Key, list[Trial]]:
    """Return the trials by method and category, in the order in which they came."""
    found: dict[Key, list[Trial]] = {}
    for trial in trials:
        found.setdefault(Key(trial.method, trial.category), []).append(trial)
    return found


def rows(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Return a row for each method and category that has figures: means, ``spread`` and ``seeds``."""
    found = []
    for key, all_seeds in grouped(trials).items():
        had = [trial.figures for trial in all_seeds if not trial.message]
        if had:
            means = {name: _whole(name, mean_of(f.get(name) for f in had)) for name in FIGURES}
            spreads = {name: spread_of(f.get(name) for f in had) for name in FIGURES}
            found.append({**key._asdict(), **means, "seeds": len(had), "spread": spreads})
    return found


def means(table: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return for each method the mean over its categories that have a figure, and how many categories it has."""
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        by_method.setdefault(row["method"], []).append(row)
    return {
        method: {name: _whole(name, mean_of(row[name] for row in own)) for name in FIGURES} | {"categories": len(own)}
        for method, own in by_method.items()
    }


def failures(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Return what has no figures, and why."""
    wanted = ("method", "category", "seed", "message")
    return [{name: getattr(trial, name) for name in wanted} for trial in trials if trial.message]


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is there; None for nothing."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def spread_of(values: Iterable[float | None]) -> float | None:
    """Return the sample standard deviation of what is there; None of fewer than two."""
    there = [value for value in values if value is not None]
    return float(np.std(there, ddof=1)) if len(there) > 1 else None


def _whole(name: str, value: float | None) -> float | None:
    return round(value) if value is not None and name.endswith("_bytes") else value
