"""``python -m scripts.benchlib.peers.environments [--json]``: ``scripts/bench setup-peers``.

One environment for each server and one for the client, under ``build/peers``, out of the package index alone. What
cannot be installed is told with the reason, and is null among the figures. Some 1.6 GB together.
"""

import argparse
import json
import subprocess
import sys
from typing import NamedTuple

from scripts.benchlib.calls import ROOT

DIRECTORY = ROOT / "build" / "peers"
_RUNTIME = "onnxruntime==1.32.0"
_REASON_LINES = 3


class Environment(NamedTuple):
    """What one environment holds."""

    name: str
    serves: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def python(self) -> str:
        """Return its interpreter."""
        return str(DIRECTORY / self.name / "bin" / "python")

    @property
    def is_made(self) -> bool:
        """Tell whether everything was installed, these versions and no others."""
        stamp = DIRECTORY / self.name / "made-from"
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == " ".join(self.packages)

    def version(self) -> str:
        """Return the first package's version."""
        return self.packages[0].partition("==")[2]


CLIENT = Environment("client", (), ("tritonclient[grpc]==2.73.0", _RUNTIME))
# PyTriton's wheel holds Triton itself, so that both live in one.
SERVERS = (
    Environment("triton", ("triton", "pytriton"), ("nvidia-pytriton==0.7.0", _RUNTIME)),
    Environment("kserve", ("kserve",), ("kserve==0.21.0", _RUNTIME)),
    # Its workers ask for an event loop in a way that newer uvloops refuse.
    Environment("mlserver", ("mlserver",), ("mlserver==1.7.1", "uvloop==0.21.0", _RUNTIME)),
)


def make(environment: Environment) -> str:
    """Make an environment, unless it is there; return why it could not be, empty: it is there."""
    if environment.is_made:
        return ""
    place = DIRECTORY / environment.name
    sys.stderr.write(f"making {place} ({', '.join(environment.packages)}) …\n")
    install = [environment.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(place)], [*install, *environment.packages]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return " ".join(done.stderr.strip().splitlines()[-_REASON_LINES:])
    (place / "made-from").write_text(" ".join(environment.packages), encoding="utf-8")
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Make all of them; the last line tells the version of each server, null where there is none."""
    parser = argparse.ArgumentParser(prog="bench setup-peers")
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.parse_args(arguments)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    told: dict[str, str | None] = {}
    for environment in (CLIENT, *SERVERS):
        why_not = make(environment)
        if why_not:
            sys.stderr.write(f"bench setup-peers: {environment.name} cannot be installed: {why_not}\n")
        for name in environment.serves:
            told[name] = None if why_not else environment.version()
    print(json.dumps({"peers": told}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
