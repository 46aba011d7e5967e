"""Makes one device known to the cloud, and writes what has to lie on it."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.aws import Aws, if_there
from cloud_tools.errors import CloudError
from cloud_tools.provision import identity, policy
from cloud_tools.provision.certificate import ensure_certificate
from cloud_tools.provision.existing import credentials_endpoint
from cloud_tools.provision.fragment import CREDENTIALS, Mqtt, Wishes, check_root, configuration
from cloud_tools.provision.retire import RETIRED
from edge_agent.config import THING_PATTERN
from edge_agent.config.fragment import AUTHORITY, CERTIFICATE, CONFIG, KEY, ROOT
from edge_agent.errors import Code

_SECURE_MQTT_PORT = 8883
_NO_WISHES = Wishes()


class Device(NamedTuple):
    """A provisioned device; ``notes`` are for a person."""

    thing: str
    arn: str
    fleet: str
    certificate_id: str
    directory: Path
    config: Path
    notes: tuple[str, ...] = ()


def provision_device(
    aws: Aws, thing: str, directory: Path, *, fleet: str = "default", wishes: Wishes = _NO_WISHES, request: str = ""
) -> Device:
    """Create thing, group, policy and certificate as far as they lack, and write the device's files.

    Asked again it changes nothing; after the cloud lost the certificate, the same key gets a new one.

    Args:
        aws: the account.
        thing: the thing's name.
        directory: gets config.toml, certificate.pem, private.key (0600), ca.pem, root.json,
            and for a local AWS credentials.json (0600).
        fleet: the thing group's name, as captures are filed under it.
        wishes: where MQTT, releases and captures are, and whom the device trusts.
        request: the device's own signing request, PEM: its key stays there; empty: the key is made here.

    Raises:
        CloudError: a name is malformed, the directory or the thing is another's, or AWS refused.
    """
    for what, name in (("thing", thing), ("fleet", fleet)):
        if not re.fullmatch(THING_PATTERN, name):
            raise CloudError(Code.INVALID_ARGUMENT, f"{what}: expected 1 to 128 of a-z A-Z 0-9 : _ -, came {name!r}")
    check_root(wishes)
    if request:
        identity.read_request(request, thing)
    directory = directory.resolve()
    mqtt = wishes.mqtt or _find_mqtt(aws)
    wishes = _with_credentials(aws, wishes)
    text = configuration(thing, fleet, mqtt, wishes, directory=wishes.installed or directory, local=aws.is_local)
    _refuse_other_content(directory / CONFIG, text)
    _refuse_other_content(directory / ROOT, wishes.root)
    known = _fleet_of(aws, thing)
    if known not in (None, "", fleet):
        raise CloudError(Code.ALREADY_EXISTS, f"thing {thing}: expected fleet {fleet}, it belongs to {known}")
    _make_directory(directory)
    key, request = _asked(directory, thing, request)
    arn = _create_thing(aws, thing, fleet, known)
    notes = _create_policy(aws, arn)
    certificate_id = ensure_certificate(aws, thing, directory / CERTIFICATE, key, request)
    _write_files(aws, directory, wishes._replace(mqtt=mqtt), text)
    return Device(thing, arn, fleet, certificate_id, directory, directory / CONFIG, notes)


def _asked(directory: Path, thing: str, request: str) -> tuple[Any, str]:
    """Return the public key and the request for it."""
    if request:
        return identity.read_request(request, thing), request
    key = identity.read_or_make_key(directory / KEY)
    return key.public_key(), identity.signing_request(key, thing)


def _find_mqtt(aws: Aws) -> Mqtt:
    address: str = aws.call("iot", "describe_endpoint", endpointType="iot:Data-ATS")["endpointAddress"]
    if aws.is_local or ":" in address:
        raise CloudError(
            Code.CONFIG_INVALID,
            'a local AWS does not tell its MQTT port: eval "$(edge-cloud local env)", or give --mqtt and --mqtt-ca',
        )
    return Mqtt(address, _SECURE_MQTT_PORT)


def _with_credentials(aws: Aws, wishes: Wishes) -> Wishes:
    urls = (wishes.repository_url, wishes.capture_url)
    if aws.is_local or not any(url.startswith("s3:") for url in urls):
        return wishes
    return wishes._replace(credentials_endpoint=credentials_endpoint(aws), role_alias=policy.NAME)


def _refuse_other_content(path: Path, text: str) -> None:
    if not path.exists():
        return
    found = path.read_text(encoding="utf-8", errors="replace")
    # What a person added below stays; what stands here of ours must be what would be written.
    if not found.startswith(text):
        raise CloudError(
            Code.ALREADY_EXISTS, f"{path}: expected no file or what would be written; move it away to write it anew"
        )


def _fleet_of(aws: Aws, thing: str) -> str | None:
    found = if_there(aws, "iot", "describe_thing", thingName=thing)
    return None if found is None else str(found.get("attributes", {}).get("fleet", ""))


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CloudError(Code.STORAGE_FAILED, f"{directory}: expected a directory to write to, {exc.strerror}") from exc


def _create_thing(aws: Aws, thing: str, fleet: str, known: str | None) -> str:
    if known is None:
        aws.call("iot", "create_thing", thingName=thing, attributePayload={"attributes": {"fleet": fleet}})
    elif known == "":
        # Whoever was retired comes back so.
        attributes = {"attributes": {"fleet": fleet, RETIRED: ""}, "merge": True}
        aws.call("iot", "update_thing", thingName=thing, attributePayload=attributes)
    _unless_there(aws, "create_thing_group", thingGroupName=fleet)
    aws.call("iot", "add_thing_to_thing_group", thingGroupName=fleet, thingName=thing)
    return str(aws.call("iot", "describe_thing", thingName=thing)["thingArn"])


def _create_policy(aws: Aws, thing_arn: str) -> tuple[str, ...]:
    wanted = policy.document(thing_arn)
    if _unless_there(aws, "create_policy", policyName=policy.NAME, policyDocument=wanted):
        return ()
    found = aws.call("iot", "get_policy", policyName=policy.NAME)["policyDocument"]
    if json.loads(found) == json.loads(wanted):
        return ()
    return (f"policy {policy.NAME} differs from the one that this release would make; it is kept as it is",)


def _unless_there(aws: Aws, operation: str, **arguments: Any) -> bool:
    try:
        aws.call("iot", operation, **arguments)
    except CloudError as error:
        if error.code is Code.ALREADY_EXISTS:
            return False
        raise
    return True


def _write_files(aws: Aws, directory: Path, wishes: Wishes, text: str) -> None:
    if wishes.mqtt and wishes.mqtt.ca:
        identity.write(directory / AUTHORITY, wishes.mqtt.ca, identity.PUBLIC)
    if wishes.root:
        identity.write(directory / ROOT, wishes.root, identity.PUBLIC)
    if aws.is_local:
        access_key_id, secret, token = aws.credentials()
        content = {"endpoint": aws.endpoint_url, "region": aws.region, "access_key_id": access_key_id}
        content |= {"secret_access_key": secret} | ({"session_token": token} if token else {})
        identity.write(directory / CREDENTIALS, json.dumps(content, indent=1) + "\n", identity.PRIVATE)
    if not (directory / CONFIG).exists():
        identity.write(directory / CONFIG, text, identity.PUBLIC)
