"""A Debian of its own in a directory, in which packages are installed, cut off and run: loopback only."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.client import AgentClient
from edge_agent.formats.status import AgentStatus

PATIENCE_S = 120.0
# Two packages, a Debian, and copies of it with two versions of the agent.
_ALL_BYTES = 5 << 30
# What a test may change in place; everything else of a copy is hard links to where it came from.
_OWN = ("etc", "var/lib/dpkg", "var/lib/edge-agent", "var/lib/systemd", "var/log", "run")
_INSIDE = 'mount -t proc proc "$0/proc" && ip link set lo up && chroot "$0" "$@"'
_VERSION = "/usr/lib/edge-agent/edge-agent-version"
_USER = ("setpriv", "--reuid", "edge-agent", "--regid", "edge-agent", "--init-groups")


def mirror() -> str:
    """Return where this machine takes its own Debian packages from."""
    form = "$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)"
    told = _output("apt-get", "indextargets", "--format", form, "Created-By: Packages")
    rows = [line.split("|") for line in told.splitlines()]
    found = [uri for origin, part, name, uri in rows if (origin, part, name) == ("Debian", "main", codename())]
    assert found, f"expected apt to know main of Debian {codename()} (after apt-get update), it knows {rows}"
    return found[0]


def proxies() -> dict[str, str]:
    """Return what apt goes through, as debootstrap's downloads take it."""
    told = _output("apt-config", "shell", "http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy")
    return dict(word.split("=", 1) for word in shlex.split(told))


def codename() -> str:
    """Return the name of this machine's Debian."""
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


class Debian:
    """A root directory.

    Args:
        root: where it lies; short, since sockets inside have paths of at most 108 characters.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def bootstrapped(cls, root: Path) -> Debian:
        """Return the least that the package asks for."""
        packages = "python3,systemd-standalone-sysusers,systemd-standalone-tmpfiles"
        order = ("debootstrap", "--variant=minbase", f"--include={packages}", codename(), str(root), mirror())
        try:
            _output(*order, **proxies())
        except (AssertionError, subprocess.TimeoutExpired) as exc:
            log = root / "debootstrap/debootstrap.log"
            end = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise AssertionError(
                f"expected to make a Debian in a directory, which takes root and a mirror: {exc}\n{end}"
            ) from exc
        debian = cls(root)
        entered = debian.run("true")
        assert entered.returncode == 0, f"expected to enter a Debian in namespaces of its own: {entered.stdout}"
        return debian

    def copy(self, root: Path) -> Debian:
        """Return a copy that may be broken."""
        _output("cp", "-al", str(self.root), str(root))
        for name in _OWN:
            if (self.root / name).exists():
                shutil.rmtree(root / name)
                _output("cp", "-a", str(self.root / name), str(root / name))
        return Debian(root)

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command inside; killing it kills all that it started, in one moment, as a power cut would."""
        apart = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child")
        text = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([*apart, "sh", "-c", _INSIDE, str(self.root), *command], **(text | options))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; stdout has stderr, too."""
        with self.start(*command) as process:
            told, _ = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(command, process.returncode, told)

    def unpack(self, package: Path) -> subprocess.Popen[str]:
        """Start to unpack a package of this machine, the first half of what apt does."""
        (self.root / "var/tmp" / package.name).unlink(missing_ok=True)
        os.link(package, self.root / "var/tmp" / package.name)
        # Syncs say nothing about kills, and cost minutes.
        return self.start("dpkg", "--force-unsafe-io", "--unpack", f"/var/tmp/{package.name}")

    def configure(self) -> subprocess.Popen[str]:
        """Start to configure what is unpacked, the second half: the package's scripts run in it."""
        return self.start("dpkg", "--force-unsafe-io", "--force-confold", "--configure", "-a")

    @contextmanager
    def starting(self) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
        """Start the agent as the unit and its drop-in do; give it, and where it says READY. It is killed in the end."""
        for name in ("var/lib/edge-agent", "run/edge-agent"):
            (self.root / name).mkdir(exist_ok=True)
            _output("chroot", str(self.root), "chown", "edge-agent:edge-agent", f"/{name}")
        self.inside(_VERSION, "attempt")
        self.inside(*_USER, _VERSION, "settle")
        notify = self.root / "run/edge-agent/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
            ears.bind(str(notify))
            notify.chmod(0o666)
            ears.settimeout(PATIENCE_S)
            told = ("env", "NOTIFY_SOCKET=/run/edge-agent/notify", "/usr/bin/edge-agent", "run")
            process = self.start(*_USER, *told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                yield process, ears
            finally:
                process.kill()
                process.wait()
                notify.unlink()

    @contextmanager
    def agent(self) -> Iterator[AgentStatus]:
        """Run the agent from READY on, confirmed as the drop-in does it; give what its status says of it."""
        with self.starting() as (_, ears):
            while b"READY=1" not in ears.recv(4096):
                pass
            self.inside(*_USER, _VERSION, "answers")
            self.inside(_VERSION, "confirm")
            with AgentClient.at(self.root / "run/edge-agent") as client:
                status = client.status(timeout_s=PATIENCE_S)
            yield status.agent

    def inside(self, *command: str) -> str:
        """Run a command beside the agent that runs, to its good end; return what it says."""
        return _output("chroot", str(self.root), *command)


@contextmanager
def short_directory() -> Iterator[Path]:
    """Give a directory with a short path, in memory where there is plenty of it: each Debian is thousands of files."""
    path = Path(tempfile.mkdtemp(prefix="deb-"))
    in_memory = _available_bytes() > 2 * _ALL_BYTES
    if in_memory:
        _output("mount", "-t", "tmpfs", "-o", f"size={_ALL_BYTES},mode=755", "debian", str(path))
    try:
        yield path
    finally:
        if in_memory:
            _output("umount", str(path))
        shutil.rmtree(path)


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def _output(*command: str, **environment: str) -> str:
    told = os.environ | environment
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=told)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
