"""Starts, finds and stops the local AWS of one directory."""

import fcntl
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cloud_tools.errors import CloudError
from cloud_tools.local import process
from cloud_tools.local.endpoints import LOOPBACK, REGION, CloudStatus, Endpoints, aws_environment
from edge_agent.errors import Code

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.02
_LOG_TAIL = 2000
_LAST_PORT = 65_535
# Loopback is never asked through a proxy that the environment may name.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalCloud:
    """One emulator and its state.

    Args:
        directory: holds state, S3 objects, log and the file that names the process;
            made when absent.
    """

    def __init__(self, directory: Path) -> None:
        """Only remember the directory."""
        self.directory = directory.resolve()
        self._record = self.directory / "process.json"
        self._ports = self.directory / "ports.json"
        self._ca = self.directory / "ca.pem"
        self._log = self.directory / "cloud.log"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, gateway_port: int = 0, mqtt_port: int = 0) -> Endpoints:
        """Start it and wait until it answers; when it already runs, return where.

        Args:
            gateway_port: HTTP port; 0 takes the one of the last run when free, else any.
            mqtt_port: MQTT port with mutual TLS; 0 as above.

        Raises:
            CloudError: a port is taken or out of range, it runs already on another
                port, or it did not come up.
            ModuleNotFoundError: the extra local is not installed.
        """
        for port in (gateway_port, mqtt_port):
            if not 0 <= port <= _LAST_PORT:
                raise CloudError(Code.INVALID_ARGUMENT, f"expected a port from 0 to {_LAST_PORT}, came {port}")
        if importlib.util.find_spec("ministack") is None:
            raise ModuleNotFoundError("No module named 'ministack'", name="ministack")
        self._prepare()
        with self._lock() as lock:
            if lock is None:
                return self._agreeing(gateway_port, mqtt_port)
            self._reap()
            # The launcher replaces the record, so a start that fails does not hide the kill.
            killed = self._record.exists()
            self._launch(gateway_port, mqtt_port, lock)
        endpoints = self._wait_until_ready()
        return self._judge_state(endpoints, killed=killed)

    def stop(self) -> bool:
        """End it gracefully, so that its state is saved; tell whether it ran.

        Raises:
            CloudError: it did not end in time.
        """
        record = process.read(self._record)
        if record is None or not record.alive:
            if self._child is not None and self._child.poll() is not None:  # somebody else ended it
                self._child = None
            return False
        if not process.terminate(record, STOP_TIMEOUT_S):
            raise CloudError(
                Code.DEADLINE_EXCEEDED,
                f"process {record.pid} did not end within {STOP_TIMEOUT_S:.0f} s; see {self._log}",
            )
        self._reap()
        if self._record.exists():
            raise CloudError(Code.STORAGE_FAILED, f"the local AWS ended without saving its state; see {self._log}")
        return True

    def status(self) -> CloudStatus:
        """Tell whether it runs, and where."""
        record = process.read(self._record)
        if record is None:
            return CloudStatus(running=False, directory=self.directory, message="not running")
        if not record.alive:
            message = "was killed; its last state is lost"
            return CloudStatus(running=False, directory=self.directory, message=message, killed=True)
        return CloudStatus(running=True, directory=self.directory, pid=record.pid, endpoints=self._endpoints(record))

    def aws_environment(self) -> dict[str, str]:
        """Return the environment with which boto3 reaches it.

        Raises:
            CloudError: it does not run.
        """
        status = self.status()
        if status.endpoints is None:
            raise CloudError(
                Code.NOT_FOUND, f"no local AWS runs in {self.directory}: start it with edge-cloud local up"
            )
        return aws_environment(status.endpoints)

    def _prepare(self) -> None:
        try:
            # The state holds private keys of the emulator's authority.
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("state", "s3", "tmp"):
                (self.directory / name).mkdir(exist_ok=True)
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{self.directory}: expected a directory to write to, {exc}") from exc

    def _reap(self) -> None:
        # Only called when the child has ended or let its lock go by ending.
        if self._child is not None:
            self._child.wait()
            self._child = None

    @contextmanager
    def _lock(self) -> Iterator[int | None]:
        # The child inherits the lock's descriptor and holds it for its life, so two
        # starters cannot both win; None means that one already runs or is starting.
        with (self.directory / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield file.fileno()

    def _agreeing(self, gateway_port: int, mqtt_port: int) -> Endpoints:
        endpoints = self._wait_until_ready()
        actual = (int(endpoints.gateway_url.rpartition(":")[2]), endpoints.mqtt_port)
        if any(asked not in (0, came) for asked, came in zip((gateway_port, mqtt_port), actual, strict=True)):
            raise CloudError(
                Code.ALREADY_EXISTS,
                f"expected ports {gateway_port} and {mqtt_port}, but it already runs on {actual[0]} and {actual[1]}",
            )
        return endpoints

    def _launch(self, gateway_port: int, mqtt_port: int, lock: int) -> None:
        last = self._last_ports()
        with closing(_bind(gateway_port, last[0])) as gateway, closing(_bind(mqtt_port, last[1])) as mqtt:
            ports = (gateway.getsockname()[1], mqtt.getsockname()[1])
            descriptors = (gateway.fileno(), mqtt.fileno())
            command = [sys.executable, "-m", "cloud_tools.local.launcher", str(self._record), *map(str, descriptors)]
            with self._log.open("wb") as log:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(*descriptors, lock),
                    start_new_session=True,
                    env=self._environment(*ports),
                )
        self._ports.write_text(json.dumps(ports), encoding="utf-8")

    def _last_ports(self) -> tuple[int, int]:
        try:
            gateway, mqtt = json.loads(self._ports.read_text(encoding="utf-8"))
            return int(gateway), int(mqtt)
        except (FileNotFoundError, ValueError, TypeError):
            return 0, 0

    def _environment(self, gateway_port: int, mqtt_port: int) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        return kept | {
            # Certificates are held to their policies and unknown keys are refused, as on AWS.
            "AUTH": "true",
            "BIND_HOST": LOOPBACK,
            "GATEWAY_PORT": str(gateway_port),
            "IOT_MTLS_ENABLED": "1",
            "IOT_MTLS_PORT": str(mqtt_port),
            "MINISTACK_REGION": REGION,
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.directory / "s3"),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.directory / "state"),
            "TMPDIR": str(self.directory / "tmp"),
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
        }

    def _wait_until_ready(self) -> Endpoints:
        limit = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < limit:
            record = process.read(self._record)
            if record is not None and record.alive:
                endpoints = self._endpoints(record)
                if _get(f"{endpoints.gateway_url}/_ministack/ready") is not None:
                    return endpoints
            elif self._child is not None and self._child.poll() is not None:
                raise CloudError(Code.UNAVAILABLE, f"the local AWS ended at its start: {self._last_words()}")
            time.sleep(_POLL_S)
        raise CloudError(Code.DEADLINE_EXCEEDED, f"no answer within {START_TIMEOUT_S:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:].strip()
        return text.rpartition("\n")[2] or f"nothing in {self._log}"

    def _endpoints(self, record: process.ProcessRecord) -> Endpoints:
        return Endpoints(f"http://{LOOPBACK}:{record.gateway_port}", LOOPBACK, record.mqtt_port, self._ca)

    def _judge_state(self, endpoints: Endpoints, *, killed: bool) -> Endpoints:
        # Devices' certificates are signed by the emulator's own authority, which is part
        # of its state: another one than last time means that the state is not last time's.
        authority = _get(f"{endpoints.gateway_url}/_ministack/iot/ca.pem")
        if not authority:
            raise CloudError(Code.UNAVAILABLE, f"the local AWS has no authority for MQTT: {self._last_words()}")
        known = self._ca.read_bytes() if self._ca.exists() else None
        self._ca.write_bytes(authority)
        if known is None:
            return endpoints._replace(fresh=True, message="first start: nothing is there yet")
        if killed or known != authority:
            return endpoints._replace(
                fresh=True, message="the last run was killed and its state is lost: provision devices and deploy again"
            )
        return endpoints


def _bind(port: int, preferred: int) -> socket.socket:
    for candidate in dict.fromkeys([port or preferred, port]):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, candidate))
        except OSError as exc:
            listener.close()
            failure = exc
        else:
            return listener
    raise CloudError(Code.ALREADY_EXISTS, f"expected port {port} of {LOOPBACK} to be free, {failure.strerror}")


def _get(url: str) -> bytes | None:
    try:
        with _OPENER.open(url, timeout=5) as response:
            return bytes(response.read())
    except (urllib.error.URLError, OSError):
        return None
