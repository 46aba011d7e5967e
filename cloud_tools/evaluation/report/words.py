"""What the figures mean, in sentences that somebody who runs a line can act on. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from math import sqrt
from typing import Any, NamedTuple

from cloud_tools.datasets import Level
from cloud_tools.evaluation.table import Key, Trial, grouped, mean_of
from edge_agent.formats import Kind

AS_GOOD = 0.02
"""A control this close to the model, or better, says that the data set proves nothing."""
_LEAST_ABOVE_CHANCE = 0.6
_WIDE = 0.03
_SIGMAS = 2.0


class Weight(str, Enum):
    """How much a remark matters."""

    STOP = "stop"
    WARN = "warn"
    NOTE = "note"


class Remark(NamedTuple):
    """One sentence about an evaluation."""

    weight: Weight
    category: str
    """Empty: of all."""
    text: str


def remarks(trials: Sequence[Trial], table: Sequence[dict[str, Any]]) -> tuple[Remark, ...]:
    """Return what a reader must know before the figures, the gravest first."""
    found = [*_failed(trials), *_gate(trials), *_chance_and_control(trials, table), *_precision(trials), *_best(table)]
    order = list(Weight)
    return tuple(sorted(dict.fromkeys(found), key=lambda remark: order.index(remark.weight)))


def near_chance(area: float) -> bool:
    """Tell whether an AUROC is of no use, however sure it is."""
    return area < _LEAST_ABOVE_CHANCE


def unsure(area: float, good: int, anomalous: int) -> bool:
    """Tell whether an AUROC on so many pictures may as well be a coin's.

    Within two standard deviations of 0.5, as the Mann-Whitney statistic of indistinguishable classes spreads.
    """
    if not good or not anomalous:
        return False
    return area < 0.5 + _SIGMAS * sqrt((good + anomalous + 1) / (12 * good * anomalous))


def half_width(area: float, good: int, anomalous: int) -> float:
    """Return how far an AUROC may be off by the luck of so many pictures (95 %; Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    variance = area * (1 - area) + (anomalous - 1) * (q1 - area * area) + (good - 1) * (q2 - area * area)
    return 1.96 * sqrt(max(0.0, variance) / (good * anomalous))


def _failed(trials: Iterable[Trial]) -> Iterator[Remark]:
    for trial in trials:
        if trial.message:
            text = f"{trial.method} with seed {trial.seed} has no figures: {trial.message}"
            yield Remark(Weight.STOP, trial.category, text)


def _gate(trials: Iterable[Trial]) -> Iterator[Remark]:
    for trial in trials:
        for finding in trial.gate.get("findings", ()):
            if finding["level"] == Level.BLOCK.value:
                text = f"The hygiene gate would stop a training: {finding['check']}: {finding['message']}"
                yield Remark(Weight.STOP, trial.category, text)


def _chance_and_control(trials: Sequence[Trial], table: Sequence[dict[str, Any]]) -> Iterator[Remark]:
    counts = {key: _counts(own) for key, own in grouped(trials).items()}
    unsupervised = {key for key, own in grouped(trials).items() if own[0].kind == Kind.ANOMALY.value}
    own_rows = [row for row in table if (row["method"], row["category"]) in unsupervised]
    for category in dict.fromkeys(row["category"] for row in own_rows):
        rows = [row for row in own_rows if row["category"] == category and row["image_auroc"] is not None]
        lost = [r for r in rows if near_chance(r["image_auroc"])]
        if rows and len(lost) == len(rows):
            text = f"Unsupervised methods are near chance here ({_listed(lost)}): the data does not suit them."
            yield Remark(Weight.STOP, category, text)
        elif lost:
            yield Remark(Weight.WARN, category, f"Near chance: {_listed(lost)}.")
        doubtful = [r for r in rows if r not in lost and unsure(r["image_auroc"], *counts[Key(r["method"], category)])]
        if doubtful:
            text = f"So few pictures cannot tell these from chance: {_listed(doubtful)}."
            yield Remark(Weight.WARN, category, text)
        as_good = [r for r in rows if r not in lost and _control_is_as_good(r)]
        if as_good:
            text = f"An untrained trunk scores as well: this data set proves nothing ({_beside_control(as_good)})."
            yield Remark(Weight.STOP if len(as_good) == len(rows) else Weight.WARN, category, text)


def _control_is_as_good(row: dict[str, Any]) -> bool:
    control = row["random_control_auroc"]
    return control is not None and bool(control >= row["image_auroc"] - AS_GOOD)


def _counts(trials: Sequence[Trial]) -> tuple[int, int]:
    answers = next((trial.answers for trial in trials if trial.answers), ())
    anomalous = sum(answer.sample.anomalous for answer in answers)
    return len(answers) - anomalous, anomalous


def _precision(trials: Sequence[Trial]) -> Iterator[Remark]:
    """Say what the number of test pictures allows to be said, once a category."""
    said: set[str] = set()
    for (_, category), own in grouped(trials).items():
        text = _doubt(*_counts(own), mean_of(trial.figures.get("image_auroc") for trial in own))
        if text and category not in said:
            said.add(category)
            yield Remark(Weight.WARN if text.startswith("All") else Weight.NOTE, category, text)


def _doubt(good: int, anomalous: int, area: float | None) -> str:
    if good + anomalous and (not good or not anomalous):
        word = "good" if good else "defective"
        return f"All {good + anomalous} pictures that judge are {word}: nothing shows that they are told apart."
    # At 1 the formula knows no doubt, however few pictures there are.
    width = half_width(min(area, 0.99), good, anomalous) if area is not None and good and anomalous else 0.0
    if width <= _WIDE:
        return ""
    return f"{good} good and {anomalous} defective pictures judge: an AUROC is known to about ±{width:.2f}."


def _best(table: Sequence[dict[str, Any]]) -> Iterator[Remark]:
    for category in dict.fromkeys(row["category"] for row in table):
        rows = [r for r in table if r["category"] == category and r["image_auroc"] is not None]
        if len(rows) > 1:
            best = max(rows, key=lambda r: float(r["image_auroc"]))
            close = [r for r in rows if r is not best and r["image_auroc"] >= best["image_auroc"] - AS_GOOD]
            also = f", and as good within {AS_GOOD}: {_listed(close)}" if close else ""
            yield Remark(Weight.NOTE, category, f"Highest image AUROC: {_listed([best])}{also}.")


def _listed(rows: Iterable[dict[str, Any]]) -> str:
    return ", ".join(f"{row['method']} {row['image_auroc']:.3f}" for row in rows)


def _beside_control(rows: Iterable[dict[str, Any]]) -> str:
    shown = (f"{r['method']} {r['image_auroc']:.3f}, untrained {r['random_control_auroc']:.3f}" for r in rows)
    return "; ".join(shown)
