"""Provisioning: what a device gets, asked for once or again, and what is refused."""

import json
import stat
import uuid
from pathlib import Path

import pytest

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.local import Endpoints
from cloud_tools.provision import policy
from cloud_tools.provision.bucket import create_bucket, list_buckets
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt, Wishes
from cloud_tools.provision.listing import list_devices, show_device
from edge_agent.config import read_settings
from edge_agent.errors import Code


@pytest.fixture
def wishes(local_cloud: Endpoints) -> Wishes:
    mqtt = Mqtt(local_cloud.mqtt_host, local_cloud.mqtt_port, local_cloud.ca_pem.read_text())
    return Wishes(mqtt, "s3://releases/line", "s3://captures")


@pytest.fixture
def thing() -> str:
    return f"line-{uuid.uuid4().hex[:8]}"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_device_gets_everything_that_its_settings_name(
    aws: Aws, wishes: Wishes, thing: str, tmp_path: Path, local_cloud: Endpoints
) -> None:
    made = provision_device(aws, thing, tmp_path / "d", fleet=f"{thing}-fleet", wishes=wishes)
    settings = read_settings(made.config)
    assert (settings.device.thing, settings.device.fleet) == (thing, f"{thing}-fleet")
    assert (settings.mqtt.endpoint, settings.mqtt.port) == (local_cloud.mqtt_host, local_cloud.mqtt_port)
    for path in (settings.mqtt.certificate, settings.mqtt.private_key, settings.mqtt.ca):
        assert path is not None
        assert path.read_text().startswith("-----BEGIN")
    assert settings.repository.url == "s3://releases/line"
    assert settings.repository.credentials == settings.capture.credentials == f"file:{tmp_path / 'd/credentials.json'}"
    credentials = json.loads((tmp_path / "d" / "credentials.json").read_text())
    assert credentials == {
        "endpoint": local_cloud.gateway_url,
        "region": "us-east-1",
        "access_key_id": "test",
        "secret_access_key": "test",
    }
    assert mode(tmp_path / "d" / "credentials.json") == mode(tmp_path / "d" / "private.key") == 0o600
    shown = show_device(aws, thing)
    assert (shown["fleet"], shown["groups"]) == (f"{thing}-fleet", [f"{thing}-fleet"])
    assert shown["certificates"] == [{"id": made.certificate_id, "status": "ACTIVE"}]
    assert list_devices(aws, f"{thing}-fleet") == [{"thing": thing, "fleet": f"{thing}-fleet"}]


