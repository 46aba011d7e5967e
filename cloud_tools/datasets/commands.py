"""``edge-cloud data``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_tools import output
from cloud_tools.datasets.flags import Only, PartRegex
from cloud_tools.output import JsonFlag
from edge_agent.formats import Kind

Data = Annotated[Path, typer.Option(help="folder of a data set in a known layout (docs/data.md), or of several")]
KindOption = Annotated[Kind | None, typer.Option(help="for which training; else what the layout is made for")]
Seed = Annotated[int, typer.Option(help="of the split, where none is given")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    data = typer.Typer(
        help="Labelled pictures: examine, split, prepare and look through them; the sample line.", no_args_is_help=True
    )
    data.command("sample")(sample)
    data.command("check")(check)
    data.command("split")(split)
    data.command("prepare")(prepare)
    data.command("explore")(explore)
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
    from cloud_tools.datasets import Level, categories, inspect_dataset, read
    from cloud_tools.datasets.reading import own_kind

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


def split(
    data: Data,
    shares: Annotated[str, typer.Option(help="of train, validation and test")] = "60/20/20",
    kind: KindOption = None,
    part_regex: PartRegex = "",
    seed: Annotated[int, typer.Option(help="same seed, same split")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="what has a split keeps it, only the rest is drawn")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="forget the split that is there")] = False,
    ignore_looks: Annotated[
        bool, typer.Option("--ignore-looks", help="divide what only looks the same, as parts in a fixture may")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write split.csv: drawn by whole parts, every class in every split; what would leak is refused."""
    from cloud_tools.datasets.drawing import shares_of
    from cloud_tools.datasets.reading import categories
    from cloud_tools.datasets.splitting import SplitOptions, plan_split

    options = SplitOptions(shares_of(shares), seed, part_regex, kind, keep, replace, ignore_looks)
    plans = {name: plan_split(root, options) for name, root in categories(data).items()}
    for plan in plans.values():
        plan.write()
    rows = [{"category": name, **plan.told} for name, plan in plans.items()]
    output.emit({"ok": True, "categories": rows}, as_json=as_json, text="\n".join(_counted(row) for row in rows))


def _counted(row: dict[str, Any]) -> str:
    counts = ", ".join(f"{split} {count}" for split, count in row["pictures"].items())
    return f"{row['category']}: {counts}; {row['parts']} parts"


def prepare(
    data: Annotated[Path, typer.Option(help="a data set in a known layout, several, a pull of captures, or videos")],
    out: Annotated[Path, typer.Option(help="folder of the clean data set; new or empty")],
    kind: KindOption = None,
    label: Annotated[
        str, typer.Option(help="of videos or pictures in one folder: what all of them show, normal or a class")
    ] = "",
    every: Annotated[int, typer.Option(help="of videos: each so many-th frame", min=1)] = 10,
    part_regex: PartRegex = "",
    only: Only = "",
    seed: Seed = 0,
    link: Annotated[bool, typer.Option("--link", help="hard links instead of copies, where the disk can")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a clean data set: upright pictures, each once, masks in black and white, split.csv and dataset.json."""
    from cloud_tools.datasets.intake import VideoOptions, prepare_any
    from cloud_tools.datasets.preparing import PrepareOptions

    options = PrepareOptions(kind, seed, part_regex, only, link)
    prepared = prepare_any(data, out, options, VideoOptions(label, every))
    for name, made in prepared.items():
        for one in made.left_out:
            output.note(f"{name}: left out {one.file}: {one.reason}{f' of {one.same_as}' if one.same_as else ''}")
    rows = [{"category": name, **made.document} for name, made in prepared.items()]
    told = [
        f"{row['category']}: {row['pictures']} pictures for {row['kind']}, {len(row['left_out'])} left out, "
        f"{row['turned']} turned upright, sha256 {row['sha256'][:12]}"
        for row in rows
    ]
    output.emit({"ok": True, "directory": str(out), "categories": rows}, as_json=as_json, text="\n".join(told))


def explore(
    data: Data,
    out: Annotated[Path, typer.Option(help="the page: one HTML file")],
    kind: KindOption = None,
    limit: Annotated[int, typer.Option(help="so many pictures of a class in a split are shown", min=1)] = 200,
    part_regex: PartRegex = "",
    only: Only = "",
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """Draw a page to look through: pictures by class and split, masks outlined, findings beside their pictures."""
    from cloud_tools.datasets import categories, read
    from cloud_tools.datasets.explorer import explore as explore_category
    from cloud_tools.datasets.explorer_page import write_page
    from cloud_tools.datasets.reading import own_kind

    explored = []
    for name, root in categories(data).items():
        dataset = read(root, kind or own_kind(root), seed=seed, part_regex=part_regex, only=only)
        explored.append(explore_category(name, dataset, limit=limit))
    size = write_page(out, data.resolve().name, explored)
    findings = [finding.as_json() | {"category": one.name} for one in explored for finding in one.findings]
    pictures = sum(len(one.dataset.samples) for one in explored)
    shown = sum(len(group.tiles) for one in explored for group in one.groups)
    answer = {"ok": True, "page": str(out), "bytes": size, "pictures": pictures, "shown": shown, "findings": findings}
    output.emit(answer, as_json=as_json, text=f"{out}: {shown} of {pictures} pictures, {len(findings)} findings")
