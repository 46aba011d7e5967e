"""Signs of life for systemd: READY, STOPPING, and a watchdog that tells the truth.

The protocol is sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names.
"""

import logging
import os
import socket
from collections.abc import Mapping

from edge_agent.telemetry.threads import Watched, silent_threads

_LOG = logging.getLogger(__name__)
_MICROSECONDS = 1e6


class Notifier:
    """Tell the service manager how we are; without one, nothing happens.

    Args:
        environment: where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID stand.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(environment.get("WATCHDOG_USEC") or 0) / _MICROSECONDS if mine else 0.0

    def ready(self) -> None:
        """Everything that was promised at the start is there."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The process is on its way out."""
        self._send("STOPPING=1")

    def reloading(self, monotonic_us: int) -> None:
        """The configuration is being read again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_us}")

    def status(self, text: str) -> None:
        """Say one line to whoever asks systemctl."""
        self._send("STATUS=" + text.replace("\n", " "))

    def alive(self) -> None:
        """Keep the watchdog quiet once more."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte of an abstract socket.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto(message.encode(), address)
        except OSError as exc:
            _LOG.warning("the service manager was not told", extra={"action": "notify_failed", "reason": str(exc)})


def watchdog(notifier: Notifier) -> Watched | None:
    """Return a thread that keeps the watchdog quiet while no watched thread is silent; None without a watchdog."""
    if not notifier.watchdog_s:
        return None

    def keep_quiet(thread: Watched) -> None:
        while not thread.wait(notifier.watchdog_s / 3):
            silent = silent_threads()
            if silent:
                _LOG.error("threads are silent", extra={"action": "threads_silent", "threads": silent})
            else:
                notifier.alive()

    return Watched("watchdog", keep_quiet)