def test_asking_again_changes_nothing(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    first = provision_device(aws, thing, tmp_path, wishes=wishes)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert provision_device(aws, thing, tmp_path, wishes=wishes) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert len(show_device(aws, thing)["certificates"]) == 1


def test_settings_that_a_person_added_below_stay(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    config = provision_device(aws, thing, tmp_path, wishes=wishes).config
    config.write_text(config.read_text() + "\n[telemetry]\nlevel = 'DEBUG'\n")
    provision_device(aws, thing, tmp_path, wishes=wishes)
    assert read_settings(config).telemetry.level == "DEBUG"


def test_settings_of_something_else_are_never_overwritten(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[device]\nthing = 'other'\n")
    with pytest.raises(CloudError) as caught:
        provision_device(aws, thing, tmp_path, wishes=wishes)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    assert thing not in [row["thing"] for row in list_devices(aws)]


def test_a_thing_of_another_fleet_is_not_moved(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    provision_device(aws, thing, tmp_path / "a", fleet="east", wishes=wishes)
    with pytest.raises(CloudError, match="belongs to east") as caught:
        provision_device(aws, thing, tmp_path / "b", fleet="west", wishes=wishes)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert not (tmp_path / "b").exists()


def test_a_thing_that_was_made_without_a_fleet_gets_one(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    aws.call("iot", "create_thing", thingName=thing, attributePayload={"attributes": {"site": "hall-2"}})
    provision_device(aws, thing, tmp_path, fleet="east", wishes=wishes)
    attributes = aws.call("iot", "describe_thing", thingName=thing)["attributes"]
    assert attributes == {"site": "hall-2", "fleet": "east"}


def test_another_things_certificate_is_not_taken_over(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    provision_device(aws, thing, tmp_path, wishes=wishes)
    (tmp_path / "config.toml").unlink()
    with pytest.raises(CloudError, match=thing) as caught:
        provision_device(aws, f"{thing}-b", tmp_path, wishes=wishes)
    assert caught.value.code is Code.ALREADY_EXISTS


def test_a_certificate_that_was_taken_out_of_service_is_not_replaced_silently(
    aws: Aws, wishes: Wishes, thing: str, tmp_path: Path
) -> None:
    made = provision_device(aws, thing, tmp_path, wishes=wishes)
    aws.call("iot", "update_certificate", certificateId=made.certificate_id, newStatus="INACTIVE")
    with pytest.raises(CloudError, match="INACTIVE") as caught:
        provision_device(aws, thing, tmp_path, wishes=wishes)
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_a_key_that_others_may_read_is_refused(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    provision_device(aws, thing, tmp_path, wishes=wishes)
    (tmp_path / "private.key").chmod(0o644)
    with pytest.raises(CloudError, match="0600") as caught:
        provision_device(aws, thing, tmp_path, wishes=wishes)
    assert caught.value.code is Code.PERMISSION_DENIED


@pytest.mark.parametrize("content", ["", "text", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_file_that_holds_no_key_is_said(
    aws: Aws, wishes: Wishes, thing: str, tmp_path: Path, content: str
) -> None:
    (tmp_path / "private.key").write_text(content)
    (tmp_path / "private.key").chmod(0o600)
    with pytest.raises(CloudError, match=r"private\.key"):
        provision_device(aws, thing, tmp_path, wishes=wishes)
    assert (tmp_path / "private.key").read_text() == content


def test_a_local_aws_without_its_mqtt_address_is_a_matter_of_configuration(
    aws: Aws, thing: str, tmp_path: Path
) -> None:
    with pytest.raises(CloudError, match="local env") as caught:
        provision_device(aws, thing, tmp_path / "d")
    assert caught.value.code is Code.CONFIG_INVALID
    assert not (tmp_path / "d").exists()


def test_paths_can_be_those_that_the_device_will_have(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    made = provision_device(aws, thing, tmp_path, wishes=wishes._replace(installed=Path("/etc/edge-agent")))
    assert str(read_settings(made.config).mqtt.private_key) == "/etc/edge-agent/private.key"


def test_the_root_of_trust_is_pinned_once(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    root = json.dumps({"signed": {"_type": "root", "version": 1}, "signatures": []})
    made = provision_device(aws, thing, tmp_path, wishes=wishes._replace(root=root))
    trust = read_settings(made.config).trust
    assert trust.root == tmp_path / "root.json"
    assert trust.root.read_text() == root
    assert not trust.allow_demo_root
    other = wishes._replace(root=root.replace("1", "2"))
    with pytest.raises(CloudError, match=r"root\.json") as caught:
        provision_device(aws, thing, tmp_path, wishes=other)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert trust.root.read_text() == root


def test_a_demos_root_is_taken_only_where_it_is_allowed(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    demo = wishes._replace(root=json.dumps({"signed": {"_type": "root", "demo": True}, "signatures": []}))
    with pytest.raises(CloudError, match="--allow-demo-root") as caught:
        provision_device(aws, thing, tmp_path / "d", wishes=demo)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert not (tmp_path / "d").exists()
    made = provision_device(aws, thing, tmp_path / "d", wishes=demo._replace(allow_demo_root=True))
    assert read_settings(made.config).trust.allow_demo_root


@pytest.mark.parametrize("root", ["text", "[]", "{}", '{"signed": []}', '{"signed": {"_type": "targets"}}'])
def test_what_is_no_root_is_not_pinned(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path, root: str) -> None:
    with pytest.raises(CloudError, match=r"root\.json") as caught:
        provision_device(aws, thing, tmp_path / "d", wishes=wishes._replace(root=root))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert not (tmp_path / "d").exists()


def test_a_policy_that_differs_is_kept_and_said(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> None:
    made = provision_device(aws, thing, tmp_path / "a", wishes=wishes)
    assert made.notes == ()
    own = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "iot:*", "Resource": "*"}]})
    aws.call("iot", "create_policy_version", policyName=policy.NAME, policyDocument=own, setAsDefault=True)
    try:
        again = provision_device(aws, f"{thing}-b", tmp_path / "b", wishes=wishes)
        assert "kept" in again.notes[0]
        kept = aws.call("iot", "get_policy", policyName=policy.NAME)["policyDocument"]
        assert json.loads(kept) == json.loads(own)
    finally:
        aws.call("iot", "set_default_policy_version", policyName=policy.NAME, policyVersionId="1")
        aws.call("iot", "delete_policy_version", policyName=policy.NAME, policyVersionId="2")


def test_a_bucket_is_private_and_made_once(aws: Aws, thing: str) -> None:
    assert create_bucket(aws, thing)
    assert not create_bucket(aws, thing)
    assert thing in [row["name"] for row in list_buckets(aws)]
    closed = aws.call("s3", "get_public_access_block", Bucket=thing)["PublicAccessBlockConfiguration"]
    assert set(closed.values()) == {True}
    assert len(closed) == 4
