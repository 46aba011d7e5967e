"""What the service manager and Prometheus see, over real sockets."""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from edge_agent.telemetry import metrics
from edge_agent.telemetry.notify import Notifier, watchdog
from edge_agent.telemetry.threads import Watched

WAIT_S = 60


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@edge-agent-test-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.settimeout(WAIT_S)
        yield listening, name


def test_the_service_manager_is_told(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("two\nmodels")
    notifier.reloading(5)
    notifier.stopping()
    told = [listening.recv(100) for _ in range(4)]
    assert told == [b"READY=1", b"STATUS=two models", b"RELOADING=1\nMONOTONIC_USEC=5", b"STOPPING=1"]


def test_without_a_service_manager_nothing_happens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({}).ready()
    assert caplog.records == []
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert [getattr(record, "action", "") for record in caplog.records] == ["notify_failed"]


def heard(listening: socket.socket, seconds: float) -> bool:
    """Whether anything comes within ``seconds``, many times the watchdog's pace."""
    listening.settimeout(seconds)
    try:
        return bool(listening.recv(100))
    except TimeoutError:
        return False


def test_the_watchdog_is_kept_quiet_only_while_no_thread_is_silent(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    keeper = watchdog(Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "60000"}))
    assert keeper is not None
    keeper.start()
    assert listening.recv(100) == b"WATCHDOG=1"
    go_on = threading.Event()
    hanging = Watched("hangs", lambda thread: go_on.wait() and thread.stopping.wait() and None, silent_s=1e-9)
    hanging.start()
    while heard(listening, 0.5):  # what was sent before it was noticed
        pass
    hanging.stopping.set()
    go_on.set()
    assert hanging.stop(WAIT_S)
    listening.settimeout(WAIT_S)
    assert listening.recv(100) == b"WATCHDOG=1"
    assert keeper.stop(WAIT_S)


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}])
def test_without_a_watchdog_of_ours_there_is_no_thread(environment: dict[str, str]) -> None:
    assert watchdog(Notifier(environment)) is None


def test_figures_are_served_on_loopback_until_closed() -> None:
    server = metrics.MetricsServer("127.0.0.1:0")
    metrics.count_inspection("OK")
    address = f"http://127.0.0.1:{server.port}/metrics"
    with urllib.request.urlopen(address, timeout=WAIT_S) as answer:
        assert 'edge_agent_inspections_total{verdict="OK"}' in answer.read().decode()
    with pytest.raises(ConfigError, match="cannot listen"):
        metrics.MetricsServer(f"127.0.0.1:{server.port}")
    server.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=WAIT_S)
