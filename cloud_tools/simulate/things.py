"""The things of a simulated fleet in an account: a group of them, and one certificate that is attached to each.

AWS IoT tells a connection's thing by its client id among the things of its certificate, so one certificate serves all
simulated devices with the same policy that real ones have. Asked again, what is there already is taken as it is.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.output import progress
from cloud_tools.provision import identity, policy
from cloud_tools.provision.certificate import ensure_certificate
from cloud_tools.simulate import limits
from edge_agent.config import Mqtt
from edge_agent.errors import Code

SIMULATED: Final = "simulated"
"""The attribute by which things and groups that were made here are told from others."""
_SECURE_PORT: Final = 8883
_LAST_PORT: Final = 65_535
# AWS IoT: a thing's name has at most 128 characters; the number needs six.
_FLEET: Final = re.compile(r"[a-zA-Z0-9:_-]{1,122}")


class Place(NamedTuple):
    """Where simulated devices connect, and where their key lies.

    ``mqtt`` is HOST:PORT, empty: the account's endpoint; ``ca`` its authority, None: the system's. ``anywhere`` allows
    an account that is not on this machine.
    """

    mqtt: str
    ca: Path | None
    directory: Path
    reconnect_max_s: float = 120.0
    anywhere: bool = False


class Identity(NamedTuple):
    """Certificate and key that the devices show; PEM files."""

    certificate: Path
    private_key: Path


def identity_in(directory: Path) -> Identity:
    """Return where a fleet's certificate and key lie, or would lie."""
    return Identity(directory / "certificate.pem", directory / "private.key")


def names(fleet: str, devices: int) -> list[str]:
    """Return the names of a fleet's things."""
    return [f"{fleet}-{number:05}" for number in range(1, devices + 1)]


def connection(aws: Aws, fleet: str, devices: int, place: Place) -> Mqtt:
    """Return how the devices connect; their things are there then.

    Raises:
        CloudError: FAILED_PRECONDITION, the account is not on this machine and nobody said that it may be; else as
            ``provide_things``.
    """
    check_account(aws, fleet, f"{devices} things would be made there", anywhere=place.anywhere)
    limits.check(devices)
    host, port = _endpoint(aws, place.mqtt)
    if place.ca is None or not place.ca.is_file():
        raise CloudError(
            Code.CONFIG_INVALID,
            f"--mqtt-ca: expected the authority of {host} (PEM; AWS: AmazonRootCA1), came {place.ca}",
        )
    identity = provide_things(aws, fleet, devices, place.directory)
    return Mqtt(
        endpoint=host,
        port=port,
        certificate=identity.certificate,
        private_key=identity.private_key,
        ca=place.ca,
        reconnect_max_s=place.reconnect_max_s,
    )


def check_account(aws: Aws, fleet: str, what: str, *, anywhere: bool) -> None:
    """Refuse what is no fleet's name, and an account that is not on this machine unless that is allowed.

    Raises:
        CloudError: INVALID_ARGUMENT; FAILED_PRECONDITION, which says ``what`` would be done there.
    """
    if not _FLEET.fullmatch(fleet):
        raise CloudError(Code.INVALID_ARGUMENT, f"--fleet: expected 1 to 122 of a-z A-Z 0-9 : _ -, came {fleet!r}")
    if not (aws.is_local or anywhere):
        message = f"expected an AWS on this machine, came {aws.endpoint_url}: {what}; --yes allows it"
        raise CloudError(Code.FAILED_PRECONDITION, message)


def _endpoint(aws: Aws, mqtt: str) -> tuple[str, int]:
    if not mqtt and aws.is_local:
        raise CloudError(
            Code.CONFIG_INVALID,
            'a local AWS does not tell its MQTT port: eval "$(edge-cloud local env)", or give --mqtt',
        )
    if not mqtt:
        return str(aws.call("iot", "describe_endpoint", endpointType="iot:Data-ATS")["endpointAddress"]), _SECURE_PORT
    host, _, port = mqtt.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= _LAST_PORT:
        raise CloudError(Code.INVALID_ARGUMENT, f"--mqtt: expected HOST:PORT, came {mqtt!r}")
    return host, int(port)


def provide_things(aws: Aws, fleet: str, devices: int, directory: Path) -> Identity:
    """Create group, policy, certificate and things as far as they lack.

    Args:
        aws: the account.
        fleet: the group's name; the things are ``FLEET-00001`` and so on.
        devices: how many.
        directory: gets certificate.pem and private.key (0600).

    Raises:
        CloudError: the directory cannot be written, holds another fleet's certificate, or AWS refused.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CloudError(Code.STORAGE_FAILED, f"{directory}: expected a directory to write to, {exc.strerror}") from exc
    files = identity_in(directory)
    marked = {"attributePayload": {"attributes": {SIMULATED: "true"}}}
    _unless_there(aws, "create_thing_group", thingGroupName=fleet, thingGroupProperties=marked)
    wanted = names(fleet, devices)
    _create_thing(aws, wanted[0], fleet)
    arn = str(aws.call("iot", "describe_thing", thingName=wanted[0])["thingArn"])
    _unless_there(aws, "create_policy", policyName=policy.NAME, policyDocument=policy.document(arn))
    key = identity.read_or_make_key(files.private_key)
    request = identity.signing_request(key, wanted[0])
    principal = _certificate_arn(arn, ensure_certificate(aws, wanted[0], files.certificate, key.public_key(), request))
    known = set(aws.pages("iot", "list_things_in_thing_group", "things", thingGroupName=fleet))
    attached = set(aws.pages("iot", "list_principal_things", "things", principal=principal))
    with progress("things", devices) as done:
        for thing in wanted:
            if thing not in known & attached:
                _provide(aws, thing, fleet, principal)
            done(1)
    return files


def _provide(aws: Aws, thing: str, fleet: str, principal: str) -> None:
    _create_thing(aws, thing, fleet)
    aws.call("iot", "attach_thing_principal", thingName=thing, principal=principal)
    aws.call("iot", "add_thing_to_thing_group", thingGroupName=fleet, thingName=thing)


def _create_thing(aws: Aws, thing: str, fleet: str) -> None:
    # Who looks at the account sees which things are not there.
    attributes = {"attributes": {"fleet": fleet, SIMULATED: "true"}}
    _unless_there(aws, "create_thing", thingName=thing, attributePayload=attributes)


def _certificate_arn(thing_arn: str, certificate_id: str) -> str:
    return f"{thing_arn.rpartition(':')[0]}:cert/{certificate_id}"


def _unless_there(aws: Aws, operation: str, **arguments: object) -> None:
    try:
        aws.call("iot", operation, **arguments)
    except CloudError as error:
        if error.code is not Code.ALREADY_EXISTS:
            raise
