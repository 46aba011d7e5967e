"""A state directory has one agent: a second one ends at once, says so, and changes nothing."""

import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.device import ROOT, AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture

MODEL = "img-classification"
LOCKED = 4
RACERS = 10
PATIENCE_S = 120.0


@pytest.fixture
def device(tmp_path: Path) -> Iterator[AgentDevice]:
    repository = SignedRepository(tmp_path / "cloud", now=time.time())
    publish_versions(repository, (MODEL, "1"))
    device = AgentDevice(
        tmp_path,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "deployment": {"scan_interval_s": 0},
        },
    )
    yield device
    if device.process is not None:
        assert device.stop() == 0


def tree(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return everything below ``root``: mode, inode, time of change and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        # SQLite's shared memory is no content: a reader of the databases maps it.
        if not stat.S_ISSOCK(facts.st_mode) and not path.name.endswith("-shm"):
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(root))] = (facts.st_mode, facts.st_ino, facts.st_mtime_ns, content)
    return found


def another_agent(device: AgentDevice, runtime_dir: Path) -> "subprocess.Popen[str]":
    places = ("--config", device.config, "--state-dir", device.state_dir, "--runtime-dir", runtime_dir)
    return subprocess.Popen(
        [sys.executable, "-m", "edge_agent", *map(str, places), "run"],
        cwd=ROOT,
        env=device.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_second_agent_on_the_same_directory_exits_and_changes_nothing(device: AgentDevice, tmp_path: Path) -> None:
    device.start()
    assert device.install((MODEL, "1")).state == "COMMITTED"
    # That it is closed is the last thing that is written of it.
    device.wait_for_deployment(lambda report: report.states[-1].state == "REPORTED")
    before, sockets = tree(device.state_dir), sorted(device.runtime_dir.iterdir())
    for runtime_dir in (device.runtime_dir, tmp_path / "other"):
        second = another_agent(device, runtime_dir)
        said, _ = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == LOCKED
        assert "STORE_LOCKED" in said
        assert device.process is not None
        assert f"process {device.process.pid} holds it" in said
    assert tree(device.state_dir) == before
    assert sorted(device.runtime_dir.iterdir()) == sockets
    assert not (tmp_path / "other").exists()
    assert device.inspect(grey_picture(GREY)).results[0].version == "1"


def test_of_ten_agents_that_start_at_the_same_moment_exactly_one_lives(device: AgentDevice, tmp_path: Path) -> None:
    racers = [another_agent(device, tmp_path / f"r{number}") for number in range(RACERS)]
    deadline = time.monotonic() + PATIENCE_S
    while sum(racer.poll() is None for racer in racers) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    alive = [racer for racer in racers if racer.poll() is None]
    ended = [racer for racer in racers if racer not in alive]
    assert ([racer.returncode for racer in ended], len(alive)) == ([LOCKED] * (RACERS - 1), 1)
    device.process, (winner,) = None, alive
    runtime_dir = tmp_path / f"r{racers.index(winner)}"
    device.runtime_dir = runtime_dir
    device.process = winner  # type: ignore[assignment]
    device.log.touch()
    device.wait_for(lambda status: status.agent.state == "READY")
    assert [number for number in range(RACERS) if (tmp_path / f"r{number}").exists()] == [racers.index(winner)]
    winner.terminate()
    winner.communicate(timeout=PATIENCE_S)
    device.process = None
    assert winner.returncode == 0
    for racer in ended:
        racer.communicate()


def test_a_directory_of_a_newer_agent_is_refused_and_left_as_it_is(device: AgentDevice) -> None:
    device.start()
    assert device.install((MODEL, "1")).state == "COMMITTED"
    assert device.stop() == 0
    (device.state_dir / "layout_version").write_text("99\n")
    before = tree(device.state_dir)
    refused = another_agent(device, device.runtime_dir)
    said, _ = refused.communicate(timeout=PATIENCE_S)
    assert refused.returncode == 1
    assert "came 99 of a newer agent; nothing was changed" in said
    assert tree(device.state_dir) == before


def test_a_directory_of_the_first_layout_serves_at_once_with_an_engine_that_was_built_again(
    device: AgentDevice,
) -> None:
    device.start()
    assert device.install((MODEL, "1")).state == "COMMITTED"
    assert device.stop() == 0
    (engine,) = (device.state_dir / "engines").glob("*.onnx")
    engine.with_name(f"{engine.name}.mac").rename(engine.with_name(f"{engine.name}.sha256"))
    (device.state_dir / "device.key").unlink()
    (device.state_dir / "layout_version").write_text("1\n")
    built = engine.stat().st_ino
    device.start()
    assert device.inspect(grey_picture(GREY)).results[0].version == "1"
    assert (device.state_dir / "layout_version").read_text() == "2\n"
    (engine,) = (device.state_dir / "engines").glob("*.onnx")
    assert engine.stat().st_ino != built
    assert engine.with_name(f"{engine.name}.mac").exists()
