"""The part of the CloudFormation template that provisioning says first: the policy of a device's certificate."""

import json
import re
from collections.abc import Iterator
from typing import Any

from cloud_tools.provision.policy import policy

_ACCOUNT = "arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}"
_MARKS = re.compile(r"( *)# generated: device policy\n.*?(\1# end\n)", re.DOTALL)


def template(text: str) -> str:
    """Return the template ``text`` with the policy as it is; without the marks, as in no file at all, as it is."""
    return _MARKS.sub(lambda marks: f"{marks[1]}# generated: device policy\n{_policy(marks[1])}{marks[2]}", text)


def _policy(indent: str) -> str:
    found = policy(_ACCOUNT)
    lines = [f"Version: {json.dumps(found['Version'])}", "Statement:"]
    lines += [line for statement in found["Statement"] for line in _statement(statement)]
    return "".join(f"{indent}{line}\n" for line in lines)


def _statement(statement: dict[str, Any]) -> Iterator[str]:
    actions = statement["Action"]
    yield f"  - Effect: {statement['Effect']}"
    yield f"    Action: {actions if isinstance(actions, str) else '[' + ', '.join(actions) + ']'}"
    yield "    Resource:"
    for resource in statement["Resource"]:
        # What AWS IoT fills in, CloudFormation must leave.
        yield f"      - !Sub {json.dumps(resource.replace('${iot:', '${!iot:'))}"
