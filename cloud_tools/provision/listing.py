"""Devices as the cloud knows them."""

from typing import Any

from cloud_tools.aws import Aws
from cloud_tools.provision.retire import RETIRED


def list_devices(aws: Aws, fleet: str = "") -> list[dict[str, Any]]:
    """Return things with their fleets, by name, and when they were retired; ``fleet`` narrows it to one."""
    chosen = {"attributeName": "fleet", "attributeValue": fleet} if fleet else {}
    things = aws.pages("iot", "list_things", "things", **chosen)
    return sorted((_row(found) for found in things), key=lambda row: row["thing"])


def show_device(aws: Aws, thing: str) -> dict[str, Any]:
    """Return one thing: its fleet, groups, certificates and job executions, the newest first.

    Raises:
        CloudError: NOT_FOUND.
    """
    found = aws.call("iot", "describe_thing", thingName=thing)
    principals = aws.pages("iot", "list_thing_principals", "principals", thingName=thing)
    groups = aws.pages("iot", "list_thing_groups_for_thing", "thingGroups", thingName=thing)
    jobs = aws.pages("iot", "list_job_executions_for_thing", "executionSummaries", thingName=thing)
    return {
        "thing": thing,
        "arn": found["thingArn"],
        "fleet": found.get("attributes", {}).get("fleet", ""),
        "groups": sorted(group["groupName"] for group in groups),
        "certificates": [_certificate_state(aws, arn) for arn in principals],
        "jobs": [{"job_id": job["jobId"], "status": job["jobExecutionSummary"]["status"]} for job in jobs],
    }


def _row(found: dict[str, Any]) -> dict[str, Any]:
    attributes = found.get("attributes", {})
    since = {RETIRED: attributes[RETIRED]} if RETIRED in attributes else {}
    return {"thing": found["thingName"], "fleet": attributes.get("fleet", "")} | since


def _certificate_state(aws: Aws, arn: str) -> dict[str, str]:
    certificate_id = arn.rpartition("/")[2]
    found = aws.call("iot", "describe_certificate", certificateId=certificate_id)["certificateDescription"]
    return {"id": certificate_id, "status": found["status"]}
