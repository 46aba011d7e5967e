"""Verbs that are a whole process each: run, station, dashboard."""

import typer

from edge_agent.cli.context import places
from edge_agent.client import keep_large_blocks


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("run")(run)
    app.command("station")(station)
    app.command("dashboard")(dashboard)


def run(context: typer.Context) -> None:
    """Be the agent: receive models, serve them, inspect."""
    where = places(context)
    settings = where.settings()
    from edge_agent import agent  # noqa: PLC0415 - only this verb pays for it

    keep_large_blocks()
    raise typer.Exit(agent.run(settings, where.state_dir, where.runtime_dir))


def station(context: typer.Context) -> None:
    """Look at cameras and have the agent inspect what they see."""
    where = places(context)
    settings = where.settings()
    from edge_agent import station as process  # noqa: PLC0415 - only this verb pays for it

    keep_large_blocks()
    raise typer.Exit(process.run(settings, where.runtime_dir))


def dashboard(context: typer.Context) -> None:
    """Serve the page."""
    where = places(context)
    settings = where.settings()
    from edge_agent import dashboard as process  # noqa: PLC0415 - only this verb pays for it

    raise typer.Exit(process.run(settings, where.runtime_dir))
