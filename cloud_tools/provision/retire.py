"""Takes a device out of service for good: nobody connects as it any more, and nothing waits for it.

The thing itself stays, without group and certificate: its name belongs to its captures and to what it did, and
nobody who holds a claim can become it. Each step may be the last: asked again, the rest is done, but for a
certificate without policy and thing that could not be deleted any more, which opens nothing.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.provision.renewal_shadow import clear
from edge_agent.errors import Code

RETIRED = "retired"
_WAITING = ("IN_PROGRESS", "QUEUED")


class Retirement(NamedTuple):
    """What stands on a device, or stood on it; ``shared`` certificates are another thing's too and only let go."""

    thing: str
    certificates: tuple[str, ...]
    shared: tuple[str, ...]
    jobs: tuple[str, ...]
    groups: tuple[str, ...]


def look(aws: Aws, thing: str) -> Retirement:
    """Return what a retirement would end.

    Raises:
        CloudError: NOT_FOUND, or as ``Aws.call``.
    """
    aws.call("iot", "describe_thing", thingName=thing)
    arns = list(aws.pages("iot", "list_thing_principals", "principals", thingName=thing))
    others = {arn for arn in arns if things_of(aws, arn) != [thing]}
    groups = aws.pages("iot", "list_thing_groups_for_thing", "thingGroups", thingName=thing)
    return Retirement(
        thing,
        tuple(arn for arn in arns if arn not in others),
        tuple(sorted(others)),
        tuple(_waiting(aws, thing)),
        tuple(sorted(group["groupName"] for group in groups)),
    )


def retire(aws: Aws, found: Retirement, now: datetime) -> None:
    """End it: certificates first, since with them ends what the device can do.

    Raises:
        CloudError: as ``Aws.call``; what was ended stays ended.
    """
    for arn in found.certificates:
        aws.call("iot", "update_certificate", certificateId=_id(arn), newStatus="INACTIVE")
    for job_id in found.jobs:
        _cancel(aws, found.thing, job_id)
    for group in found.groups:
        aws.call("iot", "remove_thing_from_thing_group", thingGroupName=group, thingName=found.thing)
    for arn in found.certificates:
        delete_certificate(aws, arn, [found.thing])
    for arn in found.shared:
        aws.call("iot", "detach_thing_principal", thingName=found.thing, principal=arn)
    clear(aws, found.thing)
    # AWS IoT: an empty value takes an attribute out.
    attributes = {"fleet": "", RETIRED: f"{now:%Y-%m-%d}"}
    aws.call("iot", "update_thing", thingName=found.thing, attributePayload={"attributes": attributes, "merge": True})


def things_of(aws: Aws, principal: str) -> list[str]:
    """Return the things that a certificate is for; one, where nobody shared it.

    Raises:
        CloudError: as ``Aws.call``.
    """
    return list(aws.pages("iot", "list_principal_things", "things", principal=principal))


def delete_certificate(aws: Aws, arn: str, things: Iterable[str]) -> None:
    """Delete a certificate that is not active, with what holds on to it: policies, and these things.

    Raises:
        CloudError: as ``Aws.call``.
    """
    attached = list(aws.pages("iot", "list_attached_policies", "policies", target=arn))
    for policy in attached:
        aws.call("iot", "detach_policy", policyName=policy["policyName"], target=arn)
    for thing in things:
        aws.call("iot", "detach_thing_principal", thingName=thing, principal=arn)
    aws.call("iot", "delete_certificate", certificateId=_id(arn))


def _waiting(aws: Aws, thing: str) -> Iterator[str]:
    for status in _WAITING:
        found = aws.pages("iot", "list_job_executions_for_thing", "executionSummaries", thingName=thing, status=status)
        yield from (str(one["jobId"]) for one in found)


def _cancel(aws: Aws, thing: str, job_id: str) -> None:
    told: dict[str, Any] = {"statusDetails": {"code": Code.CANCELLED.value, "message": "the device was retired"}}
    try:
        aws.call("iot", "cancel_job_execution", jobId=job_id, thingName=thing, force=True, **told)
    except CloudError as error:
        # It ended meanwhile.
        if error.code not in (Code.FAILED_PRECONDITION, Code.NOT_FOUND):
            raise


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]
