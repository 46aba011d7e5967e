"""What the stack needs and CloudFormation does not do: the fleet index everywhere, lifecycle rules on a local AWS."""

from collections.abc import Mapping
from typing import Any, Final

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.provision import existing
from cloud_tools.provision.stack import Change

_ABORT_DAYS = 7
# What no local AWS has, and what follows from that.
_LACKING = (
    "role alias: devices read credentials.json instead",
    "bucket policy for TLS only: it speaks plain HTTP, on loopback",
    "device logs: the rule and /edge-agent/logs are made, nothing is written",
    "pipes to EventBridge: alarms stay in the queue edge-agent-alarms",
)
_LACKING_LOGS = "AWS IoT's logs: group and role are made, nothing is written"
INDEXING: Final = {"thingIndexingMode": "REGISTRY_AND_SHADOW", "thingConnectivityIndexingMode": "STATUS"}
"""What the fleet's view needs of the index of things."""


def pending(aws: Aws, bucket: str) -> tuple[Change, ...]:
    """Return what ``settle`` would do now.

    Raises:
        CloudError: as ``Aws.call``.
    """
    wanted = [Change("Modify", "FleetIndex", "iot UpdateIndexingConfiguration")] if _lacking_index(aws) else []
    if aws.is_local and not _has_lifecycle(aws, bucket):
        wanted.append(Change("Add", "Bucket lifecycle", "s3 PutBucketLifecycleConfiguration"))
    return tuple(wanted)


def settle(aws: Aws, bucket: str, parameters: Mapping[str, str]) -> tuple[Change, ...]:
    """Do what is pending, and return it.

    Raises:
        CloudError: as ``Aws.call``.
    """
    done = pending(aws, bucket)
    index = _lacking_index(aws)
    if index:
        aws.call("iot", "update_indexing_configuration", **index)
    if aws.is_local and parameters["MakeBucket"] == "yes":
        rules = _lifecycle(parameters)
        aws.call("s3", "put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    return done


def lacking(aws: Aws, parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return, in words, what this AWS has not and the template asks for."""
    if not aws.is_local:
        return ()
    return _LACKING if parameters["IotLogs"] == "DISABLED" else (*_LACKING, _LACKING_LOGS)


def shortcomings(aws: Aws, parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return, in words, what was there before and lacks what the template would give it.

    Raises:
        CloudError: as ``Aws.call``.
    """
    bucket = _of_bucket(aws, parameters["BucketName"]) if parameters["MakeBucket"] == "no" else ()
    return (*bucket, *(_of_logs(aws) if parameters["MakeDeviceLogs"] == "no" else ()))


def _of_logs(aws: Aws) -> tuple[str, ...]:
    group = existing.device_logs(aws)
    if group is None:
        return (f"log group {existing.DEVICE_LOGS} was there before and is gone: what devices tell is lost; make it",)
    days = group.get("retentionInDays")
    kept = f"{days} days" if days else "for ever"
    return (f"log group {existing.DEVICE_LOGS} was there before and stays as it is: what devices tell is kept {kept}",)


def _of_bucket(aws: Aws, bucket: str) -> tuple[str, ...]:
    found = []
    if aws.call("s3", "get_bucket_versioning", Bucket=bucket).get("Status") != "Enabled":
        found.append("versioning is off: what is overwritten or deleted is lost")
    if not _is_closed(aws, bucket):
        found.append("public access is not blocked")
    if not _has_lifecycle(aws, bucket):
        found.append("no lifecycle: uploads that were given up stay, and are paid for")
    return tuple(f"bucket {bucket} was there before and stays as it is: {words}" for words in found)


def _lacking_index(aws: Aws) -> dict[str, Any]:
    """Return what to raise of the fleet index; what others turned on is never turned down."""
    now = aws.call("iot", "get_indexing_configuration")
    things = dict(now.get("thingIndexingConfiguration", {}))
    groups = dict(now.get("thingGroupIndexingConfiguration", {}))
    wanted: dict[str, Any] = {}
    if any(things.get(key) != value for key, value in INDEXING.items()):
        wanted["thingIndexingConfiguration"] = {**settable(things), **INDEXING}
    if groups.get("thingGroupIndexingMode") != "ON":
        wanted["thingGroupIndexingConfiguration"] = {**settable(groups), "thingGroupIndexingMode": "ON"}
    return wanted


def settable(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return what of an index's configuration may be sent back: managed fields are told only."""
    return {key: value for key, value in configuration.items() if key != "managedFields" and value not in ("", [], {})}


def _lifecycle(parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        {
            "ID": "uploads-that-were-given-up",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _ABORT_DAYS},
        },
        {
            "ID": "old-versions",
            "Filter": {"Prefix": ""},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {"NoncurrentDays": int(parameters["OldVersionDays"])},
        },
    ]
    days = int(parameters["CaptureDays"])
    if days:
        rules.append({"ID": "captures", "Filter": {"Prefix": "captures/"}, "Expiration": {"Days": days}})
    return [{**rule, "Status": "Enabled"} for rule in rules]


def _has_lifecycle(aws: Aws, bucket: str) -> bool:
    return _answers(aws, "get_bucket_lifecycle_configuration", bucket) is not None


def _is_closed(aws: Aws, bucket: str) -> bool:
    found = _answers(aws, "get_public_access_block", bucket) or {}
    closed = found.get("PublicAccessBlockConfiguration", {})
    return bool(closed) and all(closed.values())


def _answers(aws: Aws, operation: str, bucket: str) -> dict[str, Any] | None:
    try:
        return aws.call("s3", operation, Bucket=bucket)
    except CloudError as error:
        # S3 has a code of its own for each thing that is not there, the bucket itself among them.
        if "NoSuch" in error.message:
            return None
        raise
