"""What the demo's figures and its tidiness rest on."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tools.local.process import started_at
from scripts.demo_line.answers import ExpectedAnswers
from scripts.demo_line.line_client import Answer, LineClient, Picture, Said
from scripts.demo_line.processes import Processes, listening
from scripts.demo_line.report import Report
from scripts.demo_line.trouble import DemoError
from scripts.demo_line.world import LOOPBACK, Ports, World, check_ports, free_ports
from tests.fakes.device import eventually
from tests.fakes.tiny_models import BRIGHT, GREY, grey_picture, write_version

SLEEPER = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]
LISTENING = """
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
time.sleep(600)
"""
LISTENER = [sys.executable, "-c", LISTENING]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path / "processes.json", tmp_path)
    yield started
    started.stop_all()


def _said(processes: Processes, name: str) -> str:
    return eventually(lambda: processes.tail(name).strip() or None)


def test_what_a_killed_demo_has_left_is_ended_by_the_next(processes: Processes, tmp_path: Path) -> None:
    processes.start("agent", SLEEPER, {})
    _said(processes, "agent")
    (pid,) = processes.pids
    assert Processes(tmp_path / "processes.json", tmp_path).end_leftovers() == ["agent"]
    assert started_at(pid) is None
    assert processes.ended() == {"agent": -signal.SIGTERM}


def test_a_stranger_that_got_the_process_id_is_left_alone(tmp_path: Path) -> None:
    record = tmp_path / "processes.json"
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        known = {"name": "agent", "pid": stranger.pid, "started": (started_at(stranger.pid) or 0) - 1, "boot": boot}
        record.write_text(json.dumps([known]))
        assert Processes(record, tmp_path).end_leftovers() == []
        assert stranger.poll() is None
        stranger.kill()


def test_listening_sockets_of_started_processes_are_seen(processes: Processes) -> None:
    processes.start("listener", LISTENER, {})
    port = _said(processes, "listener")
    assert listening(processes.pids) == {f"{LOOPBACK}:{port}"}


def test_a_taken_port_is_named() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=f"port {port} .* the data plane"):
            check_ports(free_ports()._replace(data=port))
    check_ports(free_ports())


def test_a_second_demo_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    first, second = (World(tmp_path, Ports(1, 2, 3)) for _ in range(2))
    with first.alone(), pytest.raises(DemoError, match="runs already"), second.alone():
        pytest.fail("both run")
    with second.alone():
        assert (tmp_path / "lock").exists()


def test_the_pictures_of_a_data_set_are_laid_side_by_side(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("good/1.png", "bad/1.png", "ground_truth/bad/1.png", "notes.txt"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    frames = World(tmp_path / "world", Ports(1, 2, 3), data).frames()
    assert {path.name: path.read_text() for path in frames.iterdir()} == {
        "good-1.png": "good/1.png",
        "bad-1.png": "bad/1.png",
    }


def test_a_directory_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="there are none"):
        World(tmp_path / "world", Ports(1, 2, 3), tmp_path).frames()


@pytest.mark.parametrize("wrong", [{"score": 0.5}, {"version": "2"}, {"verdict": "NG"}, {"model": "other"}])
def test_an_answer_that_no_version_gives_is_found(tmp_path: Path, wrong: dict[str, object]) -> None:
    pictures = [Picture("dark", grey_picture(GREY)), Picture("bright", grey_picture(BRIGHT))]
    expected = ExpectedAnswers(pictures)
    for version, bias in (("1", 0.0), ("2", 0.3)):
        write_version(tmp_path / version, version=version, bias=bias)
        expected.add(tmp_path / version)
    right = Said("bright", "1", "OK", "good", 1 / (1 + 2.718281828459045 ** ((128 - GREY) / 16)))
    answer = Answer(0.0, "dark", (right,))
    assert expected.deviating([answer]) == []
    assert len(expected.deviating([answer, Answer(0.0, "dark", (right._replace(**wrong),))])) == 1  # type: ignore[arg-type]
    assert len(expected.deviating([Answer(0.0, "dark", ())])) == 1


def test_a_request_that_finds_nobody_fails_unless_the_agent_was_killed(tmp_path: Path) -> None:
    picture = [Picture("dark", grey_picture(0, 1, 1))]
    present, away = LineClient(tmp_path, picture), LineClient(tmp_path, picture)
    away.agent_is_away.set()
    for client in (present, away):
        client.start()
    eventually(lambda: (present.failures and away.retried) or None)
    for client in (present, away):
        client.stop()
    assert (present.retried, away.failures, away.retried) == (0, [], 1)


def test_a_report_is_not_good_before_the_run_has_ended() -> None:
    report = Report()
    assert json.loads(report.line())["ok"] is False
    report.finished = True
    assert json.loads(report.line())["ok"] is True
    report.expect(fulfilled=False, complaint="something")
    assert json.loads(report.line())["complaints"] == ["something"]
