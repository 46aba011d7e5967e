"""The CloudFormation template as its checks read it: what every policy in it allows, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from cfnlint.decode.cfn_yaml import load

from cloud_tools.provision.stack import TEMPLATE

# How the template names the account, as AWS fills it in.
ACCOUNT = {"AWS::Partition": "aws", "AWS::Region": "eu-central-1", "AWS::AccountId": "123456789012"}


class Statement(NamedTuple):
    """One statement of one policy; ``where`` is the resource's name in the template."""

    where: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    sid: str = ""


def template() -> dict[str, Any]:
    """Return the template; short forms as !Sub are long ones in it."""
    found: dict[str, Any] = load(str(TEMPLATE))
    return found


def statements() -> list[Statement]:
    """Return the statements of all policies, but not those that say who may take a role."""
    found = ((name, policy) for name, resource in template()["Resources"].items() for policy in _policies(resource))
    return [_statement(name, each) for name, policy in found for each in policy["Statement"]]


def resolved(value: Any) -> Any:
    """Return a part of the template with the account's facts and nothing else filled in."""
    if isinstance(value, dict) and set(value) == {"Fn::Sub"}:
        text = str(value["Fn::Sub"])
        for name, fact in ACCOUNT.items():
            text = text.replace(f"${{{name}}}", fact)
        return text.replace("${!", "${")
    if isinstance(value, dict):
        return {str(key): resolved(each) for key, each in value.items()}
    return [resolved(each) for each in value] if isinstance(value, list) else value


def _policies(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    properties = resource.get("Properties", {})
    if "PolicyDocument" in properties:
        yield properties["PolicyDocument"]
    yield from (each["PolicyDocument"] for each in properties.get("Policies", ()))


def _statement(where: str, said: dict[str, Any]) -> Statement:
    resources = [resolved(each) for each in _listed(said["Resource"])]
    return Statement(
        where, said["Effect"], tuple(_listed(said["Action"])), tuple(map(str, resources)), said.get("Sid", "")
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
