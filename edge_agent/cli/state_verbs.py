"""Verbs about the state directory's layout: what it is, and the way back from a newer agent's."""

from pathlib import Path

import typer

from edge_agent.cli.backup_verbs import as_owner_of
from edge_agent.cli.context import places
from edge_agent.cli.output import AsJson, show_json, show_lines
from edge_agent.cli.remote_verbs import actor


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(help="The state directory's layout.", no_args_is_help=True, rich_markup_mode=None)
    group.command("show")(show)
    group.command("back")(back)
    app.add_typer(group, name="state")


def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Tell the layout of the state directory, this agent's own, and which older ones were kept."""
    from edge_agent.store import kept_layouts, layout  # noqa: PLC0415 - only these verbs pay for it

    root = places(context).state_dir
    now, kept = layout.read_version(root), kept_layouts.kept(root)
    if as_json:
        show_json({"layout": now, "of_this_agent": layout.LAYOUT_VERSION, "kept": kept})
    else:
        told = ", ".join(map(str, kept)) or "none"
        show_lines([f"{root}: layout {now}; this agent's is {layout.LAYOUT_VERSION}; kept: {told}"])


def back(context: typer.Context, as_json: AsJson = False) -> None:
    """Put back what a newer agent's migration changed, as it was before; the agent must not run.

    What was committed since goes with it; trust, captures and the audit log stay as they are. A version that was
    revoked since does not come back: its model has none then, and says NO_RESULT.
    """
    from edge_agent.storage.lock import StateLock  # noqa: PLC0415 - as above
    from edge_agent.store import AuditLog, exchange, kept_layouts, layout  # noqa: PLC0415 - as above

    root, target = places(context).state_dir, layout.LAYOUT_VERSION
    revoked: dict[str, str] = {}
    with as_owner_of(root), StateLock(root / "lock"):
        exchange.finish(root)
        now = layout.read_version(root)
        led_back = layout.leads_back(root)
        if led_back:
            revoked = _revoked(root, now)
            # The line comes first: what is not noted is not done.
            AuditLog(root / "audit.log").append(
                "layout_put_back", layout=now, to=target, revoked=revoked, actor=actor()
            )
            kept_layouts.leave_out(root, revoked, now=now, target=target)
            layout.put_back(root)
    if as_json:
        show_json({"before": now, "layout": min(now, target), "revoked": revoked})
    else:
        told = f"layout {target}, {now} before" if led_back else f"layout {now}, nothing to put back"
        gone = (f"{name} {version} was revoked since and stays away" for name, version in revoked.items())
        show_lines([f"{root}: {told}", *gone])


def _revoked(root: Path, now: int) -> dict[str, str]:
    """Return the versions, by model, that would be committed again and were revoked since.

    An agent that runs without them is worth more to a line than one that refuses to come back because of one.

    Raises:
        StorageError: NOT_FOUND, what is needed was not kept.
    """
    from edge_agent.store import kept_layouts, layout  # noqa: PLC0415 - as above
    from edge_agent.trust.floors import FloorFiles  # noqa: PLC0415 - as above

    floors = FloorFiles(root / "trust").load().models
    committed = kept_layouts.committed(root, now=now, target=layout.LAYOUT_VERSION)
    return {name: entry.version for name, entry in committed.items() if entry.release_seq < floors.get(name, 0)}
