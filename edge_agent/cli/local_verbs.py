"""Verbs that look at this machine and need no running agent: doctor, config, audit, quarantine."""

import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli import doctor as checks
from edge_agent.cli.context import places
from edge_agent.cli.output import AsJson, note, show_json, show_lines, show_table
from edge_agent.errors import Code, StorageError

if TYPE_CHECKING:
    from edge_agent.store.audit import AuditLog
    from edge_agent.store.quarantine import Quarantine


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("doctor")(doctor)
    groups: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
        ("config", "Look at the configuration.", {"check": config_check}),
        ("audit", "Look at the audit log.", {"verify": audit_verify}),
        ("quarantine", "Manifests that took the device down.", {"list": quarantine_list, "clear": quarantine_clear}),
    )
    for name, explanation, verbs in groups:
        group = typer.Typer(help=explanation, no_args_is_help=True, rich_markup_mode=None)
        for verb, function in verbs.items():
            group.command(verb)(function)
        app.add_typer(group, name=name)


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look for what keeps the agent from working here; exit 1 if something does."""
    findings = checks.examine(places(context))
    if as_json:
        show_json([{**finding._asdict(), "facts": dict(finding.facts)} for finding in findings])
    else:
        rows = ((finding.check, finding.state, finding.message) for finding in findings)
        show_table(("CHECK", "STATE", "MESSAGE"), rows, empty="nothing to look at")
    raise typer.Exit(1 if any(finding.state == checks.BAD for finding in findings) else 0)


def config_check(context: typer.Context, as_json: AsJson = False) -> None:
    """Read the configuration as the agent would; exit 78 if it is wrong."""
    where = places(context)
    checks.check_settings(where.settings())
    file = str(where.config_file or "")
    show_json({"ok": True, "file": file}) if as_json else show_lines([f"{file or 'no file, defaults'}: ok"])


def audit_verify(context: typer.Context, as_json: AsJson = False) -> None:
    """Follow the chain of the audit log; exit 1 if it is broken."""
    lines = _audit(context).verify()
    path = places(context).state_dir / "audit.log"
    show_json({"ok": True, "lines": lines}) if as_json else show_lines([f"{path}: {lines} lines, unbroken"])


def quarantine_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List quarantined manifests and why they are."""
    entries = _quarantine(context).entries()
    if as_json:
        show_json([{"sha256": digest, "reason": reason} for digest, reason in entries.items()])
    else:
        show_table(("MANIFEST", "REASON"), entries.items(), empty="nothing is quarantined")


def quarantine_clear(
    context: typer.Context,
    digests: Annotated[
        list[str] | None, typer.Argument(metavar="[SHA256]...", help="These manifests; none: all of them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let manifests be tried again."""
    quarantine = _quarantine(context)
    held = quarantine.entries()
    wanted = digests or list(held)
    unknown = [digest for digest in wanted if digest not in held]
    if unknown:
        raise StorageError(Code.NOT_FOUND, f"expected quarantined manifests, came {unknown[0]}")
    if wanted:
        # The line comes first: what is not noted is not done.
        _audit(context).append("quarantine_cleared", manifests=wanted, actor=getpass.getuser())
    for digest in wanted:
        quarantine.clear(digest)
    if as_json:
        show_json({"cleared": wanted})
    else:
        note(f"{len(wanted)} manifest(s) may be tried again")


def _audit(context: typer.Context) -> "AuditLog":
    from edge_agent.store.audit import AuditLog  # noqa: PLC0415 - only these verbs pay for it

    return AuditLog(places(context).state_dir / "audit.log")


def _quarantine(context: typer.Context) -> "Quarantine":
    from edge_agent.store.quarantine import Quarantine  # noqa: PLC0415 - only this verb pays for it

    return Quarantine(places(context).state_dir / "quarantine")
