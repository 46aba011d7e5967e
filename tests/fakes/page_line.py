"""The real page on a real server beside a ``PageAgent`` in this process: what a browser test looks at."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from waitress import wasyncore

from edge_agent.config import Dashboard, Settings
from edge_agent.dashboard import create_app
from edge_agent.dashboard.follow import Follower
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.security import Address
from edge_agent.dashboard.server import open_server
from edge_agent.telemetry.threads import Watched
from tests.fakes.page_agent import PageAgent


@contextmanager
def page_beside(agent: PageAgent, **dashboard: Any) -> Iterator[str]:
    """Serve the page; yield its address."""
    hub = Hub(time.time)
    follower = Follower(agent, hub)
    settings = Settings(dashboard=Dashboard(**dashboard))
    server = open_server(create_app(agent, settings, hub=hub), Address("127.0.0.1", 0))
    threads = [Watched(name, work) for name, work in follower.threads.items()]
    left = threading.Event()
    serving = threading.Thread(target=_serve, args=(server, left))
    for thread in (*threads, serving):
        thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        hub.close()
        for watched in threads:
            watched.stopping.set()
        follower.stop()
        for watched in threads:
            watched.stop()
        server.task_dispatcher.shutdown(timeout=30)
        left.set()
        server.pull_trigger()
        serving.join(30)
        # Not by the loop itself: what is pulled might be closed by then, for somebody else's pull.
        wasyncore.close_all(server._map)


def _serve(server: Any, left: threading.Event) -> None:
    while not left.is_set():
        wasyncore.loop(timeout=1, use_poll=server.adj.asyncore_use_poll, map=server._map, count=1)
