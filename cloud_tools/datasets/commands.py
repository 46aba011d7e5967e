"""``edge-cloud data``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_tools import output
from cloud_tools.output import JsonFlag

if TYPE_CHECKING:
    from cloud_tools.datasets import Dataset


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    data = typer.Typer(
        help="Labelled pictures: the sample line, and what the hygiene gate finds.", no_args_is_help=True
    )
    data.command("sample")(sample)
    data.command("check")(check)
    app.add_typer(data, name="data")


def sample(
    out: Annotated[Path, typer.Option(help="new or empty folder")],
    count: Annotated[int, typer.Option(help="how many pictures", min=1)] = 240,
    seed: Annotated[int, typer.Option(help="same seed, same pictures", min=0)] = 0,
    frames: Annotated[bool, typer.Option("--frames", help="JPEG frames for a camera instead of a data set")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Draw the sample line: scratches, stains and holes on photographs of brick, grass and gravel."""
    from cloud_tools.datasets.sample_line import write_dataset, write_frames

    written = (write_frames if frames else write_dataset)(out, count=count, seed=seed)
    output.emit({"ok": True, "directory": str(out), **written._asdict()}, as_json=as_json)


def check(
    data: Annotated[
        Path, typer.Option(help="normal/ and anomalous/ (or classes), images/ and masks/, or train/good and test/")
    ],
    part_regex: Annotated[str, typer.Option(help="its first group in a file name is the part's id")] = "",
    only: Annotated[str, typer.Option(help="use files whose names match this expression at their beginning")] = "",
    seed: Annotated[int, typer.Option(help="of the split, where none is given")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Say what the hygiene gate finds in a data set; exit code 1 if it would stop a training."""
    from cloud_tools.datasets import Level, inspect_dataset

    dataset = _reader(data)(data, seed=seed, part_regex=part_regex, only=only)
    findings = [f._asdict() | {"level": f.level.value} for f in inspect_dataset(dataset)]
    blocked = any(f["level"] == Level.BLOCK.value for f in findings)
    text = "\n".join(f"{f['level']}: {f['check']}: {f['message']}" for f in findings) or "nothing found"
    answer = {"ok": not blocked, "pictures": len(dataset.samples), "findings": findings}
    output.emit(answer, as_json=as_json, text=text)
    if blocked:
        raise typer.Exit(1)


def _reader(data: Path) -> Callable[..., "Dataset"]:
    """Return the reader of the layout that lies there."""
    from cloud_tools.datasets import read_anomaly, read_classification, read_segmentation

    if (data / "images").is_dir():
        return read_segmentation
    return read_anomaly if (data / "train").is_dir() else read_classification
