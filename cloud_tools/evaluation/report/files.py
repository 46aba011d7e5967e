"""Writes an evaluation's files."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.evaluation.gallery import Gallery
from cloud_tools.evaluation.report.figures import cells, shown_columns
from cloud_tools.evaluation.report.markdown import markdown
from cloud_tools.evaluation.report.page import render
from cloud_tools.evaluation.report.view import explorer_data, sections, styles
from cloud_tools.evaluation.report.words import remarks
from cloud_tools.evaluation.table import Trial, failures, means, rows

JSON, MARKDOWN, PAGE, EXPLORER = "report.json", "report.md", "report.html", "explorer.html"
PREDICTIONS = "predictions.csv"
_COLUMNS = ("category", "file", "method", "score", "label", "verdict", "split", "latency_ms")


class Evaluation(NamedTuple):
    """What was measured, and of what."""

    title: str
    about: dict[str, str]
    """Data, seeds, machine, version, in words."""
    trials: tuple[Trial, ...]

    def answer(self) -> dict[str, Any]:
        """Return what the command prints: rows, means over categories, and what failed."""
        table = rows(self.trials)
        return {"methods": table, "mean": means(table), "failed": failures(self.trials)}


def write(evaluation: Evaluation, gallery: Gallery, out: Path) -> None:
    """Write JSON, Markdown, both pages and the predictions into ``out``, beside the gallery's pictures."""
    trials, answer = evaluation.trials, evaluation.answer()
    table, average = answer["methods"], answer["mean"]
    said = remarks(trials, table)
    document = {
        "about": evaluation.about,
        "remarks": [{**r._asdict(), "weight": r.weight.value} for r in said],
        **answer,
        "trials": [_told(trial) for trial in trials],
    }
    (out / JSON).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (out / MARKDOWN).write_text(markdown(evaluation.title, table, average, said), encoding="utf-8")
    _write_predictions(out / PREDICTIONS, trials)
    columns = shown_columns(table)
    averages = [{"method": name, **values} for name, values in average.items()]
    values = {
        "title": evaluation.title,
        "about": evaluation.about,
        "remarks": said,
        "columns": columns,
        "styles": styles(trials),
        "sections": sections(trials, table, gallery),
        "averages": [(row["method"], row["categories"], cells(row, columns, averages)) for row in averages],
        "explorer": EXPLORER,
    }
    (out / PAGE).write_text(render("report.html", "", **values), encoding="utf-8")
    data = explorer_data(trials, gallery)
    page = render("explorer.html", "explorer.js", title=evaluation.title, report=PAGE, data=data)
    (out / EXPLORER).write_text(page, encoding="utf-8")


def _told(trial: Trial) -> dict[str, Any]:
    wanted = ("method", "category", "seed", "kind", "message", "figures", "decision", "rule", "gate")
    told = {name: getattr(trial, name) for name in wanted} | {"differences": list(trial.differences)}
    if trial.judgement:
        told |= {"judged_split": trial.judgement.split.value, "unreadable": list(trial.judgement.unreadable)}
    return told


def _write_predictions(path: Path, trials: Sequence[Trial]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(_predictions(trials))


def _predictions(trials: Sequence[Trial]) -> Iterator[tuple[str, ...]]:
    for trial in trials:
        for answer in trial.judgement.answers if trial.judgement else ():
            sample = answer.sample
            told = (trial.category, sample.file, trial.method, repr(answer.score), sample.label)
            yield (*told, answer.verdict.value, sample.split.value, str(answer.latency_ms))
