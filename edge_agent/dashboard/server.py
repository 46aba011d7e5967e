"""Root of the page's process: the follower's threads, the web server, signals."""

import logging
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import waitress
from flask import Flask

from edge_agent.client import AgentClient
from edge_agent.config import Settings
from edge_agent.dashboard.app import UPLOADS, create_app
from edge_agent.dashboard.follow import Follower
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.intake import FORM_BYTES, HEAD_BYTES, channel_class
from edge_agent.dashboard.security import Address, checked_address
from edge_agent.dashboard.stream import VIEWERS
from edge_agent.errors import Code, ConfigError
from edge_agent.telemetry import logs
from edge_agent.telemetry.notify import Notifier, watchdog
from edge_agent.telemetry.threads import Watched

_LOG = logging.getLogger(__name__)
# Streams hold a thread each; pictures, pages and probes always find a free one.
THREADS = VIEWERS + 12
CONNECTIONS = 200
# Only this machine reaches a page behind a proxy, so whoever connects is that proxy.
_PROXIED = {
    "trusted_proxy": "*",
    "trusted_proxy_count": 1,
    "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto"},
}


def run(settings: Settings, runtime_dir: Path) -> int:
    """Serve the page until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: all rooms; the page reads its own.
        runtime_dir: where the agent's sockets are, or will be.

    Raises:
        ConfigError: it would not be safe to listen as configured, or the address is taken.
    """
    logs.configure(settings.telemetry.level)
    address = checked_address(settings.dashboard)
    # Threads that start later inherit it: on a busy device the line goes first.
    os.setpriority(os.PRIO_PROCESS, 0, max(settings.dashboard.nice, os.getpriority(os.PRIO_PROCESS, 0)))
    hub = Hub(time.time)
    with AgentClient.at(runtime_dir) as client:
        follower = Follower(client, hub)
        app = create_app(client, settings, hub=hub)
        server = open_server(app, address, proxied=settings.dashboard.transport == "proxy")
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


def open_server(app: Flask, address: Address, *, proxied: bool = False) -> Any:
    """Return the web server, bound but not running.

    Args:
        app: the page.
        address: where it listens.
        proxied: a proxy on this machine tells whom it asks for, and that they came over TLS.

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
    server = waitress.create_server(
        app,
        sockets=[listening],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        ident=None,
        max_request_header_size=HEAD_BYTES,
        max_request_body_size=FORM_BYTES,
        clear_untrusted_proxy_headers=True,
        **(_PROXIED if proxied else {}),
    )
    server.channel_class = channel_class(app.extensions[UPLOADS])
    return server
