"""Verbs that ask the running agent: status, models, deployments, events, rollback."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from edge_agent.cli import deployments as deployment_words
from edge_agent.cli.context import places
from edge_agent.cli.output import AsJson, moment, note, show_json, show_lines, show_table, size
from edge_agent.cli.status_words import frame_line, status_lines
from edge_agent.client import AgentClient
from edge_agent.formats import DeploymentReport, Event, InspectedFrame, ModelStatus

Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, the newest first.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (status, models, deployments, events, rollback, configure, remove):
        app.command(verb.__name__)(verb)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show everything at one glance."""
    with agent_client(context) as client:
        answer = client.status()
    show_json(answer) if as_json else show_lines(status_lines(answer))


def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models and which version of each answers."""
    with agent_client(context) as client:
        found = client.status().models
    if as_json:
        show_json(list(found))
    else:
        _show_models(found)


def deployments(
    context: typer.Context,
    deployment_id: Annotated[str, typer.Argument(metavar="[ID]", help="Only this one, told in full.")] = "",
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List deployments, newest first, or tell one in full."""
    with agent_client(context) as client:
        found = client.deployments(deployment_id, limit=limit)
    if as_json:
        show_json(found)
    elif deployment_id:
        show_lines(line for report in found for line in deployment_words.lines(report))
    else:
        show_table(deployment_words.HEADS, map(deployment_words.row, found), empty="no deployments yet")


def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until interrupted.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Begin after this id, as far as it is kept.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Tell what happens, as it happens."""
    if not follow:
        raise typer.BadParameter("expected --follow: events are told as they happen", param_hint="'--follow'")
    with agent_client(context) as client, client.events(after) as stream:
        try:
            for event in stream:
                show_json(event.to_dict()) if as_json else show_lines([_event_line(event)])
        except KeyboardInterrupt:
            return


def rollback(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")],
    as_json: AsJson = False,
) -> None:
    """Take a model back to its previous version; ends when that is durable."""
    with agent_client(context) as client:
        report = client.roll_back(model, reason, actor=actor())
    show_json(report) if as_json else show_lines(deployment_words.lines(report))


def configure(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")],
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="From this score on a part is NG; within the signed range.")
    ] = None,
    as_signed: Annotated[bool, typer.Option("--as-signed", help="Back to the threshold of the release.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set a model's threshold; every part from then on is judged by it, until another version answers."""
    if (threshold is None) != as_signed:
        raise typer.BadParameter("expected either --threshold X or --as-signed", param_hint="'--threshold'")
    with agent_client(context) as client:
        report = client.configure(model, threshold, reason, actor=actor())
    show_json(report) if as_json else show_lines(deployment_words.lines(report))


def remove(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")],
    as_json: AsJson = False,
) -> None:
    """Take a model off this device; refused while an application is mapped to it."""
    with agent_client(context) as client:
        report = client.remove(model, reason, actor=actor())
    show_json(report) if as_json else show_lines(deployment_words.lines(report))


@contextmanager
def agent_client(context: typer.Context) -> Iterator[AgentClient]:
    """Give a client of the agent that the flags name."""
    with AgentClient.at(places(context).runtime_dir) as client:
        yield client


def actor() -> str:
    """Return who asks, for the record."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        note("edge-agent: this user has no name; the record says cli")
        return "cli"


def _show_models(found: tuple[ModelStatus, ...]) -> None:
    heads = ("MODEL", "ACTIVE", "PREVIOUS", "STAGED", "STATE", "KIND", "THRESHOLD", "RUNTIME", "MEMORY", "APPLICATIONS")
    rows = (
        (
            model.name,
            model.active or "-",
            model.previous or "-",
            model.staged or "-",
            model.state,
            model.kind,
            _threshold(model),
            f"{model.runtime} {model.provider}".strip(),
            size(model.memory_bytes),
            ", ".join(model.applications),
        )
        for model in found
    )
    show_table(heads, rows, empty="no models yet")


def _threshold(model: ModelStatus) -> str:
    if not model.kind:
        return "-"
    signed = f" (signed {model.signed_threshold:g})" if model.threshold != model.signed_threshold else ""
    return f"{model.threshold:g}{signed}"


def _event_line(event: Event) -> str:
    payload = event.payload
    if isinstance(payload, InspectedFrame):
        return f"{moment(event.at)}  frame  {frame_line(payload)}"
    if isinstance(payload, DeploymentReport):
        return f"{moment(event.at)}  deployment  {deployment_words.head(payload)}"
    return f"{moment(event.at)}  {event.kind}  {payload.model_dump_json(by_alias=True)}"
