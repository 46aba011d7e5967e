"""``edge-cloud train``."""

from pathlib import Path
from typing import Annotated

import typer

from cloud_tools import output
from cloud_tools.output import JsonFlag
from cloud_tools.training.methods import METHODS


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train")(train)


def train(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(METHODS))],
    data: Annotated[
        Path,
        typer.Option(
            help="normal/ and anomalous/ (or classes), images/ and masks/, train/good and test/ … (docs/data.md)"
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the run; new or empty")],
    depth: Annotated[
        int, typer.Option(help="last block of the trunk that is kept: 4, 7, 10, 15 give 0.2 to 12 MB")
    ] = 10,
    seed: Annotated[int, typer.Option(help="of the split, the start, the order and the augmentation")] = 0,
    override_gate: Annotated[str, typer.Option(help="train all the same; the reason stands in the report")] = "",
    part_regex: Annotated[str, typer.Option(help="its first group in a file name is the part's id")] = "",
    only: Annotated[str, typer.Option(help="use files whose names match this expression at their beginning")] = "",
    size: Annotated[int, typer.Option(help="side of the model's input in pixels; 0: chosen from the pictures")] = 0,
    epochs: Annotated[int, typer.Option(help="of learning at most; 0: the method's own number")] = 0,
    threads: Annotated[int, typer.Option(help="of torch; 0: all cores")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Train a model on labelled pictures, or good ones alone; a gate examines the data before and the model after."""
    from cloud_tools.training.run import TrainingOptions
    from cloud_tools.training.run import train as run_training

    options = TrainingOptions(depth, seed, override_gate.strip(), part_regex, only, size, epochs, threads)
    trained = run_training(kind, data, out, options, output.note)
    if not trained.ok:
        output.note(f"edge-cloud: {trained.message}")
    answer = {"ok": trained.ok, "metrics": trained.metrics, "seconds": trained.seconds}
    output.emit(answer | ({} if trained.ok else {"message": trained.message}), as_json=as_json)
    if not trained.ok:
        raise typer.Exit(1)
