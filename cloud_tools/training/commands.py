"""``edge-cloud train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_tools import output
from cloud_tools.datasets.flags import Only, PartRegex
from cloud_tools.errors import CloudError
from cloud_tools.output import JsonFlag
from cloud_tools.training import flags
from cloud_tools.training.methods import METHODS
from cloud_tools.training.options import TrainingOptions
from cloud_tools.training.progress import shown
from edge_agent.errors import Code

_NO_OPTION = ("kind", "data", "out")
_GIVEN = "COMMANDLINE"
_NAMES = {"override_gate": "override"}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train")(train)


def train(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help=", ".join(METHODS), show_default=False)] = "",
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            help="normal/ and anomalous/ (or classes), images/ and masks/, train/good and test/ … (docs/data.md)"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the run; new or empty")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML with any of these options, a run.yaml for one; flags go before it")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the interrupted training in --out")] = False,
    depth: Annotated[
        int, typer.Option(help="last block of the trunk that is kept: 4, 7, 10, 15 give 0.2 to 12 MB")
    ] = 10,
    seed: Annotated[int, typer.Option(help="of the split, the start, the order and the augmentation")] = 0,
    override_gate: Annotated[str, typer.Option(help="train all the same; the reason stands in the report")] = "",
    part_regex: PartRegex = "",
    only: Only = "",
    size: flags.Size = 0,
    epochs: flags.Epochs = 0,
    threads: flags.Threads = 0,
    device: flags.Where = "auto",
    width: flags.Width = 0.0,
    scope: flags.Scored = None,
    tune: flags.Tuned = None,
    as_json: JsonFlag = False,
) -> None:
    """Train a model on labelled pictures, or good ones alone; a gate examines the data before and the model after."""
    del kind, data, depth, seed, override_gate, part_regex, only, size, epochs, threads, device, width, scope, tune
    from cloud_tools.training.run import train as run_training

    said = _said(context, _file(config, out, resume=resume))
    options = TrainingOptions(
        **{_NAMES.get(name, name): value for name, value in said.items() if name not in _NO_OPTION}
    )
    with shown() as progress:
        trained = run_training(said["kind"], said["data"], said["out"], options, progress, resume=resume)
    if not trained.ok:
        output.note(f"edge-cloud: {trained.message}")
    answer = {"ok": trained.ok, "metrics": trained.metrics, "seconds": trained.seconds}
    output.emit(answer | ({} if trained.ok else {"message": trained.message}), as_json=as_json)
    if not trained.ok:
        raise typer.Exit(1)


def _file(config: Path | None, out: Path | None, *, resume: bool) -> dict[str, Any]:
    """Return what a file says: the one given, else that of the run which is resumed."""
    from cloud_tools.training.runfile import RUN, read_run

    if config is None and resume and out is not None and (out / RUN).is_file():
        return read_run(out / RUN)
    return read_run(config) if config is not None else {}


def _said(context: typer.Context, file: dict[str, Any]) -> dict[str, Any]:
    """Return the file's words, and the flags that were really given in their place."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name: context.params[name] for name, source in sources.items() if source and source.name == _GIVEN}
    said = file | given
    for name, shown_as in (("kind", "KIND"), ("data", "--data"), ("out", "--out")):
        if not said.get(name):
            raise CloudError(Code.INVALID_ARGUMENT, f"expected {shown_as}, or {name} in the file of --config")
    return {name: value for name, value in said.items() if name not in ("config", "resume", "as_json")}
