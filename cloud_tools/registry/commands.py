"""``edge-cloud registry …`` and ``edge-cloud watch``."""

import getpass
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_tools.output import JsonFlag, emit, note, table
from cloud_tools.registry.version import Step, Version
from cloud_tools.release.opening import RepoUrl
from edge_agent.errors import AgentError

if TYPE_CHECKING:
    from cloud_tools.registry.mlflow_store import MlflowStore
    from cloud_tools.registry.watch import News, Watch
    from edge_agent.formats import Manifest, ModelVersion

Uri = Annotated[
    str,
    typer.Option(
        "--registry",
        envvar=["EDGE_CLOUD_REGISTRY", "MLFLOW_TRACKING_URI"],
        help="sqlite:///FILE, or a tracking server's https://…; empty: a database of this user's own.",
    ),
]
Model = Annotated[str, typer.Argument(metavar="MODEL")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The registry's own number.")]
By = Annotated[str, typer.Option("--by", help="Who decides; empty: who is logged in here.")]

registry = typer.Typer(help="Trained models, and which of them are wanted on the line.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(registry, name="registry")
    app.command()(watch)


@registry.command("add")
def add(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that a training left.")],
    name: Annotated[str, typer.Option(help="Of the model, as devices will know it.")],
    release: Annotated[str, typer.Option("--version", help="To release it under; empty: the registry's number.")] = "",
    uri: Uri = "",
    as_json: JsonFlag = False,
) -> None:
    """Keep a training's run: options, figures, files; it waits for a decision."""
    from cloud_tools.registry.record import read_run

    record = read_run(run)
    version = _open(uri).add(record, name, release)
    emit(_told(version), as_json=as_json, text=f"{version.title} is {version.step.value}")


@registry.command("list")
def list_versions(
    model: Annotated[str, typer.Argument(metavar="[MODEL]")] = "",
    uri: Uri = "",
    as_json: JsonFlag = False,
) -> None:
    """List versions and how far each has come."""
    rows = [_told(version) for version in _open(uri).versions(model)]
    columns = ("model", "number", "release", "step", "by", "reason", "job_id")
    table(rows, columns, as_json=as_json, nothing="no versions")


@registry.command("approve")
def approve(
    model: Model,
    number: Number,
    by: By = "",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    override: Annotated[str, typer.Option(help="Why all the same, where a gate stopped the training.")] = "",
    uri: Uri = "",
    as_json: JsonFlag = False,
) -> None:
    """Want a version on the line: it becomes a draft, and goes out once somebody with the keys has published that."""
    from cloud_tools.registry.approval import approve as approve_version

    opened = _open(uri)
    chosen = opened.version(model, number)
    version = approve_version(opened, chosen, by=by or getpass.getuser(), reason=reason, override=override.strip())
    emit(_told(version), as_json=as_json, text=f"{version.title} is approved; edge-cloud watch makes the draft")


@registry.command("reject")
def reject(
    model: Model,
    number: Number,
    reason: Annotated[str, typer.Option(help="Why.")],
    by: By = "",
    uri: Uri = "",
    as_json: JsonFlag = False,
) -> None:
    """Do not want a version; not for one that was rolled out."""
    from cloud_tools.registry.approval import reject as reject_version

    opened = _open(uri)
    version = reject_version(opened, opened.version(model, number), by=by or getpass.getuser(), reason=reason)
    emit(_told(version), as_json=as_json, text=f"{version.title} is rejected")


def watch(
    drafts: Annotated[Path, typer.Option(help="Folder where approved versions are put as bundles, unsigned.")],
    url: RepoUrl,
    root: Annotated[Path, typer.Option("--root", help="The pinned root.json.")],
    to: Annotated[list[str], typer.Option("--to", help="thing/NAME or group/NAME; may be given again.")],
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Only this one, as for another line's devices; repeat.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One look, then end.")] = False,
    interval_s: Annotated[float, typer.Option("--interval", min=1, help="Seconds between two looks.")] = 30.0,
    uri: Uri = "",
    as_json: JsonFlag = False,
) -> None:
    """Carry approved versions on: to a draft, and once that is signed and published, to the devices.

    It holds no key. A person signs: edge-cloud publish DRAFT --keys …; until then a draft waits. Exit code of --once:
    1 when there was trouble with a version.
    """
    watching = _watch(drafts, url, root, to, uri)
    troubled = False
    for news in _looks(watching, models or (), interval_s, once=once):
        troubled |= bool(news.trouble)
        emit(_told(news.version) | {"trouble": news.trouble}, as_json=as_json, text=_sentence(news))
    if troubled:
        raise typer.Exit(1)


def _watch(drafts: Path, url: str, root: Path, to: list[str], uri: str) -> "Watch":
    from cloud_tools.aws import Aws
    from cloud_tools.registry.watch import Watch
    from cloud_tools.release.keys import read_root
    from cloud_tools.release.verify import read_release
    from cloud_tools.rollout.jobs import ask_once
    from cloud_tools.rollout.targets import check_targets
    from cloud_tools.storage import open_storage

    check_targets(to)
    storage, pinned = open_storage(url), read_root(root)

    def signed(release: "ModelVersion") -> "Manifest | None":
        return read_release(storage, pinned, release, time.time())

    return Watch(_open(uri), drafts, signed, lambda release, job_id: ask_once(Aws(), release, to, job_id))


def _looks(watching: "Watch", models: Collection[str], interval_s: float, *, once: bool) -> Iterator["News"]:
    """Yield what each look did; the same trouble is told once, until it changes."""
    told: dict[tuple[str, int], str] = {}
    while True:
        try:
            for news in watching.look(models):
                key = (news.version.model, news.version.number)
                if not news.trouble or told.get(key) != news.trouble:
                    yield news
                told[key] = news.trouble
        except AgentError as exc:
            if once:
                raise
            note(f"edge-cloud: {exc}")  # a server that is away comes back
        if once:
            return
        time.sleep(interval_s)


def _sentence(news: "News") -> str:
    version = news.version
    if news.trouble:
        return f"{version.title}: {news.trouble}"
    if version.step is Step.DRAFTED:
        return f"{version.title} waits for a signature: edge-cloud publish {version.draft}"
    return f"{version.title} is rolled out by {version.job_id}"


def _told(version: Version) -> dict[str, Any]:
    return version._asdict() | {"step": version.step.value, "metrics": dict(version.metrics)}


def _open(uri: str) -> "MlflowStore":
    from cloud_tools.registry.mlflow_store import MlflowStore

    if uri:
        return MlflowStore(uri)
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "edge-cloud"
    note(f"registry: {home / 'registry.db'}")
    return MlflowStore(f"sqlite:///{home / 'registry.db'}")
