"""Root of the page's process: the follower's threads, the web server, signals."""

import logging
import signal
import socket
import time
from pathlib import Path
from typing import Any

import waitress
from flask import Flask

from edge_agent.client import AgentClient
from edge_agent.config import Settings
from edge_agent.dashboard.app import create_app
from edge_agent.dashboard.follow import Follower
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.security import Address, loopback_address
from edge_agent.dashboard.stream import VIEWERS
from edge_agent.errors import Code, ConfigError
from edge_agent.telemetry import logs
from edge_agent.telemetry.notify import Notifier, watchdog
from edge_agent.telemetry.threads import Watched

_LOG = logging.getLogger(__name__)
# Streams hold a thread each; pictures, pages and probes always find a free one.
THREADS = VIEWERS + 12
CONNECTIONS = 200


def run(settings: Settings, runtime_dir: Path) -> int:
    """Serve the page until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: all rooms; the page reads its own.
        runtime_dir: where the agent's sockets are, or will be.

    Raises:
        ConfigError: the address is not loopback, or it is taken.
    """
    logs.configure(settings.telemetry.level)
    address = loopback_address(settings.dashboard.listen)
    hub = Hub(time.time)
    with AgentClient.at(runtime_dir) as client:
        follower = Follower(client, hub)
        server = open_server(create_app(client, settings, hub=hub), address)
        notifier = Notifier()
        threads = [Watched(name, work) for name, work in follower.threads.items()]
        guard = watchdog(notifier)
        everyone = [*threads, guard] if guard else threads

        def leave(*_: object) -> None:
            # Streams end first: the server waits for requests under way.
            hub.close()
            raise SystemExit(0)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leave)
        for thread in everyone:
            thread.start()
        _LOG.info("the page is served", extra={"action": "page_served", "port": server.effective_port})
        notifier.ready()
        server.run()
        notifier.stopping()
        for thread in everyone:
            thread.stopping.set()
        follower.stop()
        for thread in everyone:
            thread.stop()
    return 0


def open_server(app: Flask, address: Address) -> Any:
    """Return the web server, bound but not running.

    Raises:
        ConfigError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        # Bound here: where waitress cannot bind, it leaves its sockets open.
        listening = socket.create_server(address, family=family)
    except OSError as exc:
        raise ConfigError(
            Code.CONFIG_INVALID, f"dashboard.listen: expected a free address, {address.host}:{address.port}: {exc}"
        ) from exc
    return waitress.create_server(
        app,
        sockets=[listening],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        ident=None,
        clear_untrusted_proxy_headers=True,
    )
