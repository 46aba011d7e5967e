"""An evaluation as what the templates need: texts, paths of drawings, files. Pure but for the gallery's pictures."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cloud_tools.evaluation.curves import precision_recall_curve, roc_curve, spread
from cloud_tools.evaluation.gallery import Gallery
from cloud_tools.evaluation.judging import Answer
from cloud_tools.evaluation.report.charts import SIDE, bars, line
from cloud_tools.evaluation.report.figures import Cell, Column, cells, shown_columns
from cloud_tools.evaluation.table import Trial, grouped

WORST = 6
"""Mistakes that are shown of each method and category."""


class Curve(NamedTuple):
    """One method's lines in a category's charts."""

    method: str
    style: int
    roc: str
    recall: str


class Mistake(NamedTuple):
    """A picture that was judged wrong, or came closest to it."""

    number: int
    file: str
    truth: str
    score: str
    picture: str
    heat: str
    """Data URIs; ``heat`` is empty where the method draws none."""


class Panel(NamedTuple):
    """One method on one category."""

    method: str
    style: int
    rule: str
    threshold: str
    pixel_threshold: str
    at: float
    """Of the threshold, 0..100."""
    range: str
    good: str
    anomalous: str
    """Histograms."""
    confusion: dict[str, int]
    wrong: int
    judged: int
    split: str
    mistakes: tuple[Mistake, ...]
    differences: tuple[dict[str, Any], ...]


class Section(NamedTuple):
    """One category."""

    name: str
    pictures: int
    judging: int
    """Of them, those that the figures are of."""
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    findings: tuple[dict[str, str], ...]
    override: str
    curves: tuple[Curve, ...]
    panels: tuple[Panel, ...]


def styles(trials: Iterable[Trial]) -> dict[str, int]:
    """Return which colour and dash each method has, the same in every chart."""
    return {method: index % 8 for index, method in enumerate(dict.fromkeys(trial.method for trial in trials))}


def sections(trials: Sequence[Trial], table: Sequence[dict[str, Any]], gallery: Gallery) -> tuple[Section, ...]:
    """Return one section for each category, in order."""
    columns, style = shown_columns(table), styles(trials)
    return tuple(
        _section(name, [t for t in trials if t.category == name], table, columns, style, gallery)
        for name in dict.fromkeys(trial.category for trial in trials)
    )


def _section(
    name: str,
    trials: Sequence[Trial],
    table: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    style: dict[str, int],
    gallery: Gallery,
) -> Section:
    rows = [row for row in table if row["category"] == name]
    first = [own[0] for own in grouped(trials).values() if own[0].judgement]
    findings = {(f["level"], f["check"], f["message"]): f for trial in trials for f in trial.gate.get("findings", ())}
    # Kinds of methods split what is left for learning in different ways; what judges is the same.
    seen = {a.sample.path for t in first if t.judgement for a in t.judgement.answers}
    judging = {a.sample.path for t in first for a in t.answers}
    return Section(
        name=name,
        pictures=len(seen),
        judging=len(judging),
        rows=tuple((row["method"], style[row["method"]], cells(row, columns, rows)) for row in rows),
        findings=tuple(findings.values()),
        override=next((t.gate["override"] for t in trials if t.gate.get("override")), ""),
        curves=tuple(_curve(trial, style[trial.method]) for trial in first),
        panels=tuple(_panel(trial, style[trial.method], gallery) for trial in first),
    )


def _curve(trial: Trial, style: int) -> Curve:
    truth, scores = [a.sample.anomalous for a in trial.answers], [a.score for a in trial.answers]
    roc, recall = roc_curve(truth, scores), precision_recall_curve(truth, scores)
    return Curve(trial.method, style, line(roc), line(recall))


def _panel(trial: Trial, style: int, gallery: Gallery) -> Panel:
    answers, decision = trial.answers, trial.decision
    counts = spread([a.sample.anomalous for a in answers], [a.score for a in answers])
    highest = max((*counts.good, *counts.anomalous), default=0)
    wrong = sum(answer.wrong for answer in answers)
    low, high = decision["threshold_range"]
    return Panel(
        method=trial.method,
        style=style,
        rule=trial.rule,
        threshold=f"{decision['threshold']:.3f}",
        pixel_threshold=f"{decision['pixel_threshold']:.2f}",
        at=decision["threshold"] * SIDE,
        range=f"{low:.2f} to {high:.2f}",
        good=bars(counts.good, highest, down=False),
        anomalous=bars(counts.anomalous, highest, down=True),
        confusion=trial.figures["confusion"],
        wrong=wrong,
        judged=len(answers),
        split=trial.judgement.split.value if trial.judgement else "",
        mistakes=tuple(_mistake(trial, answer, gallery) for answer in worst(answers, decision["threshold"])),
        differences=trial.differences,
    )


def worst(answers: Sequence[Answer], threshold: float) -> list[Answer]:
    """Return the wrong answers that are farthest from the threshold; without any, the right ones nearest to it."""
    wrong = [answer for answer in answers if answer.wrong]
    far = sorted(wrong, key=lambda answer: -abs(answer.score - threshold))[:WORST]
    return far or sorted(answers, key=lambda answer: abs(answer.score - threshold))[: WORST // 2]


def _mistake(trial: Trial, answer: Answer, gallery: Gallery) -> Mistake:
    shown = gallery.of(trial.category, answer.sample)
    plain, heat = gallery.blended(shown, trial.method)
    return Mistake(
        number=shown.number,
        file=answer.sample.file,
        truth=answer.sample.label,
        score=f"{answer.score:.3f}",
        picture=_data_uri(plain),
        heat=_data_uri(heat) if heat else "",
    )


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def explorer_data(trials: Sequence[Trial], gallery: Gallery) -> dict[str, Any]:
    """Return every picture with all models' answers, for the explorer's script.

    ``models`` names them; each picture's ``answers`` stand in that order: [score, 1 for NG, ms, split, heat
    map's file], or null where a model was not shown it. ``limits`` holds each model's threshold by category.
    """
    first = [trial for trial in trials if trial.judgement]
    models = list(dict.fromkeys(trial.method for trial in first))
    found: dict[int, list[Any]] = {}
    for trial in first:
        for answer in trial.judgement.answers if trial.judgement else ():
            shown = gallery.of(trial.category, answer.sample)
            told = [round(answer.score, 4), int(answer.verdict.value == "NG"), round(answer.latency_ms, 1)]
            heat = gallery.heat(shown, trial.method)
            own = found.setdefault(shown.number, [None] * len(models))
            own[models.index(trial.method)] = [*told, answer.sample.split.value, heat]
    limits: dict[str, list[Any]] = {}
    for trial in first:
        own = limits.setdefault(trial.category, [None] * len(models))
        own[models.index(trial.method)] = trial.decision["threshold"]
    pictures = [
        {
            "n": shown.number,
            "file": shown.sample.file,
            "category": shown.category,
            "label": shown.sample.label,
            "bad": shown.sample.anomalous,
            "thumb": shown.thumbnail,
            "truth": shown.truth,
            "answers": found[shown.number],
        }
        for shown in gallery.pictures
        if shown.number in found
    ]
    return {"models": models, "limits": limits, "pictures": pictures}
