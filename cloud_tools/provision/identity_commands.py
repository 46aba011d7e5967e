"""``edge-cloud device rotate|retire``: another certificate for a device, and the end of all."""

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_tools.output import JsonFlag, confirm, emit, note, table

if TYPE_CHECKING:
    from cloud_tools.provision.retire import Retirement


def retire(
    thing: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would end, end nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Take a device out of service for good: certificates, groups and waiting jobs end, captures stay."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision import retire as room

    aws = Aws()
    found = room.look(aws, thing)
    lines = _told(found)
    if not dry_run:
        for line in lines:
            note(line)
        confirm(f"take {thing} out of service for good", yes=yes)
        room.retire(aws, found, datetime.now(timezone.utc))
    end = f"{thing} would be retired" if dry_run else f"{thing} is retired; on the device: edge-agent enroll forget"
    emit(_document(found, dry_run=dry_run), as_json=as_json, text="\n".join([*lines, end] if dry_run else [end]))


def rotate(
    things: Annotated[list[str], typer.Argument(metavar="[THING]...", help="Devices; none: --expiring-within.")] = [],  # noqa: B006 - typer reads it, nobody changes it
    expiring_within: Annotated[
        float | None,
        typer.Option("--expiring-within", min=0, metavar="DAYS", help="All whose certificate ends so soon."),
    ] = None,
    fleet: Annotated[str, typer.Option(help="With --expiring-within: only this fleet.")] = "",
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="Go on while devices answer; 0: one step.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell where it stands, change nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Exchange certificates, one step of each device at each call; the old one ends once the new one is in use."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision import rotation

    aws = Aws()
    chosen = rotation.choose(aws, things, expiring_within, fleet)
    rows = rotation.follow(aws, chosen, wait_s=wait_s, dry_run=dry_run)
    columns = ("thing", "ends", "state", "message")
    table([row._asdict() for row in rows], columns, as_json=as_json, nothing="no certificate ends so soon")
    raise typer.Exit(rotation.judge(rows))


def _told(found: "Retirement") -> list[str]:
    return [
        *(f"certificate {_id(arn)}: ends, and whoever connects with it is cut off" for arn in found.certificates),
        *(f"certificate {_id(arn)}: another thing's too, stays" for arn in found.shared),
        *(f"job {job}: cancelled for {found.thing}" for job in found.jobs),
        *(f"group {group}: without it" for group in found.groups),
        "captures: stay where they are",
    ]


def _document(found: "Retirement", *, dry_run: bool) -> dict[str, Any]:
    return {
        "thing": found.thing,
        "retired": not dry_run,
        "certificates": [_id(arn) for arn in found.certificates],
        "shared_certificates": [_id(arn) for arn in found.shared],
        "jobs": list(found.jobs),
        "groups": list(found.groups),
    }


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]
