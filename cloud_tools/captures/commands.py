"""``edge-cloud captures``."""

from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_tools import output
from cloud_tools.errors import CloudError
from cloud_tools.output import JsonFlag
from edge_agent.errors import Code

if TYPE_CHECKING:
    from cloud_tools.captures.records import Wanted

From = Annotated[str, typer.Option("--from", help="s3://bucket/prefix, as [capture] url, or a directory")]
Thing = Annotated[str, typer.Option(help="only of this device")]
Model = Annotated[str, typer.Option(help="only of this model")]
Label = Annotated[str, typer.Option(help="only with this label; -: only without one")]
Since = Annotated[str, typer.Option(help="from this day or moment on, as 2026-05-31 or 2026-05-31T20:00, UTC")]
Until = Annotated[str, typer.Option(help="before this day or moment")]


class VerdictWord(str, Enum):
    """What a line says of a part."""

    OK = "OK"
    NG = "NG"
    NO_RESULT = "NO_RESULT"


class DataKind(str, Enum):
    """For which training."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"


Verdicts = Annotated[VerdictWord | None, typer.Option(help="only with this verdict")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    captures = typer.Typer(help="What devices captured: list it, pull it into a data set.", no_args_is_help=True)
    captures.command("list")(list_captures)
    captures.command("pull")(pull_captures)
    app.add_typer(captures, name="captures")


def list_captures(
    source: From,
    thing: Thing = "",
    model: Model = "",
    verdict: Verdicts = None,
    label: Label = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(help="how many, the newest first", min=1)] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List captures in a bucket, newest first, with what models and people said."""
    from cloud_tools.captures.records import read_captures
    from cloud_tools.storage import open_storage

    wanted = _wanted(thing, model, verdict, label, since, until)
    found = read_captures(open_storage(source), wanted, output.note)[::-1]
    if len(found) > limit:
        output.note(f"{len(found)} captures, the newest {limit} are shown: --limit")
    rows = [
        {name: value for name, value in capture._asdict().items() if name not in ("picture", "mask")}
        for capture in found[:limit]
    ]
    shown = [
        row | {"at": datetime.fromtimestamp(row["at"], timezone.utc).strftime("%Y-%m-%d %H:%M:%S")} for row in rows
    ]
    columns = ("at", "thing", "model", "version", "verdict", "score", "label", "reason", "id")
    output.table(rows if as_json else shown, columns, as_json=as_json, nothing="no captures")


def pull_captures(
    source: From,
    out: Annotated[Path, typer.Option(help="folder of the data set: new, empty, or pulled before")],
    kind: Annotated[DataKind, typer.Option(help="for which training")] = DataKind.CLASSIFICATION,
    include_unlabelled: Annotated[
        bool, typer.Option("--include-unlabelled", help="also what no person labelled, by the model's verdict")
    ] = False,
    thing: Thing = "",
    model: Model = "",
    verdict: Verdicts = None,
    label: Label = "",
    since: Since = "",
    until: Until = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a data set of captures for train: of what people labelled, and only on demand of the rest."""
    from cloud_tools.captures.choice import is_normal
    from cloud_tools.captures.pull import PullOptions, pull
    from cloud_tools.captures.records import read_captures
    from cloud_tools.storage import open_storage

    opened = open_storage(source)
    wanted = _wanted(thing, model, verdict, label, since, until)
    found = read_captures(opened, wanted, output.note)
    pulled = pull(opened, found, out, PullOptions(kind.value, include_unlabelled), output.note)
    if pulled.left_out.get("unlabelled"):
        output.note(f"{pulled.left_out['unlabelled']} captures without a label were left out: --include-unlabelled")
    if {is_normal(name) for name in pulled.classes} != {True, False}:
        output.note(f"a training needs normal and other pictures, there are: {', '.join(pulled.classes)}")
    output.emit({"ok": True, "directory": str(out), **pulled._asdict()}, as_json=as_json)


def _wanted(thing: str, model: str, verdict: VerdictWord | None, label: str, since: str, until: str) -> "Wanted":
    from cloud_tools.captures.records import Wanted

    word = verdict.value if verdict else ""
    return Wanted(thing, model, word, label, _moment("--since", since), _moment("--until", until))


def _moment(flag: str, text: str) -> float:
    if not text:
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise CloudError(
            Code.INVALID_ARGUMENT, f"{flag}: expected a day or moment as 2026-05-31, came {text!r}"
        ) from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
