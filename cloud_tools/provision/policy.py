"""What a device's certificate may do: be its own thing, and nothing else."""

import json
from typing import Any

NAME = "edge-agent-device"

# AWS IoT fills it in from the connection, so one policy serves every device and each reaches only its own topics.
_THING = "${iot:Connection.Thing.ThingName}"


def document(thing_arn: str) -> str:
    """Return the policy as JSON for the account and region of ``thing_arn``."""
    return json.dumps(policy(thing_arn.rpartition(":")[0]), indent=1)


def policy(root: str) -> dict[str, Any]:
    """Return the policy; ``root`` is how ARNs of the account and region begin, without the last colon.

    ``template.yaml`` gets it from here too, by ``scripts/generate-docs``.
    """
    own = [f"$aws/things/{_THING}/jobs", f"$aws/things/{_THING}/shadow"]
    # What it inspected, where [mqtt] inspections says so, and how it is; nobody tells it anything there.
    told = [f"{root}:topic/edge-agent/{_THING}/{word}" for word in ("inspections", "heartbeat", "log", "alarm")]
    statements = [
        _allow("iot:Connect", [f"{root}:client/{_THING}"]),
        _allow("iot:Subscribe", [f"{root}:topicfilter/{topic}/*" for topic in own]),
        _allow(["iot:Publish", "iot:Receive"], [f"{root}:topic/{topic}/*" for topic in own]),
        _allow("iot:Publish", told),
        # The credentials provider gives out what the role behind the alias may do.
        _allow("iot:AssumeRoleWithCertificate", [f"{root}:rolealias/{NAME}"]),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: str | list[str], resources: list[str]) -> dict[str, object]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
