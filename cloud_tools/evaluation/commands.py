"""``edge-cloud evaluate``."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_tools import output
from cloud_tools.errors import CloudError, Exit
from cloud_tools.output import JsonFlag
from cloud_tools.training.methods import METHODS
from cloud_tools.training.options import Device, Scope, TrainingOptions, Tune
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
    part_regex: Annotated[str, typer.Option(help="its first group in a file name is the part's id")] = "",
    only: Annotated[str, typer.Option(help="use files whose names match this expression at their beginning")] = "",
    depth: Annotated[int, typer.Option(help="last block of the trunk that is kept, as in train")] = 10,
    size: Annotated[int, typer.Option(help="side of the model's input in pixels; 0: chosen from the pictures")] = 0,
    epochs: Annotated[int, typer.Option(help="of learning at most; 0: the method's own number")] = 0,
    threads: Annotated[int, typer.Option(help="of torch; 0: all cores")] = 0,
    device: Annotated[
        Device, typer.Option(help="where to learn; auto: a GPU if there is one and it is of use")
    ] = "auto",
    width: Annotated[float, typer.Option(help="efficientad: 0.25 or 1; 0: a quarter on the CPU, full on a GPU")] = 0.0,
    scope: Annotated[Scope | None, typer.Option(help="dfm: what is scored; both if not given")] = None,
    tune: Annotated[Tune | None, typer.Option(help="dfm: how the trunk learns the product first")] = None,
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
