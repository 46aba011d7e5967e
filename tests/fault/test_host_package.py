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
# How many moments of each part of an upgrade are tried; drawn from each, since unpacking takes nearly all of the time.
POINTS = (
    {"unpack": 20, "configure": 20, "start": 10}
    if os.environ.get("EDGE_TEST_SWEEP")
    else {"unpack": 1, "configure": 2, "start": 1}
)

pytestmark = [
    pytest.mark.timeout(7200 if os.environ.get("EDGE_TEST_SWEEP") else 900),
    pytest.mark.skipif(
        os.geteuid() != 0 and not os.environ.get("CI"), reason="only root makes a Debian in a directory"
    ),
    pytest.mark.skipif(shutil.which("dpkg") is None and not os.environ.get("CI"), reason="not a Debian: no dpkg"),
]


class Host(NamedTuple):
    """What the tests share: devices that are copied, and how long the parts of an upgrade take."""

    home: Path
    old: Path
    new: Path
    installed: Debian
    unpacked: Debian
    upgraded: Debian
    seconds: dict[str, float]


def build(out: Path, *options: str) -> Path:
    command = [str(ROOT / "scripts/package-deb"), "--out", str(out), "--compress", "none", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def end(process: "subprocess.Popen[str]") -> float:
    """Wait for a good end; return how long it took."""
    begun = time.monotonic()
    with process:
        told, _ = process.communicate()
    assert process.returncode == 0, told
    return time.monotonic() - begun


def install(device: Debian, package: Path) -> None:
    end(device.unpack(package))
    end(device.configure())


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with short_directory() as home:
        with ThreadPoolExecutor() as beside:
            debian = beside.submit(Debian.bootstrapped, home / "i")
            old, new = build(home), build(home, "--version", NEWER)
            installed = debian.result()
        install(installed, old)
        unpacked = installed.copy(home / "n")
        seconds = {"unpack": end(unpacked.unpack(new))}
        upgraded = unpacked.copy(home / "u")
        seconds["configure"] = end(upgraded.configure())
        yield Host(home, old, new, installed, unpacked, upgraded, seconds)


@pytest.fixture
def root(host: Host) -> Iterator[Path]:
    """Return where a device may be copied to."""
    yield host.home / "d"
    shutil.rmtree(host.home / "d")


def version(device: Debian) -> str:
    """Return which version would be started."""
    return (device.root / "usr/lib/edge-agent/current/build").read_text().partition("-")[0]


def serving(device: Debian) -> str:
    with device.agent() as agent:
        assert agent.state == "READY"
        told = agent.version
    assert version(device) == told
    return told


def kept(device: Debian) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in (device.root / "usr/lib/edge-agent/versions").iterdir())


def test_an_installed_agent_serves_as_its_own_user_without_a_network(host: Host, root: Path) -> None:
    device = host.installed.copy(root)
    assert serving(device) == __version__
    assert device.run("edge-agent", "--version").stdout == f"edge-agent {__version__}\n"
    # A key can be made in a token: it could not be fetched later.
    tried = device.run("/usr/lib/edge-agent/current/bin/python3", "-I", "-c", "import pkcs11._pkcs11")
    assert (tried.returncode, tried.stdout) == (0, "")
    assert device.run("stat", "-c", "%U:%G %a", "/etc/edge-agent").stdout == "root:edge-agent 750\n"
    assert "edge-agent-admin" in (device.root / "etc/group").read_text()
    wanted = device.root / "etc/systemd/system/multi-user.target.wants"
    assert {"edge-agent.service", "edge-agent-dashboard.service"} <= {path.name for path in wanted.iterdir()}


def test_an_upgrade_keeps_state_configuration_and_the_version_before(host: Host, root: Path) -> None:
    device = host.unpacked.copy(root)
    # Unpacking changed nothing of what runs.
    assert serving(device) == __version__
    key = device.root / "var/lib/edge-agent/device.key"
    secret = key.read_bytes()
    (device.root / "etc/edge-agent/config.toml").write_text('[device]\nthing = "press-4"\n')
    end(device.configure())
    with device.agent() as agent:
        assert (agent.version, agent.thing) == (NEWER, "press-4")
    assert key.read_bytes() == secret
    assert kept(device) == sorted([__version__, NEWER])


def test_who_goes_back_has_the_version_before_without_a_package(host: Host, root: Path) -> None:
    device = host.upgraded.copy(root)
    assert serving(device) == NEWER
    for block in blocks(ROOT / "docs" / "host.md", "Upgrade, and back"):
        done = device.run("sh", "-ec", block)
        assert done.returncode == 0, done.stdout
    assert serving(device) == __version__


def test_a_downgrade_by_package_serves(host: Host, root: Path) -> None:
    device = host.upgraded.copy(root)
    install(device, host.old)
    assert serving(device) == __version__


def test_removing_keeps_the_state_and_purging_says_that_it_does_not(host: Host, root: Path) -> None:
    device = host.installed.copy(root)
    assert serving(device) == __version__
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


def killed(process: "subprocess.Popen[str]", after_s: float) -> bool:
    """Kill it with all that it started, and tell whether it was not too late."""
    with process:
        try:
            process.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
    return False


def cut_off(host: Host, root: Path, part: str, share: float) -> Debian:
    """Return a device whose upgrade was cut off after a share of a part's time; sooner, if that was too late."""
    while True:
        if part == "unpack":
            device = host.installed.copy(root)
            process = device.unpack(host.new)
        else:
            device = host.unpacked.copy(root)
            process = device.configure()
        if killed(process, share * host.seconds[part]):
            return device
        shutil.rmtree(root)
        share *= 0.8


def cut_off_at_its_start(host: Host, root: Path, share: float) -> Debian:
    """Return an upgraded device whose agent was killed after a share of the time that it takes to be READY."""
    device = host.upgraded.copy(root)
    if "start" not in host.seconds:
        begun = time.monotonic()
        with device.starting() as (_, ears):
            while b"READY=1" not in ears.recv(4096):
                pass
        host.seconds["start"] = time.monotonic() - begun
        shutil.rmtree(root)
        device = host.upgraded.copy(root)
    with device.starting() as (process, _):
        killed(process, share * host.seconds["start"])
    return device


def moments() -> Iterator[tuple[str, float]]:
    chance = random.Random(SEED)
    for part, amount in POINTS.items():
        for _ in range(amount):
            yield part, chance.random()


@pytest.mark.parametrize(
    ("part", "share"), list(moments()), ids=lambda value: value if isinstance(value, str) else f"{value:.3f}"
)
def test_an_upgrade_that_is_killed_anywhere_leaves_a_working_agent(
    host: Host, root: Path, part: str, share: float
) -> None:
    device = cut_off_at_its_start(host, root, share) if part == "start" else cut_off(host, root, part, share)
    state = device.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "edge-agent").stdout
    # Before anyone mends anything: the machine may simply be switched on again.
    after_kill = serving(device)
    mended = device.run("dpkg", "--configure", "-a").returncode
    after_mending = serving(device)
    told = f"seed {SEED}: {part} killed at {share:.3f}: {state}, {after_kill}, {mended}, {after_mending}"
    print(told)  # noqa: T201 - what a sweep is read for
    assert {after_kill, after_mending} <= {__version__, NEWER}, told
    if part == "unpack":
        install(device, host.new)
    assert version(device) == NEWER
