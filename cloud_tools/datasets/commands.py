"""``edge-cloud data``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_tools import output
from cloud_tools.output import JsonFlag
from edge_agent.formats import Kind

Data = Annotated[Path, typer.Option(help="folder of a data set in a known layout (docs/data.md), or of several")]
KindOption = Annotated[Kind | None, typer.Option(help="for which training; else what the layout is made for")]
PartRegex = Annotated[str, typer.Option(help="its first group in a file name is the part's id")]
Only = Annotated[str, typer.Option(help="use files whose names match this expression at their beginning")]
Seed = Annotated[int, typer.Option(help="of the split, where none is given")]


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
    data: Data,
    kind: KindOption = None,
    part_regex: PartRegex = "",
    only: Only = "",
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """Say what the hygiene gate finds in a data set, of each category; exit code 1 if it would stop a training."""
    from cloud_tools.datasets.hygiene import Level, inspect_dataset
    from cloud_tools.datasets.reading import categories, own_kind, read

    rows: list[dict[str, Any]] = []
    for name, root in categories(data).items():
        dataset = read(root, kind or own_kind(root), seed=seed, part_regex=part_regex, only=only)
        findings = [finding.as_json() | {"category": name} for finding in inspect_dataset(dataset)]
        blocked = any(finding["level"] == Level.BLOCK.value for finding in findings)
        rows.append({"category": name, "ok": not blocked, "pictures": len(dataset.samples), "findings": findings})
    ok = all(row["ok"] for row in rows)
    found = [finding for row in rows for finding in row["findings"]]
    answer = {"ok": ok, "pictures": sum(row["pictures"] for row in rows), "findings": found, "categories": rows}
    output.emit(answer, as_json=as_json, text="\n".join(_told(row, named=len(rows) > 1) for row in rows))
    if not ok:
        raise typer.Exit(1)


def _told(row: dict[str, Any], *, named: bool) -> str:
    before = f"{row['category']}: " if named else ""
    lines = [f"{before}{f['level']}: {f['check']}: {f['message']}" for f in row["findings"]]
    return "\n".join(lines) or f"{before}nothing found"
