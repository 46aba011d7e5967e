"""The .deb in a Debian of its own: built, installed, upgraded, cut off in the middle, removed, purged."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from edge_agent import __version__
from tests.fakes.debian import Debian, short_directory
from tests.pages import blocks

ROOT = Path(__file__).parents[2]
NEWER = "99.0.0"
SEED = 20261130
POINTS = 50 if os.environ.get("EDGE_TEST_SWEEP") else 3

pytestmark = [
    pytest.mark.timeout(900 if POINTS == 3 else 7200),
    pytest.mark.skipif(os.geteuid() != 0, reason="a Debian in a directory is made and entered by root only"),
    pytest.mark.skipif(shutil.which("dpkg") is None, reason="not a Debian: there is nothing to install a .deb with"),
]


class Host(NamedTuple):
    """What the tests share."""

    home: Path
    installed: Debian
    old: Path
    new: Path


def build(out: Path, *options: str) -> Path:
    command = [str(ROOT / "scripts/package-deb"), "--out", str(out), "--compress", "none", *options]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with short_directory() as home:
        with ThreadPoolExecutor() as beside:
            debian = beside.submit(Debian.bootstrapped, home / "installed")
            old, new = build(home), build(home, "--version", NEWER)
            installed = debian.result()
        with installed.install(old) as process:
            told, _ = process.communicate()
        assert process.returncode == 0, told
        yield Host(home, installed, old, new)


@pytest.fixture
def device(host: Host) -> Iterator[Debian]:
    """Return a device on which the older version is installed."""
    root = host.home / "d"
    yield host.installed.copy(root)
    shutil.rmtree(root)


def upgraded(device: Debian, package: Path) -> str:
    with device.install(package) as process:
        told, _ = process.communicate()
    assert process.returncode == 0, told
    return told


def version(device: Debian) -> str:
    return device.run("edge-agent", "--version").stdout.split()[-1]


def kept(device: Debian) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in (device.root / "usr/lib/edge-agent/versions").iterdir())


def test_an_installed_agent_serves_as_its_own_user_without_a_network(device: Debian) -> None:
    with device.agent() as status:
        assert status["agent"]["state"] == "READY"
        assert status["agent"]["version"] == __version__
    assert device.run("stat", "-c", "%U:%G %a", "/etc/edge-agent").stdout == "root:edge-agent 750\n"
    assert "edge-agent-admin" in (device.root / "etc/group").read_text()
    wanted = device.root / "etc/systemd/system/multi-user.target.wants"
    assert {"edge-agent.service", "edge-agent-dashboard.service"} <= {path.name for path in wanted.iterdir()}


def test_an_upgrade_keeps_state_configuration_and_the_version_before(device: Debian, host: Host) -> None:
    with device.agent():
        pass
    key = device.root / "var/lib/edge-agent/device.key"
    secret = key.read_bytes()
    configuration = device.root / "etc/edge-agent/config.toml"
    configuration.write_text('[device]\nthing = "press-4"\n')
    upgraded(device, host.new)
    with device.agent() as status:
        assert (status["agent"]["version"], status["agent"]["thing"]) == (NEWER, "press-4")
    assert key.read_bytes() == secret
    assert kept(device) == sorted([__version__, NEWER])


def test_who_goes_back_has_the_version_before_without_a_package(device: Debian, host: Host) -> None:
    upgraded(device, host.new)
    for block in blocks(ROOT / "docs" / "host.md", "Upgrade, and back"):
        done = device.run("sh", "-ec", block)
        assert done.returncode == 0, done.stdout
    with device.agent() as status:
        assert status["agent"]["version"] == __version__


def test_a_downgrade_by_package_serves(device: Debian, host: Host) -> None:
    upgraded(device, host.new)
    upgraded(device, host.old)
    with device.agent() as status:
        assert status["agent"]["version"] == __version__


def test_removing_keeps_the_state_and_purging_says_that_it_does_not(device: Debian) -> None:
    with device.agent():
        pass
    (device.root / "etc/edge-agent/device.pem").write_text("a person's own\n")
    removed = device.run("dpkg", "-r", "edge-agent")
    assert removed.returncode == 0
    assert "stays in /var/lib/edge-agent" in removed.stdout
    assert (device.root / "var/lib/edge-agent/device.key").is_file()
    assert not (device.root / "usr/lib/edge-agent").exists()
    purged = device.run("dpkg", "--purge", "edge-agent")
    assert purged.returncode == 0
    assert "deleting models, counts, captures and trust in /var/lib/edge-agent" in purged.stdout
    assert not (device.root / "var/lib/edge-agent").exists()
    assert [path.name for path in (device.root / "etc/edge-agent").iterdir()] == ["device.pem"]


def cut_off(host: Host, root: Path, share: float, whole_s: float) -> Debian:
    """Return a device whose upgrade was killed after a share of its time; sooner, if that was too late."""
    while True:
        device = host.installed.copy(root)
        with device.install(host.new) as process:
            try:
                process.communicate(timeout=share * whole_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                return device
        shutil.rmtree(root)
        share *= 0.8


def serving(device: Debian) -> str:
    with device.agent() as status:
        assert status["agent"]["state"] == "READY"
        assert status["agent"]["version"] == version(device)
        return str(status["agent"]["version"])


def test_an_upgrade_that_is_killed_anywhere_leaves_a_working_agent(host: Host) -> None:
    chance = random.Random(SEED)
    root = host.home / "k"
    whole = host.installed.copy(root)
    begun = time.monotonic()
    upgraded(whole, host.new)
    whole_s = time.monotonic() - begun
    shutil.rmtree(root)
    for point in range(POINTS):
        share = chance.random()
        device = cut_off(host, root, share, whole_s)
        state = device.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "edge-agent").stdout
        # Before anyone mends anything: the machine may simply be switched on again.
        after_kill = serving(device)
        mended = device.run("dpkg", "--configure", "-a").returncode
        after_mending = serving(device)
        told = f"seed {SEED} point {point}: killed at {share:.3f}, {state}, {after_kill}, {mended}, {after_mending}"
        print(told)  # noqa: T201 - what a sweep is read for
        assert {after_kill, after_mending} <= {__version__, NEWER}, told
        upgraded(device, host.new)
        assert version(device) == NEWER
        shutil.rmtree(root)
