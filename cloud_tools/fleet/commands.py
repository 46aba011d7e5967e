"""``edge-cloud fleet`` and ``edge-cloud logs``."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cloud_tools.errors import CloudError, Exit
from cloud_tools.output import JsonFlag, emit, note, table
from edge_agent.config import THING_PATTERN
from edge_agent.errors import Code

if TYPE_CHECKING:
    from cloud_tools.aws import Aws
    from cloud_tools.fleet.device import Device
    from cloud_tools.fleet.lagging import Lag, ModelSpread
    from cloud_tools.fleet.reading import Fleet

_FOLLOW_S = 2.0


def register(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.command()(fleet)
    app.command()(logs)


class _Wanted(NamedTuple):
    behind: str
    repo: str
    root: Path | None
    explain: int


def fleet(
    where: Annotated[
        str,
        typer.Option(
            help='Fleet Indexing query, as "shadow.reported.models.unet.version:3 AND attributes.fleet:east".'
        ),
    ] = "",
    group_by: Annotated[
        str,
        typer.Option(help="fleet, state, agent, connected, deployment, model.NAME, or a dotted path of the shadow."),
    ] = "",
    behind: Annotated[str, typer.Option(metavar="MODEL", help="Only who runs another version of it, and why.")] = "",
    repo: Annotated[str, typer.Option(help="Measure by the newest release there, not by the newest that runs.")] = "",
    root: Annotated[Path | None, typer.Option(help="With --repo: its pinned root.json.")] = None,
    explain: Annotated[
        int, typer.Option(min=0, help="Ask the jobs of so many devices that are behind, at most.")
    ] = 100,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page of it all, one HTML file.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    enable: Annotated[
        bool, typer.Option("--enable-index", help="Have AWS index things, shadows and connections; it is billed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the devices: who runs what, how they are, who is behind and why."""
    from cloud_tools.aws import Aws
    from cloud_tools.fleet.lagging import spreads
    from cloud_tools.fleet.reading import enable_index, read_fleet

    if as_csv and as_json:
        raise CloudError(Code.INVALID_ARGUMENT, "expected --csv or --json, came both")
    aws = Aws()
    if enable:
        enable_index(aws)
        emit({"indexing": "on"}, as_json=as_json, text="things, shadows and connections are indexed")
        return
    wanted = _Wanted(behind, repo, root, explain)
    released = _released(wanted)
    found = read_fleet(aws, where)
    for sentence in (*found.notes, *(f"not read: {one}" for one in found.failed)):
        note(sentence)
    models = spreads(found.devices, released)
    late = _lags(aws, found.devices, models, wanted) if behind or report or as_json else []
    if report is not None:
        _write(report, found.devices, models, late, found.notes)
    _print(found, models, late, group_by, behind, as_csv=as_csv, as_json=as_json)
    if found.failed:
        raise typer.Exit(Exit.PARTLY_FAILED)


def logs(
    thing: Annotated[str, typer.Argument(help="The thing's name.")],
    follow: Annotated[bool, typer.Option("--follow", help="Go on until interrupted.")] = False,
    since: Annotated[str, typer.Option(help="How far back, as 15m, 2h or 7d.")] = "1h",
    as_json: JsonFlag = False,
) -> None:
    """Print what a device told of its log, out of CloudWatch Logs."""
    from cloud_tools.aws import Aws
    from cloud_tools.fleet import log_reading

    if not re.fullmatch(THING_PATTERN, thing):
        raise CloudError(Code.INVALID_ARGUMENT, f"expected a thing's name, came {thing!r}")
    aws, begin = Aws(), time.time() - log_reading.seconds(since)
    if follow:
        try:
            for line in log_reading.follow(aws, thing, begin, wait=lambda: time.sleep(_FOLLOW_S), now=time.time):
                emit(line._asdict(), as_json=as_json, text=line.sentence())
        except KeyboardInterrupt:
            return
    lines = sorted((line for _, line in log_reading.read_lines(aws, thing, begin)), key=lambda line: line.at)
    for line in lines:
        emit(line._asdict(), as_json=as_json, text=line.sentence())
    if not lines:
        why = "the local AWS writes no lines" if aws.is_local else "[telemetry] cloud_level says what it tells"
        note(f"{thing} told nothing since {since} ago: {why}")


def _released(wanted: _Wanted) -> dict[str, str]:
    if not wanted.repo:
        return {}
    if wanted.root is None:
        raise CloudError(
            Code.INVALID_ARGUMENT, "--repo: expected --root FILE, the repository's pinned root.json, as well"
        )
    from cloud_tools.fleet.released import newest_releases
    from cloud_tools.storage import open_storage

    try:
        root = wanted.root.read_bytes()
    except OSError as exc:
        raise CloudError(Code.NOT_FOUND, f"--root: {wanted.root}: {exc.strerror}") from exc
    return newest_releases(open_storage(wanted.repo), root, time.time())


def _lags(aws: "Aws", devices: "Sequence[Device]", models: "Sequence[ModelSpread]", wanted: _Wanted) -> "list[Lag]":
    from cloud_tools.fleet.lagging import behind, lags
    from cloud_tools.fleet.reading import read_executions

    if wanted.behind and wanted.behind not in {spread.model for spread in models}:
        raise CloudError(Code.NOT_FOUND, f"--behind: expected a model that some device runs, came {wanted.behind!r}")
    late = [(spread, behind(devices, spread)) for spread in models if wanted.behind in ("", spread.model)]
    things = list(dict.fromkeys(device.thing for _, found in late for device in found))
    if len(things) > wanted.explain:
        note(f"{len(things)} devices are behind, and the jobs of {wanted.explain} were asked for: --explain")
    executions = read_executions(aws, things[: wanted.explain])
    return [lag for spread, found in late for lag in lags(found, spread, executions)]


def _print(
    found: "Fleet",
    models: "Sequence[ModelSpread]",
    late: "Sequence[Lag]",
    group_by: str,
    behind: str,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    from cloud_tools.fleet import view

    rows: list[dict[str, Any]] = [device.row() for device in found.devices]
    columns: Sequence[str] = view.COLUMNS
    if group_by:
        rows = view.grouped(found.devices, group_by)
        columns = (group_by, "devices")
    elif behind:
        rows, columns = [lag._asdict() for lag in late], view.LAG_COLUMNS
    if as_csv:
        emit({}, as_json=False, text=view.csv_text(rows) or ",".join(columns))
    elif as_json and not group_by:
        emit(view.document(found.devices, found.source, models, late, found.failed), as_json=True)
    else:
        table(rows, columns, as_json=as_json, nothing="nobody is behind" if behind else "no devices")


def _write(
    file: Path,
    devices: "Sequence[Device]",
    models: "Sequence[ModelSpread]",
    late: "Sequence[Lag]",
    notes: Sequence[str],
) -> None:
    from cloud_tools.fleet.page import page

    file.write_text(page(devices, models, late, notes, time.time()), encoding="utf-8")
    note(f"written: {file}")
