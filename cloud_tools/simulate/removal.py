"""Takes a simulated fleet out of an account again: what simulating made there and here, and nothing else.

Things and group are told by their attribute ``simulated``; a certificate goes when no thing is left that has it. Each
step may be the last: asked again, the rest is done.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cloud_tools.aws import Aws, if_there
from cloud_tools.errors import CloudError
from cloud_tools.output import progress
from cloud_tools.provision import identity
from cloud_tools.provision.retire import delete_certificate, things_of
from cloud_tools.simulate.front import FILES, PREFIX
from cloud_tools.simulate.things import SIMULATED, check_account, identity_in
from edge_agent.errors import Code


class Removed(NamedTuple):
    """What went."""

    fleet: str
    things: int
    certificates: int
    group: bool
    """False where there was none, or where it was there before or has other things in it: it stays."""


def remove(aws: Aws, fleet: str, directory: Path, *, anywhere: bool = False) -> Removed:
    """Remove the things, their certificates and their group, and the keys in ``directory``.

    Args:
        aws: the account.
        fleet: its name, as it was simulated.
        directory: where its key and certificate were put.
        anywhere: also in an account that is not on this machine.

    Raises:
        CloudError: NOT_FOUND, nothing of such a fleet is there; FAILED_PRECONDITION, the account is not on this
            machine; or as ``Aws.call``, what was removed stays removed.
    """
    check_account(aws, fleet, f"the things of {fleet} would be removed there", anywhere=anywhere)
    things = _things(aws, fleet)
    own = [identity_in(directory), *_bridges(directory)]
    known = {arn for certificate, _ in own if (arn := _arn(aws, certificate))}
    held = _remove_things(aws, things)
    ended = sum(_end(aws, arn) for arn in sorted(held | known))
    _remove_policies(aws, directory)
    gone = _remove_group(aws, fleet)
    files = [*(path for pair in own for path in pair), *(directory / name for name in FILES)]
    left = [path for path in files if path.exists()]
    if not (things or ended or gone or left):
        raise CloudError(Code.NOT_FOUND, f"fleet {fleet}: expected things that were simulated, there are none")
    for path in left:
        path.unlink()
    if directory.is_dir() and not _any(directory.iterdir()):
        directory.rmdir()
    return Removed(fleet, len(things), ended, gone)


def _things(aws: Aws, fleet: str) -> list[str]:
    found = aws.pages("iot", "list_things", "things", attributeName="fleet", attributeValue=fleet)
    return sorted(one["thingName"] for one in found if one.get("attributes", {}).get(SIMULATED) == "true")


def _remove_things(aws: Aws, things: list[str]) -> set[str]:
    """Remove things with their shadows; return the certificates that they had, ARNs."""
    held: set[str] = set()
    with progress("things", len(things)) as done:
        for thing in things:
            principals = list(aws.pages("iot", "list_thing_principals", "principals", thingName=thing))
            # The thing comes last: by it the next call finds what was cut off here.
            for principal in principals:
                aws.call("iot", "detach_thing_principal", thingName=thing, principal=principal)
            if_there(aws, "iot-data", "delete_thing_shadow", thingName=thing)
            aws.call("iot", "delete_thing", thingName=thing)
            held.update(principals)
            done(1)
    return held


def _bridges(directory: Path) -> list[tuple[Path, Path]]:
    """Return what a mosquitto before the local AWS showed there, for each of its runs."""
    return [(path, path.with_suffix(".key")) for path in sorted(directory.glob(f"{PREFIX}*.pem"))]


def _remove_policies(aws: Aws, directory: Path) -> None:
    for certificate, _ in _bridges(directory):
        if_there(aws, "iot", "delete_policy", policyName=certificate.stem)


def _arn(aws: Aws, certificate: Path) -> str:
    """Return the ARN of a certificate that lies here; empty where there is none, or the account has it no more."""
    if not certificate.exists():
        return ""
    found = identity.id_of(certificate.read_text(encoding="utf-8"), str(certificate))
    told = if_there(aws, "iot", "describe_certificate", certificateId=found)
    return str(told["certificateDescription"]["certificateArn"]) if told else ""


def _end(aws: Aws, arn: str) -> bool:
    """Delete a certificate that no thing has any more; tell whether it was one."""
    if things_of(aws, arn):
        return False
    aws.call("iot", "update_certificate", certificateId=arn.rpartition("/")[2], newStatus="INACTIVE")
    delete_certificate(aws, arn, ())
    return True


def _remove_group(aws: Aws, fleet: str) -> bool:
    told = if_there(aws, "iot", "describe_thing_group", thingGroupName=fleet) or {}
    attributes = told.get("thingGroupProperties", {}).get("attributePayload", {}).get("attributes", {})
    if attributes.get(SIMULATED) != "true" or _any(_members(aws, fleet)):
        return False
    aws.call("iot", "delete_thing_group", thingGroupName=fleet)
    return True


def _members(aws: Aws, fleet: str) -> Iterable[str]:
    return aws.pages("iot", "list_things_in_thing_group", "things", thingGroupName=fleet)


def _any(items: Iterable[object]) -> bool:
    return any(True for _ in items)
