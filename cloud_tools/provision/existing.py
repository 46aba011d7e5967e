"""What an account has before its stack: used as it is, and never the stack's to delete."""

from collections.abc import Mapping
from typing import Any

from cloud_tools.aws import Aws, if_there
from cloud_tools.errors import CloudError
from cloud_tools.provision import bucket, policy
from edge_agent.errors import Code

CLAIM_POLICY = "edge-agent-claim"
# Parameters that are found out here and that nobody sets.
SETTLED = (
    "Place",
    "MakeBucket",
    "MakeFleet",
    "MakeCanary",
    "MakeDevicePolicy",
    "MakeDeviceLogs",
    "CredentialsEndpoint",
)
DEVICE_LOGS = "/edge-agent/logs"
_MAKES = {
    "Bucket": "MakeBucket",
    "BucketPolicy": "MakeBucket",
    "Fleet": "MakeFleet",
    "Canary": "MakeCanary",
    "DevicePolicy": "MakeDevicePolicy",
    "DeviceLogs": "MakeDeviceLogs",
}
_NOT_LOCAL = {"AlarmPipe", "BucketPolicy", "DeviceRoleAlias", "Logging", "PipeRole"}
_LOGGING = {"LogGroup", "LoggingRole", "Logging"}


def settle(aws: Aws, wanted: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Return parameters with those that follow from the account.

    Args:
        aws: the account.
        wanted: every parameter that is known so far.
        before: those of the stack as it stands; empty: there is none.

    Raises:
        CloudError: ALREADY_EXISTS, the bucket is another account's; FAILED_PRECONDITION, the stack has another
            bucket; or as ``Aws.call``.
    """
    bucket_name = wanted["BucketName"] or _bucket_name(aws)
    if before.get("BucketName") not in (None, bucket_name):
        raise CloudError(
            Code.FAILED_PRECONDITION,
            f"BucketName: expected {before['BucketName']}, where releases and captures lie, came {bucket_name};"
            " a stack's bucket is chosen once",
        )
    named = {
        "MakeBucket": ("BucketName", bucket_name),
        "MakeFleet": ("FleetGroup", wanted["FleetGroup"]),
        "MakeCanary": ("CanaryGroup", wanted["CanaryGroup"]),
    }
    made = {make: _made(aws, make, key, name, before) for make, (key, name) in named.items()}
    made["MakeDevicePolicy"] = before.get("MakeDevicePolicy") or _word(not _has_policy(aws))
    made["MakeDeviceLogs"] = before.get("MakeDeviceLogs") or _word(device_logs(aws) is None)
    place, endpoint = ("local", "") if aws.is_local else ("aws", credentials_endpoint(aws))
    return {**wanted, **made, "BucketName": bucket_name, "Place": place, "CredentialsEndpoint": endpoint}


def credentials_endpoint(aws: Aws) -> str:
    """Return the host that lends credentials by certificate.

    Raises:
        CloudError: as ``Aws.call``.
    """
    return str(aws.call("iot", "describe_endpoint", endpointType="iot:CredentialProvider")["endpointAddress"])


def left_out(parameters: Mapping[str, str]) -> set[str]:
    """Return the template's resources that its conditions leave out; the local AWS lists changes of them too."""
    found = {resource for resource, make in _MAKES.items() if parameters[make] == "no"}
    if parameters["Place"] == "local":
        found |= _NOT_LOCAL
    return found | (_LOGGING if parameters["IotLogs"] == "DISABLED" else set())


def refuse_while_used(aws: Aws, stack: str) -> None:
    """Refuse to go on while certificates hold the stack's policies: CloudFormation would stop half-way.

    Raises:
        CloudError: FAILED_PRECONDITION.
    """
    for name in (policy.NAME, CLAIM_POLICY):
        holders = _targets(aws, name)
        if holders:
            raise CloudError(
                Code.FAILED_PRECONDITION,
                f"stack {stack}: expected no device to stand on it, {len(holders)} certificates hold the policy {name};"
                " take those devices out first",
            )


def _bucket_name(aws: Aws) -> str:
    account = aws.call("sts", "get_caller_identity")["Account"]
    return f"edge-agent-{account}-{aws.region}"


def _made(aws: Aws, make: str, key: str, name: str, before: Mapping[str, str]) -> str:
    if before.get(key) == name:
        return before[make]
    return _word(not (bucket.is_ours(aws, name) if make == "MakeBucket" else _has_group(aws, name)))


def _word(makes: bool) -> str:
    return "yes" if makes else "no"


def _has_group(aws: Aws, name: str) -> bool:
    return _is_there(aws, "describe_thing_group", thingGroupName=name)


def device_logs(aws: Aws) -> Mapping[str, Any] | None:
    """Return the log group of what devices tell, None where there is none.

    Raises:
        CloudError: as ``Aws.call``.
    """
    found = aws.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=DEVICE_LOGS)
    return next((group for group in found if group["logGroupName"] == DEVICE_LOGS), None)


def _has_policy(aws: Aws) -> bool:
    return _is_there(aws, "get_policy", policyName=policy.NAME)


def _targets(aws: Aws, name: str) -> list[str]:
    try:
        return list(aws.pages("iot", "list_targets_for_policy", "targets", policyName=name))
    except CloudError as error:
        if error.code is Code.NOT_FOUND:
            return []
        raise


def _is_there(aws: Aws, operation: str, **arguments: Any) -> bool:
    return if_there(aws, "iot", operation, **arguments) is not None
