"""The part of a device's ``config.toml`` that only provisioning knows, and the files that it names."""

import json
from pathlib import Path
from typing import NamedTuple

from cloud_tools.errors import CloudError
from edge_agent.config.fragment import AUTHORITY, CERTIFICATE, KEY, ROOT, render
from edge_agent.errors import Code

CREDENTIALS = "credentials.json"

LOCAL_RECONNECT_S = 4

HEADER = "# Written by edge-cloud device provision; the agent's other settings may be added below.\n"


class Mqtt(NamedTuple):
    """Where the device's MQTT connection goes; ``ca`` is PEM, empty: the system's authorities."""

    host: str
    port: int
    ca: str = ""


class Wishes(NamedTuple):
    """What else the device is to know.

    ``root`` is the text of the repository's first root.json, which the device pins.
    ``installed`` is where the directory's files will lie on the device; None: where they are.
    ``credentials_endpoint`` and ``role_alias`` are where and as what a device of AWS gets credentials for the bucket.
    """

    mqtt: Mqtt | None = None
    repository_url: str = ""
    capture_url: str = ""
    root: str = ""
    allow_demo_root: bool = False
    installed: Path | None = None
    credentials_endpoint: str = ""
    role_alias: str = ""


def check_root(wishes: Wishes) -> None:
    """Refuse a root of trust that the device would refuse.

    Raises:
        CloudError: it is no root metadata, or a demo's and that is not allowed.
    """
    if not wishes.root:
        return
    try:
        signed = json.loads(wishes.root)["signed"]
        kind, demo = signed["_type"], bool(signed.get("demo"))
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise CloudError(Code.INVALID_ARGUMENT, "--root: expected a TUF root.json, came something else") from exc
    if kind != "root":
        raise CloudError(Code.INVALID_ARGUMENT, f"--root: expected a TUF root.json, came metadata of type {kind!r}")
    if demo and not wishes.allow_demo_root:
        raise CloudError(
            Code.FAILED_PRECONDITION,
            "--root: a demo's, whose keys lie open; --allow-demo-root if the device may trust it",
        )


def configuration(thing: str, fleet: str, mqtt: Mqtt, wishes: Wishes, *, directory: Path, local: bool) -> str:
    """Return the TOML for a device whose files lie in ``directory``; ``local``: for a local AWS."""
    # A local AWS has no credentials provider.
    credentials = f"file:{directory / CREDENTIALS}" if local else "aws-iot"
    repository, captures = wishes.repository_url, wishes.capture_url
    return render(
        {
            "device": {"thing": thing, "fleet": fleet},
            "mqtt": {
                "endpoint": mqtt.host,
                "port": mqtt.port,
                "certificate": str(directory / CERTIFICATE),
                "private_key": str(directory / KEY),
                "ca": str(directory / AUTHORITY) if mqtt.ca else "",
                # Who tries things at a desk has no fleet to spread.
                "reconnect_max_s": LOCAL_RECONNECT_S if local else "",
            },
            "repository": {
                "url": repository,
                "credentials": credentials if repository.startswith("s3:") else "",
                "credentials_endpoint": wishes.credentials_endpoint,
                "role_alias": wishes.role_alias,
            },
            "trust": {
                "root": str(directory / ROOT) if wishes.root else "",
                "allow_demo_root": True if wishes.allow_demo_root else "",
            },
            "capture": {"url": captures, "credentials": credentials if captures.startswith("s3:") else ""},
        },
        HEADER,
    )
