"""The CloudFormation template: sound, as narrow as AWS lets it be, and one with what provisioning makes."""

import json
import subprocess
import sys
from typing import Any

import pytest

from cloud_tools.fleet.log_reading import GROUP
from cloud_tools.provision import existing, policy, stack
from edge_agent.formats import Alarm, AlarmDetail, LogNews
from edge_agent.formats.fleet import CLEARED, RAISED
from edge_agent.identity.enrolment import CLAIMING
from tests.fakes.stack_template import ACCOUNT, Statement, resolved, statements, template

ALLOWED = [each for each in statements() if each.effect == "Allow"]
# What AWS knows no resource for (Service Authorization Reference, AWS IoT): a wildcard is the only way to allow it.
WITHOUT_RESOURCE = {
    "iot:AttachThingPrincipal",
    "iot:CreateCertificateFromCsr",
    "iot:DescribeEndpoint",
    "iot:ListAttachedPolicies",
    "iot:ListJobs",
    "iot:ListPrincipalThings",
    "iot:ListThingGroups",
    "iot:ListThings",
    "iot:RegisterThing",
}
# Nobody whom the template gives anything may ever do these.
NEVER = (
    "s3:DeleteObject",
    "s3:DeleteBucket",
    "s3:PutBucketPolicy",
    "s3:PutLifecycleConfiguration",
    "iam:",
    "sts:",
    "kms:",
    "lambda:",
    "iot:CreatePolicyVersion",
    "iot:CreateKeysAndCertificate",
    "iot:DeleteThing",
)


def test_the_template_is_clean_to_cfn_lint() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from cfnlint.runner import main; main()", stack.TEMPLATE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_template_fits_into_one_request() -> None:
    assert stack.TEMPLATE.stat().st_size < 51_200


def test_a_device_certificate_may_in_the_template_what_provisioning_lets_it() -> None:
    root = f"arn:aws:iot:{ACCOUNT['AWS::Region']}:{ACCOUNT['AWS::AccountId']}"
    held = template()["Resources"]["DevicePolicy"]["Properties"]
    assert held["PolicyName"] == policy.NAME
    assert resolved(held["PolicyDocument"]) == json.loads(policy.document(f"{root}:thing/press-4"))


def test_every_parameter_but_the_bucket_has_a_default_and_all_are_explained() -> None:
    parameters = template()["Parameters"]
    assert {name for name, each in parameters.items() if "Default" not in each} == {"BucketName"}
    assert all(each["Description"] for each in parameters.values())
    assert set(existing.SETTLED) < set(parameters)


def test_no_policy_allows_a_wildcard_of_actions() -> None:
    assert ALLOWED
    assert [each for each in ALLOWED if any("*" in action for action in each.actions)] == []


def test_a_wildcard_of_resources_stands_only_where_aws_knows_no_resource() -> None:
    bare = [each for each in ALLOWED if "*" in each.resources]
    assert {each.sid for each in bare} == {"AwsKnowsNoResource"}
    assert {action for each in bare for action in each.actions} <= WITHOUT_RESOURCE


@pytest.mark.parametrize("statement", ALLOWED, ids=lambda each: f"{each.where}-{each.actions[0]}")
def test_every_resource_is_of_this_account_and_region_or_of_this_bucket(statement: Statement) -> None:
    own = f":{ACCOUNT['AWS::Region']}:{ACCOUNT['AWS::AccountId']}:"
    for resource in statement.resources:
        named = resource == "*" or own in resource or resource.startswith(("arn:aws:s3:::${BucketName}", "{"))
        assert named, resource


@pytest.mark.parametrize("word", NEVER)
def test_nobody_is_given_what_would_undo_the_others_limits(word: str) -> None:
    assert [each for each in ALLOWED if any(action.startswith(word) for action in each.actions)] == []


def test_devices_publisher_and_operator_write_and_never_at_the_same_place() -> None:
    writing = {each.where: each.resources for each in ALLOWED if "s3:PutObject" in each.actions}
    assert writing == {
        "DeviceRole": ("arn:aws:s3:::${BucketName}/captures/${credentials-iot:ThingName}/*",),
        "Publisher": ("arn:aws:s3:::${BucketName}/releases/*",),
        "Operator": ("arn:aws:s3:::${BucketName}/rollouts/*",),
    }


def test_only_the_operator_creates_jobs() -> None:
    assert {each.where for each in ALLOWED if "iot:CreateJob" in each.actions} == {"Operator"}


