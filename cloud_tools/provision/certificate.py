"""A device's certificate in AWS: made from the device's own request, attached to thing and policy."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from cloud_tools.aws import Aws, if_there
from cloud_tools.errors import CloudError
from cloud_tools.provision import identity, policy
from edge_agent.errors import Code


def ensure_certificate(aws: Aws, thing: str, path: Path, key: PublicKeyTypes, request: str) -> str:
    """Return the id of the thing's active certificate for ``key``; have one made of ``request`` when AWS has none.

    Raises:
        CloudError: ``path`` holds another thing's certificate, or one that was taken out of service.
    """
    found = identity.read_certificate(path, key)
    arn = _active_arn(aws, thing, found, path) if found else None
    if arn is None:
        made = aws.call("iot", "create_certificate_from_csr", certificateSigningRequest=request, setAsActive=True)
        identity.write(path, made["certificatePem"], identity.PUBLIC)
        arn = made["certificateArn"]
    aws.call("iot", "attach_policy", policyName=policy.NAME, target=arn)
    aws.call("iot", "attach_thing_principal", thingName=thing, principal=arn)
    return arn.rpartition("/")[2]


def _active_arn(aws: Aws, thing: str, found: identity.Certificate, path: Path) -> str | None:
    if found.thing != thing[:64]:
        raise CloudError(Code.ALREADY_EXISTS, f"{path}: expected thing {thing}'s certificate, it is {found.thing}'s")
    answer = if_there(aws, "iot", "describe_certificate", certificateId=found.certificate_id)
    if answer is None:
        return None
    known = answer["certificateDescription"]
    if known["status"] != "ACTIVE":
        raise CloudError(
            Code.FAILED_PRECONDITION,
            f"{path}: expected an ACTIVE certificate, it is {known['status']}; without file and key another is made",
        )
    return str(known["certificateArn"])
