"""Where the local AWS answers, and what boto3 must be told to find it."""

from pathlib import Path
from typing import NamedTuple

LOOPBACK = "127.0.0.1"
REGION = "us-east-1"
# The emulator's own account; the words are its convention and open nothing elsewhere.
ACCESS_KEY_ID = "test"
SECRET_ACCESS_KEY = "test"  # noqa: S105 - see above


class Endpoints(NamedTuple):
    """A running local AWS.

    ``fresh`` is true when what an earlier run held may be gone: on the first start,
    and after a run that was killed. Whoever needs things in it provisions again.
    """

    gateway_url: str
    mqtt_host: str
    mqtt_port: int
    ca_pem: Path
    fresh: bool = False
    message: str = ""


class CloudStatus(NamedTuple):
    """Whether it runs, and where; ``killed``: the last run ended without saving its state."""

    running: bool
    directory: Path
    pid: int | None = None
    endpoints: Endpoints | None = None
    message: str = ""
    killed: bool = False


def aws_environment(endpoints: Endpoints) -> dict[str, str]:
    """Return the environment with which boto3 and ``edge-cloud`` reach the local AWS."""
    return {
        "AWS_ENDPOINT_URL": endpoints.gateway_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "EDGE_CLOUD_MQTT": f"{endpoints.mqtt_host}:{endpoints.mqtt_port}",
        "EDGE_CLOUD_MQTT_CA": str(endpoints.ca_pem),
    }