def test_the_pipe_makes_events_of_what_a_device_tells() -> None:
    made = resolved(template()["Resources"]["AlarmPipe"]["Properties"])
    (only,) = made["SourceParameters"]["FilterCriteria"]["Filters"]
    told = {name: field.alias or name for name, field in Alarm.model_fields.items()}
    assert json.loads(only["Pattern"]) == {"body": {"source": ["edge-agent"], told["detail_type"]: [RAISED, CLEARED]}}
    assert made["TargetParameters"] == {
        "EventBridgeEventBusParameters": {
            "Source": Alarm.model_fields["source"].default,
            "DetailType": f"$.body.{told['detail_type']}",
            "Time": f"$.body.{told['time']}",
        },
        "InputTemplate": f"<$.body.{told['detail']}>",
    }


def test_rules_take_of_a_device_only_what_names_itself() -> None:
    found = {
        name: each["Properties"]["TopicRulePayload"]
        for name, each in template()["Resources"].items()
        if each["Type"] == "AWS::IoT::TopicRule"
    }
    assert {name: each["Sql"] for name, each in found.items()} == {
        "LogRule": "SELECT * FROM 'edge-agent/+/log' WHERE thing = topic(2)",
        "AlarmRule": "SELECT * FROM 'edge-agent/+/alarm' WHERE detail.thing = topic(2)",
    }
    assert "thing" in LogNews.model_fields
    assert "thing" in AlarmDetail.model_fields
    assert template()["Resources"]["DeviceLogs"]["Properties"]["LogGroupName"] == GROUP == existing.DEVICE_LOGS


@pytest.mark.parametrize("role", ["RuleRole", "PipeRole"])
def test_a_role_for_a_service_is_taken_for_these_resources_of_this_account_alone(role: str) -> None:
    resources = template()["Resources"]
    (trust,) = resolved(resources[role]["Properties"]["AssumeRolePolicyDocument"])["Statement"]
    said = {key: value for test in trust["Condition"].values() for key, value in test.items()}
    assert said["aws:SourceAccount"] == {"Ref": "AWS::AccountId"}
    names = {
        str(each["Properties"].get("RuleName") or each["Properties"].get("Name"))
        for each in resources.values()
        if {"Fn::GetAtt": [role, "Arn"]} in _values(each)
    }
    sources = said["aws:SourceArn"]
    assert {one.rpartition("/")[2] for one in ([sources] if isinstance(sources, str) else sources)} == names


def _values(node: Any) -> list[Any]:
    inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return [*inner, *(value for each in inner for value in _values(each))]


def test_only_the_registrar_writes_a_shadow_and_only_that_of_certificates() -> None:
    writing = [each for each in ALLOWED if "iot:UpdateThingShadow" in each.actions]
    assert [(each.where, each.resources) for each in writing] == [
        ("Registrar", (f"arn:aws:iot:{ACCOUNT['AWS::Region']}:{ACCOUNT['AWS::AccountId']}:thing/*/certificate",))
    ]


def test_only_the_registrar_takes_devices_out_of_service() -> None:
    ends = {"iot:CancelJobExecution", "iot:DeleteCertificate", "iot:DetachPolicy", "iot:DetachThingPrincipal"}
    assert {each.where for each in ALLOWED if ends & set(each.actions)} == {"Registrar"}


def test_the_bucket_is_kept_closed_versioned_encrypted_and_spoken_to_by_tls() -> None:
    held = template()["Resources"]["Bucket"]
    settings = held["Properties"]
    assert (held["DeletionPolicy"], held["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert set(settings["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(settings["PublicAccessBlockConfiguration"]) == 4
    assert settings["VersioningConfiguration"] == {"Status": "Enabled"}
    assert settings["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = settings["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert any("AbortIncompleteMultipartUpload" in each for each in settings["LifecycleConfiguration"]["Rules"])
    (denied,) = [each for each in statements() if each.effect == "Deny"]
    assert (denied.where, denied.actions, len(denied.resources)) == ("BucketPolicy", ("s3:*",), 2)


def test_a_claim_can_ask_for_a_certificate_and_enrol_and_nothing_else() -> None:
    allowed = [each for each in ALLOWED if each.where == "ClaimPolicy"]
    topics = {
        resource.partition(":topic/")[2] for each in allowed for resource in each.resources if ":topic/" in resource
    }
    create, enrol = "$aws/certificates/create-from-csr/json", "$aws/provisioning-templates/edge-agent/provision/json"
    assert topics == {create, enrol, f"{create}/*", f"{enrol}/*"}
    assert {action for each in allowed for action in each.actions} == {
        "iot:Connect",
        "iot:Publish",
        "iot:Receive",
        "iot:Subscribe",
    }


def test_a_claim_connects_under_names_that_are_no_devices() -> None:
    (connect,) = [each for each in ALLOWED if each.where == "ClaimPolicy" and "iot:Connect" in each.actions]
    # Whoever connects as a device pushes that device off.
    assert [resource.partition(":client/")[2] for resource in connect.resources] == [f"{CLAIMING}*"]
