"""``edge-cloud device retire``: the end of a device's identity."""

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_tools.output import JsonFlag, confirm, emit, note

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
