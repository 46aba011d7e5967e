"""The verb ``similar``: what looks like a frame or a capture."""

from collections.abc import Iterator
from typing import Annotated

import typer

from edge_agent.cli.output import AsJson, show_json, show_lines, show_table
from edge_agent.cli.remote_verbs import agent_client
from edge_agent.formats import SimilarPart, SimilarParts


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("similar")(similar)


def similar(
    context: typer.Context,
    identity: Annotated[str, typer.Argument(metavar="FRAME|CAPTURE", help="The id of a recent frame, or a capture's.")],
    model: Annotated[str, typer.Option("--model", help="Whose memory is asked; else the first that has one.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many at most.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show what looks most like a part: parts that a model learnt from, and captured ones."""
    with agent_client(context) as client:
        told = client.similar(identity, model=model, limit=limit)
    if as_json:
        show_json(told)
        return
    show_lines(_heading(told))
    show_table(("ALIKE", "WHAT", "LABEL", "VERDICT", "ID"), map(_row, told.parts), empty="nothing to compare with")


def _heading(told: SimilarParts) -> Iterator[str]:
    if told.model and not told.message:
        far = "farther than" if told.far else "within"
        distance = f"{told.distance:.4f} from what it learnt, {far} {told.limit:.4f} of good parts"
        yield f"{told.model} {told.version}: {distance}"
    if told.message:
        yield told.message


def _row(part: SimilarPart) -> tuple[str, ...]:
    what = "captured" if part.captured else "training"
    return (f"{part.similarity:.4f}", what, part.label or "-", part.verdict or "-", part.id)
