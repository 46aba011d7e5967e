"""A local AWS with the stack deployed, and people and devices with exactly the rights that it gives them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloud_tools.aws import Aws
from cloud_tools.local import Endpoints, aws_environment
from cloud_tools.provision import stack
from cloud_tools.provision.following import Patience
from tests.fakes.credentials_file import write_credentials

PATIENCE = Patience(time.sleep, time.monotonic, 120.0, 0.05)
# AWS's credentials provider fills it in from the certificate that a device shows; so does ``device``.
_VARIABLE = "${credentials-iot:ThingName}"
# AWS asks these of a certificate, of the one shadow or of an index. The local AWS asks them of no resource or of what
# the template does not give.
_OF_CERTIFICATES = ("iot:AttachPolicy", "iot:DetachPolicy", "iot:DetachThingPrincipal")
_WITHOUT_RESOURCE = {
    "Registrar": [*_OF_CERTIFICATES, "iot:GetThingShadow", "iot:UpdateThingShadow"],
    "Operator": ["iot:SearchIndex"],
}


class StackedCloud:
    """The account of a local AWS after ``stack deploy``.

    Args:
        endpoints: of a local AWS that nothing else uses.
        directory: for credentials files.
    """

    def __init__(self, endpoints: Endpoints, directory: Path, **parameters: str) -> None:
        self.endpoints = endpoints
        self.directory = directory
        self.owner = Aws(aws_environment(endpoints))
        told = stack.plan(self.owner, stack.DEFAULT_NAME, parameters, PATIENCE)
        self.outputs = stack.carry_out(self.owner, told, lambda _: None, PATIENCE)
        self.bucket = self.outputs["Bucket"]
        self.account = self.owner.call("sts", "get_caller_identity")["Account"]

    def device_policy(self) -> str:
        """Return the policy of the role that devices get credentials of, as it was deployed."""
        role = self.outputs["DeviceRole"].rpartition("/")[2]
        (name,) = self.owner.call("iam", "list_role_policies", RoleName=role)["PolicyNames"]
        document = self.owner.call("iam", "get_role_policy", RoleName=role, PolicyName=name)["PolicyDocument"]
        return json.dumps(document)

    def device(self, thing: str) -> dict[str, str]:
        """Return the environment of a device as the credentials provider would make it."""
        self._role(thing)
        document = self.device_policy().replace(_VARIABLE, thing)
        self.owner.call("iam", "put_role_policy", RoleName=thing, PolicyName="device", PolicyDocument=document)
        return self._assumed(thing)

    def person(self, kind: str) -> dict[str, str]:
        """Return the environment of somebody who has one of the stack's managed policies and no other."""
        self._role(kind)
        self.owner.call("iam", "attach_role_policy", RoleName=kind, PolicyArn=self.outputs[kind])
        if kind in _WITHOUT_RESOURCE:
            self._allow(kind, _WITHOUT_RESOURCE[kind])
        return self._assumed(kind)

    def administrator(self) -> dict[str, str]:
        """Return the environment of somebody who may do everything that a policy can allow."""
        self._role("Administrator")
        self._allow("Administrator", ["*"])
        return self._assumed("Administrator")

    def credentials_file(self, environment: Mapping[str, str], name: str) -> str:
        """Write credentials as a device reads them, and return the setting that names the file."""
        return write_credentials(environment, self.directory / f"{name}.json")

    def _role(self, name: str) -> None:
        root = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{self.account}:root"},
            "Action": "sts:AssumeRole",
        }
        trust = json.dumps({"Version": "2012-10-17", "Statement": [root]})
        self.owner.call("iam", "create_role", RoleName=name, AssumeRolePolicyDocument=trust)

    def _allow(self, role: str, actions: list[str]) -> None:
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.owner.call("iam", "put_role_policy", RoleName=role, PolicyName="here", PolicyDocument=document)

    def _assumed(self, role: str) -> dict[str, str]:
        arn = f"arn:aws:iam::{self.account}:role/{role}"
        lent: dict[str, Any] = self.owner.call("sts", "assume_role", RoleArn=arn, RoleSessionName="test")["Credentials"]
        return {
            **aws_environment(self.endpoints),
            "AWS_ACCESS_KEY_ID": lent["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": lent["SecretAccessKey"],
            "AWS_SESSION_TOKEN": lent["SessionToken"],
        }
