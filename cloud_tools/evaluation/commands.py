"""``edge-cloud evaluate``."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_tools import output
from cloud_tools.datasets.flags import Only, PartRegex
from cloud_tools.errors import CloudError, Exit
from cloud_tools.output import JsonFlag
from cloud_tools.training import flags
from cloud_tools.training.methods import METHODS
from cloud_tools.training.options import TrainingOptions
from edge_agent.errors import Code

if TYPE_CHECKING:
    from cloud_tools.evaluation.report import Evaluation

SEEDS = 3


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate")(evaluate)


def evaluate(
    *,
    data: Annotated[Path, typer.Option(help="a data set, or a folder of several")],
    methods: Annotated[str, typer.Option(help=f"with commas between them, of {', '.join(METHODS)}")] = "",
    bundle: Annotated[Path | None, typer.Option(help="judge this bundle instead of training")] = None,
    seeds: Annotated[int, typer.Option(help="how many trainings of each method: seeds 0, 1, …", min=1)] = SEEDS,
    out: Annotated[
        Path | None, typer.Option(help="new or empty folder for the report, the explorer and the runs; without: none")
    ] = None,
    part_regex: PartRegex = "",
    only: Only = "",
    depth: Annotated[int, typer.Option(help="last block of the trunk that is kept, as in train")] = 10,
    size: flags.Size = 0,
    epochs: flags.Epochs = 0,
    threads: flags.Threads = 0,
    device: flags.Where = "auto",
    width: flags.Width = 0.0,
    scope: flags.Scored = None,
    tune: flags.Tuned = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare methods, or judge a bundle, on data sets: a table, a report and an explorer of every picture."""
    named = tuple(dict.fromkeys(name.strip() for name in methods.split(",") if name.strip()))
    if bool(named) == (bundle is not None):
        came = "both" if named else "neither"
        raise CloudError(Code.INVALID_ARGUMENT, f"expected --methods or --bundle, came {came}")
    options = TrainingOptions(
        depth=depth,
        part_regex=part_regex,
        only=only,
        size=size,
        epochs=epochs,
        threads=threads,
        device=device,
        width=width,
        scope=scope or "",
        tune=tune or "",
    )
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        evaluation = _conduct(named, bundle, data, seeds, options, out or Path(scratch) / "report")
    answer = evaluation.answer()
    _print(answer, out, as_json=as_json)
    if answer["failed"]:
        raise typer.Exit(Exit.PARTLY_FAILED if answer["methods"] else Exit.FAILED)


def _conduct(
    methods: tuple[str, ...], bundle: Path | None, data: Path, seeds: int, options: TrainingOptions, out: Path
) -> "Evaluation":
    from cloud_tools.evaluation.assembly import evaluate_bundle, evaluate_methods
    from cloud_tools.evaluation.study import Plan

    if bundle is not None:
        return evaluate_bundle(bundle, data, options, out, output.note)
    return evaluate_methods(Plan(methods, data, seeds, options), out, output.note)


def _print(answer: dict[str, list[dict[str, object]]], out: Path | None, *, as_json: bool) -> None:
    from cloud_tools.evaluation.report.figures import cells, shown_columns

    if as_json:
        output.emit(answer, as_json=True)
        return
    rows = answer["methods"]
    columns = shown_columns(rows)
    titles = [column.title for column in columns]
    shown = []
    for row in rows:
        texts = (f"{cell.text} {cell.spread}".strip() for cell in cells(row, columns, []))
        shown.append({"method": row["method"], "category": row["category"], **dict(zip(titles, texts, strict=True))})
    output.table(shown, ("method", "category", *titles), as_json=False, nothing="no figures")
    if out is not None:
        output.note(str(out / "report.html"))
