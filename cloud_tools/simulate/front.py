"""A mosquitto before the local AWS, for fleets that the emulator's own broker cannot carry.

The emulator looks at every subscription for every message, so a thousand devices keep it busy for minutes. Here they
connect to a real broker, which passes their requests on, and the answers back, over one connection of its own: what
jobs are and what becomes of them is the emulator's word still. On loopback, with mutual TLS, and gone with the fleet.
"""

import getpass
import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.provision import identity
from cloud_tools.simulate.authority import issue_server
from edge_agent.config import Mqtt
from edge_agent.errors import Code

PREFIX: Final = "front-"
"""How its certificates, and the policies of them, begin."""
FILES: Final = ("mosquitto.conf", "server.pem", "server.key", "server-ca.pem")
"""What else it leaves in its directory."""
_START_TIMEOUT_S: Final = 30.0
_LOOPBACK: Final = "127.0.0.1"
# Debian puts it where only root's PATH leads.
_PATH: Final = "/usr/sbin:/usr/local/sbin"
_JOBS: Final = "$aws/things/+/jobs"
_ASKED: Final = (f"{_JOBS}/get", f"{_JOBS}/start-next", f"{_JOBS}/+/get", f"{_JOBS}/+/update")
_TOLD: Final = ("notify", "notify-next", "get/+", "start-next/+", "+/get/+", "+/update/+")


class Front:
    """One mosquitto; its port stays the same when it is killed and started again, its sessions do not.

    Args:
        directory: keys, certificates and configuration.
        aws: the local AWS.
        cloud: how one connects to its MQTT.

    Raises:
        CloudError: RUNTIME_MISSING, mosquitto is not installed; or as ``Aws.call``.
    """

    def __init__(self, directory: Path, aws: Aws, cloud: Mqtt) -> None:
        self._program = find_program()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._configuration = directory / "mosquitto.conf"
        self._cloud, self._port = cloud, _free_port()
        self._server = issue_server(directory)
        self._configuration.write_text(self._compose(_issue_bridge(aws, directory)), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Mqtt:
        """Return how devices connect to it; the certificate they show is the one that they have for the cloud."""
        return self._cloud.model_copy(update={"endpoint": _LOOPBACK, "port": self._port, "ca": self._server.ca})

    @property
    def pid(self) -> int:
        """Return the process's id; 0 when there is none."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it and wait until its port is open.

        Raises:
            CloudError: UNAVAILABLE, it ended or did not open its port.
        """
        command = [self._program, "-c", str(self._configuration)]
        # In a session of its own: Ctrl-C ends the fleet first.
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        limit = time.monotonic() + _START_TIMEOUT_S
        while not _answers(self._port):
            if self._process.poll() is not None or time.monotonic() > limit:
                raise CloudError(Code.UNAVAILABLE, f"mosquitto does not open port {self._port}: {self._configuration}")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def revive(self) -> bool:
        """Start it again if somebody ended it; return whether somebody had."""
        if self._process is None or self._process.poll() is None:
            return False
        self.start()
        return True

    def _compose(self, bridge: tuple[Path, Path]) -> str:
        cloud, server = self._cloud, self._server
        lines = [
            f"listener {self._port} {_LOOPBACK}",
            f"cafile {cloud.ca}\ncertfile {server.certificate}\nkeyfile {server.private_key}",
            "require_certificate true\nallow_anonymous true\npersistence false\nlog_dest none",
            # Started by root it would become a user who may not read the keys.
            f"user {getpass.getuser()}",
            "max_inflight_messages 0\nmax_queued_messages 0",
            f"connection cloud\naddress {cloud.endpoint}:{cloud.port}\nremote_clientid {bridge[0].stem}",
            f"bridge_cafile {cloud.ca}\nbridge_certfile {bridge[0]}\nbridge_keyfile {bridge[1]}",
            "notifications false\ntry_private false\ncleansession true\nrestart_timeout 1",
            *(f"topic {topic} out 1" for topic in (*_ASKED, "$aws/things/+/shadow/update")),
            *(f"topic {_JOBS}/{word} in 1" for word in _TOLD),
        ]
        return "\n".join(lines) + "\n"


@contextmanager
def standing(front: Front) -> Iterator[Front]:
    """Let it run beside the block."""
    front.start()
    try:
        yield front
    finally:
        front.kill()


def find_program() -> str:
    """Return where mosquitto is.

    Raises:
        CloudError: RUNTIME_MISSING, nowhere.
    """
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=_PATH)
    if found is None:
        raise CloudError(
            Code.RUNTIME_MISSING, "expected mosquitto (Debian: apt install mosquitto), there is none; or --no-front"
        )
    return found


def _issue_bridge(aws: Aws, directory: Path) -> tuple[Path, Path]:
    # It speaks for all devices, so it may do what all of them may: in an emulator on this machine, and only there.
    if not aws.is_local:
        raise CloudError(Code.FAILED_PRECONDITION, f"expected an AWS on this machine, came {aws.endpoint_url}")
    name = f"{PREFIX}{secrets.token_hex(4)}"
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws.call("iot", "create_policy", policyName=name, policyDocument=document)
    made = aws.call("iot", "create_keys_and_certificate", setAsActive=True)
    aws.call("iot", "attach_policy", policyName=name, target=made["certificateArn"])
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    identity.write(certificate, made["certificatePem"], identity.PUBLIC)
    identity.write(key, made["keyPair"]["PrivateKey"], identity.PRIVATE)
    return certificate, key


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=1):
            return True
    except OSError:
        # Nobody can wait for another process's port to open, so it is tried until it does.
        time.sleep(0.01)
        return False
