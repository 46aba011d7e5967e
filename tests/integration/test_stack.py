"""``edge-cloud stack``: told before it is done, the same when it is done again, and never the bucket."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_tools import cli
from cloud_tools.aws import Aws
from cloud_tools.fleet.log_reading import GROUP
from cloud_tools.local import Endpoints, LocalCloud, aws_environment
from cloud_tools.provision import existing, following, stack
from cloud_tools.provision.bucket import create_bucket
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt, Wishes
from edge_agent.config import read_settings
from tests.fakes.stacked import PATIENCE

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]
RULES = ("edge_agent_log", "edge_agent_alarm")
BUCKET = "edge-agent-000000000000-us-east-1"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """An account of these tests' own: what stands in it decides what a stack makes."""
    local = LocalCloud(tmp_path_factory.mktemp("stack-cloud"))
    try:
        yield local.start()
    finally:
        local.stop()


@pytest.fixture
def account(cloud: Endpoints, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Aws]:
    """The account, empty but for buckets, which stay; what the test leaves is taken away."""
    for name, value in aws_environment(cloud).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("EDGE_CLOUD_STACK", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    aws = Aws()
    yield aws
    for found in aws.call("cloudformation", "describe_stacks")["Stacks"]:
        begun = following.begin(aws, found["StackName"])
        aws.call("cloudformation", "delete_stack", StackName=found["StackName"])
        following.follow(aws, begun, lambda _: None, PATIENCE, ended=("DELETE_COMPLETE",))
    for name in (row["Name"] for row in aws.call("s3", "list_buckets")["Buckets"]):
        for version in aws.call("s3", "list_object_versions", Bucket=name).get("Versions", ()):
            aws.call("s3", "delete_object", Bucket=name, Key=version["Key"], VersionId=version["VersionId"])
        aws.call("s3", "delete_bucket", Bucket=name)
    for name in (each["thingName"] for each in aws.call("iot", "list_things")["things"]):
        aws.call("iot", "delete_thing", thingName=name)
    for name in (each["groupName"] for each in aws.call("iot", "list_thing_groups")["thingGroups"]):
        aws.call("iot", "delete_thing_group", thingGroupName=name)
    for name in (each["policyName"] for each in aws.call("iot", "list_policies")["policies"]):
        aws.call("iot", "delete_policy", policyName=name)
    off = {"thingIndexingMode": "OFF", "thingConnectivityIndexingMode": "OFF"}
    aws.call("iot", "update_indexing_configuration", thingIndexingConfiguration=off)


@pytest.fixture
def run(account: Aws, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``edge-cloud`` with ``--json``; return exit code, documents and what was said on stderr."""

    def run(*words: str) -> tuple[int, list[dict[str, Any]], str]:
        with pytest.raises(SystemExit) as end:
            cli.main([*words, "--json"])
        said = capsys.readouterr()
        return int(end.value.code or 0), [json.loads(line) for line in said.out.splitlines()], said.err

    return run


def resources(aws: Aws) -> set[str]:
    found = aws.call("cloudformation", "list_stack_resources", StackName=stack.DEFAULT_NAME)["StackResourceSummaries"]
    return {each["LogicalResourceId"] for each in found}


def told(document: dict[str, Any]) -> set[str]:
    return {change["resource"] for change in document["changes"]}


def test_a_stack_is_told_made_shown_and_the_second_time_left_as_it_is(account: Aws, run: Run) -> None:
    code, (first, end), said = run("stack", "deploy", "--yes")
    assert (code, first["new"], end["changed"]) == (0, True, True)
    assert told(first) == resources(account) | {"FleetIndex", "Bucket lifecycle"}
    assert "Bucket: CREATE_COMPLETE" in said
    assert end["outputs"]["Repository"] == f"s3://{BUCKET}/releases"
    assert any("role alias" in words for words in end["lacking"])
    code, (again, end), _ = run("stack", "deploy")
    assert (code, again["changes"], end["changed"]) == (0, [], False)
    code, (shown,), _ = run("stack", "status")
    assert (code, shown["status"], shown["pending"]) == (0, "CREATE_COMPLETE", [])
    assert shown["outputs"] == end["outputs"]


def test_what_cloudformation_does_not_do_is_done_beside_it(account: Aws, run: Run) -> None:
    run("stack", "deploy", "--yes", "--parameter", "CaptureDays=30")
    index = account.call("iot", "get_indexing_configuration")
    assert index["thingIndexingConfiguration"]["thingIndexingMode"] == "REGISTRY_AND_SHADOW"
    assert index["thingIndexingConfiguration"]["thingConnectivityIndexingMode"] == "STATUS"
    assert index["thingGroupIndexingConfiguration"]["thingGroupIndexingMode"] == "ON"
    rules = account.call("s3", "get_bucket_lifecycle_configuration", Bucket=BUCKET)["Rules"]
    assert [rule["ID"] for rule in rules] == ["uploads-that-were-given-up", "old-versions", "captures"]
    assert rules[-1]["Expiration"] == {"Days": 30}
    assert account.call("s3", "get_bucket_versioning", Bucket=BUCKET)["Status"] == "Enabled"


def test_what_devices_tell_is_handed_on_as_far_as_this_aws_can(account: Aws, run: Run) -> None:
    code, documents, _ = run("stack", "deploy", "--yes", "--parameter", "LogDays=7")
    outputs = documents[-1]["outputs"]
    assert (code, outputs["Logs"]) == (0, GROUP)
    (group,) = account.call("logs", "describe_log_groups", logGroupNamePrefix=GROUP)["logGroups"]
    assert group["retentionInDays"] == 7
    rules = {name: account.call("iot", "get_topic_rule", ruleName=name)["rule"] for name in RULES}
    assert rules["edge_agent_log"]["actions"][0]["cloudwatchLogs"]["logGroupName"] == GROUP
    assert rules["edge_agent_alarm"]["actions"][0]["sqs"]["queueUrl"] == outputs["Alarms"]
    code, (shown,), _ = run("stack", "status")
    assert {words.partition(":")[0] for words in shown["lacking"]} > {"device logs", "pipes to EventBridge"}
    assert run("stack", "delete", "--yes")[0] == 0
    assert account.call("logs", "describe_log_groups", logGroupNamePrefix=GROUP)["logGroups"] == []
    assert account.call("iot", "list_topic_rules")["rules"] == []


@pytest.fixture
def own_logs(account: Aws) -> Iterator[None]:
    """A log group for devices that somebody made by hand, before any stack."""
    account.call("logs", "create_log_group", logGroupName=GROUP)
    yield
    account.call("logs", "delete_log_group", logGroupName=GROUP)


@pytest.mark.usefixtures("own_logs")
def test_a_log_group_that_was_made_by_hand_is_used_as_it_is_and_never_deleted(account: Aws, run: Run) -> None:
    code, (plan, end), _ = run("stack", "deploy", "--yes")
    assert (code, end["outputs"]["Logs"]) == (0, GROUP)
    assert "DeviceLogs" not in told(plan) | resources(account)
    assert any("was there before and stays as it is: what devices tell is kept for ever" in n for n in plan["notes"])
    rule = account.call("iot", "get_topic_rule", ruleName="edge_agent_log")["rule"]
    assert rule["actions"][0]["cloudwatchLogs"]["logGroupName"] == GROUP
    assert run("stack", "deploy")[1][0]["changes"] == []
    assert run("stack", "delete", "--yes")[0] == 0
    assert existing.device_logs(account) is not None


def test_a_stack_that_made_the_log_group_before_it_was_asked_about_keeps_it(account: Aws, run: Run) -> None:
    run("stack", "deploy", "--yes")
    known = stack.get(account, stack.DEFAULT_NAME)
    older = [each for each in known["Parameters"] if each["ParameterKey"] != "MakeDeviceLogs"]
    before = stack._before({**known, "Parameters": older})
    assert existing.settle(account, _defaults(BUCKET), before)["MakeDeviceLogs"] == "yes"
    assert "DeviceLogs" in resources(account)


def test_a_dry_run_tells_everything_and_leaves_nothing(account: Aws, run: Run) -> None:
    code, (plan,), _ = run("stack", "deploy", "--dry-run")
    assert code == 0
    assert {"Bucket", "DeviceRole", "Enrolling"} < told(plan)
    assert account.call("cloudformation", "describe_stacks")["Stacks"] == []
    assert account.call("s3", "list_buckets")["Buckets"] == []
    assert run("stack", "status")[0] == 3


def test_a_change_keeps_what_was_said_before_and_a_dry_run_of_it_changes_nothing(account: Aws, run: Run) -> None:
    run("stack", "deploy", "--yes", "--parameter", "FleetGroup=hall-2", "--parameter", "IotLogs=ERROR")
    assert {"LogGroup", "LoggingRole"} < resources(account)
    code, (plan,), _ = run("stack", "deploy", "--parameter", "IotLogs=DISABLED", "--dry-run")
    gone = {change["resource"] for change in plan["changes"] if change["action"] == "Remove"}
    assert (code, gone) == (0, {"LogGroup", "LoggingRole"})
    assert {"LogGroup", "LoggingRole"} < resources(account)
    code, (plan, end), _ = run("stack", "deploy", "--parameter", "IotLogs=DISABLED", "--yes")
    assert (code, plan["new"], end["outputs"]["Fleet"]) == (0, False, "hall-2")
    assert not {"LogGroup", "LoggingRole"} & resources(account)


def test_without_a_person_to_ask_nothing_is_changed(account: Aws, run: Run) -> None:
    code, documents, said = run("stack", "deploy")
    assert (code, len(documents)) == (2, 1)
    assert "expected --yes" in said
    assert account.call("cloudformation", "describe_stacks")["Stacks"] == []


@pytest.mark.parametrize(
    ("parameter", "code", "words"),
    [
        ("CaptureDayz=3", 2, "expected one of BucketName, CanaryGroup, CaptureDays"),
        ("Place=aws", 2, "expected one of"),
        ("CaptureDays", 2, "expected NAME=VALUE"),
        ("CaptureDays=many", 2, "CaptureDays"),
        ("BucketName=Line", 2, "BucketName"),
    ],
)
def test_a_wrong_parameter_is_named_and_nothing_is_left(
    account: Aws, run: Run, parameter: str, code: int, words: str
) -> None:
    ended, documents, said = run("stack", "deploy", "--yes", "--parameter", parameter)
    assert (ended, documents) == (code, [])
    assert words in said
    assert stack.find(account, stack.DEFAULT_NAME) is None


def test_a_stack_keeps_its_bucket(account: Aws, run: Run) -> None:
    run("stack", "deploy", "--yes", "--parameter", "BucketName=line-of-before")
    code, documents, said = run("stack", "deploy", "--yes", "--parameter", "BucketName=another")
    assert (code, documents) == (4, [])
    assert "expected line-of-before, where releases and captures lie" in said


def test_what_the_account_has_already_is_used_as_it_is_and_never_deleted(
    account: Aws, run: Run, cloud: Endpoints, tmp_path: Path
) -> None:
    create_bucket(account, "line-of-before")
    mqtt = Mqtt(cloud.mqtt_host, cloud.mqtt_port, cloud.ca_pem.read_text())
    made = provision_device(account, "press-1", tmp_path, wishes=Wishes(mqtt))
    code, (plan, _), _ = run("stack", "deploy", "--yes", "--parameter", "BucketName=line-of-before")
    assert code == 0
    assert not {"Bucket", "Fleet", "DevicePolicy"} & told(plan)
    assert any("versioning is off" in words for words in plan["notes"])
    assert "Bucket" not in resources(account)
    # One device holds on to the policy: the stack stays whole.
    code, _, said = run("stack", "delete", "--yes")
    assert code == 4
    assert "1 certificates hold the policy edge-agent-device" in said
    assert "Enrolling" in resources(account)
    _retire(account, made.certificate_id, "press-1")
    assert run("stack", "delete", "--yes")[0] == 0
    assert existing.settle(account, _defaults("line-of-before"), {})["MakeDevicePolicy"] == "no"


def test_a_deleted_stack_leaves_its_bucket_with_every_release_and_the_next_one_takes_it(account: Aws, run: Run) -> None:
    run("stack", "deploy", "--yes")
    account.call("s3", "put_object", Bucket=BUCKET, Key="releases/metadata/1.root.json", Body=b"root")
    code, (gone,), _ = run("stack", "delete", "--yes")
    assert (code, gone) == (0, {"stack": "edge-agent", "deleted": True, "bucket": BUCKET})
    held = account.call("s3", "get_object", Bucket=BUCKET, Key="releases/metadata/1.root.json")["Body"].read()
    assert held == b"root"
    assert run("stack", "status")[0] == run("stack", "delete", "--yes")[0] == 3
    code, (plan, end), _ = run("stack", "deploy", "--yes")
    assert (code, "Bucket" in told(plan), plan["notes"]) == (0, False, [])
    assert end["outputs"]["Bucket"] == BUCKET


def test_a_failure_half_way_is_told_with_its_reason_and_taken_back(account: Aws, run: Run) -> None:
    everything = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    account.call("iot", "create_policy", policyName="edge-agent-claim", policyDocument=document)
    code, _, said = run("stack", "deploy", "--yes")
    assert code == 4
    assert "edge-agent-claim" in said
    assert stack.find(account, stack.DEFAULT_NAME) is None
    assert account.call("s3", "list_buckets")["Buckets"] == []


def test_a_fleet_index_that_knows_more_is_not_turned_down(account: Aws, run: Run) -> None:
    more = {
        "thingIndexingMode": "REGISTRY_AND_SHADOW",
        "thingConnectivityIndexingMode": "STATUS",
        "customFields": [{"name": "attributes.hall", "type": "String"}],
    }
    account.call("iot", "update_indexing_configuration", thingIndexingConfiguration=more)
    run("stack", "deploy", "--yes")
    kept = account.call("iot", "get_indexing_configuration")["thingIndexingConfiguration"]
    assert kept["customFields"] == more["customFields"]


def test_a_device_is_provisioned_from_what_the_stack_says(
    account: Aws, run: Run, cloud: Endpoints, tmp_path: Path
) -> None:
    run("stack", "deploy", "--yes")
    words = ("device", "provision", "press-7", "--dir", str(tmp_path / "d"), "--stack", "edge-agent")
    code, (made,), _ = run(*words)
    assert code == 0
    settings = read_settings(tmp_path / "d" / "config.toml")
    assert settings.repository.url == f"s3://{BUCKET}/releases"
    assert settings.capture.url == f"s3://{BUCKET}/captures/press-7"
    _retire(account, made["certificate_id"], "press-7")
    assert run("device", "provision", "press-8", "--dir", str(tmp_path / "e"), "--stack", "nowhere")[0] == 3


class OnAws(Aws):
    """The local AWS, taken for the real one."""

    @property
    def is_local(self) -> bool:
        return False


def test_on_aws_the_template_is_told_where_credentials_are_lent_and_that_tls_is_spoken(account: Aws) -> None:
    wanted = existing.settle(OnAws(), _defaults("line"), {})
    expected = account.call("iot", "describe_endpoint", endpointType="iot:CredentialProvider")["endpointAddress"]
    assert (wanted["Place"], wanted["CredentialsEndpoint"]) == ("aws", expected)
    assert existing.left_out({**wanted, "IotLogs": "ERROR"}) == set()


def test_a_device_of_aws_is_told_where_it_gets_credentials(account: Aws, cloud: Endpoints, tmp_path: Path) -> None:
    mqtt = Mqtt(cloud.mqtt_host, cloud.mqtt_port, cloud.ca_pem.read_text())
    wishes = Wishes(mqtt, "s3://line/releases", "s3://line/captures/press-9")
    made = provision_device(OnAws(), "press-9", tmp_path, wishes=wishes)
    repository = read_settings(made.config).repository
    expected = account.call("iot", "describe_endpoint", endpointType="iot:CredentialProvider")["endpointAddress"]
    assert (repository.credentials, repository.role_alias) == ("aws-iot", "edge-agent-device")
    assert repository.credentials_endpoint == expected
    assert not (tmp_path / "credentials.json").exists()
    _retire(account, made.certificate_id, "press-9")


def _retire(aws: Aws, certificate_id: str, thing: str) -> None:
    arn = aws.call("iot", "describe_certificate", certificateId=certificate_id)["certificateDescription"][
        "certificateArn"
    ]
    aws.call("iot", "detach_policy", policyName="edge-agent-device", target=arn)
    aws.call("iot", "detach_thing_principal", thingName=thing, principal=arn)


def _defaults(bucket: str) -> dict[str, str]:
    return {"BucketName": bucket, "FleetGroup": "default", "CanaryGroup": "canary"}
