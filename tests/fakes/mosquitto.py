"""A real mosquitto broker on loopback with mutual TLS, to be killed, frozen and started again."""

import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.fakes.certificates import Authority

PROGRAM = Path("/usr/sbin/mosquitto")
START_TIMEOUT_S = 60.0


class Mosquitto:
    """One broker; its port stays the same over restarts, its sessions do not.

    Args:
        directory: configuration and log.
        authority: who signs its own and its clients' certificates.
    """

    def __init__(self, directory: Path, authority: Authority) -> None:
        # Else somebody else's server could be given the port while the broker is away.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = self._place.getsockname()[1]
        self._directory = directory
        server = authority.issue("broker")
        self._configuration = directory / "mosquitto.conf"
        self._configuration.write_text(
            f"listener {self.port} 127.0.0.1\n"
            f"cafile {authority.ca}\ncertfile {server.certificate}\nkeyfile {server.private_key}\n"
            "require_certificate true\nallow_anonymous true\npersistence false\nlog_dest none\n"
            "user root\nmax_inflight_messages 0\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until the port is open."""
        command = [str(PROGRAM), "-c", str(self._configuration)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, f"mosquitto ended at its start with {self._process.returncode}"
            assert time.monotonic() < limit, "mosquitto does not open its port"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            # Nobody can wait for a stranger's port to open, so it is tried until it does.
            time.sleep(0.01)
            return False

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it for good, frozen or not."""
        if self._process is not None:
            self._end(signal.SIGKILL)
        self._place.close()

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open, nothing answers."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(how)
        self._process.wait(START_TIMEOUT_S)
        self._process = None
