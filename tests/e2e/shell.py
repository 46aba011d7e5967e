"""Shell blocks of a page, run as a reader would: one after the other, in an empty directory."""

import os
import subprocess
import sys
from pathlib import Path

from tests.pages import ROOT, blocks

__all__ = ["ROOT", "blocks", "run_blocks"]

# What the reader would do at the end: the agent runs until it is told, and the local AWS too.
_PROLOGUE = """
set -euo pipefail
ip link set lo up
end() { kill $(jobs -p) 2>/dev/null || true; edge-cloud local down --dir cloud >/dev/null 2>&1 || true; wait; }
trap end EXIT
"""


def run_blocks(commands: list[str], directory: Path, *, timeout_s: float, **environment: str) -> str:
    """Run them in a network of their own, where no port is taken, and return what they printed.

    Raises:
        AssertionError: one of the commands failed.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # Who is not root stays who they are, as the reader is: PostgreSQL, for one, does otherwise for root.
    own_user = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
    ran = subprocess.run(
        ["unshare", "--net", *own_user, "bash", "-c", _PROLOGUE + "\n".join(commands)],
        cwd=directory,
        env=os.environ | {"PATH": path, "REPO": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert ran.returncode == 0, f"exit code {ran.returncode}\n{ran.stdout[-8000:]}"
    return ran.stdout
