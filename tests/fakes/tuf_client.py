"""``scripts/tuf-client`` as the conformance suite runs it: one process for each call, judged by what it leaves.

A process that has imported everything forks for each call, so that hundreds of calls
cost seconds. Run as a program this module is that process.
"""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.fakes.tree import ROOT
from tests.fakes.tuf_simulator import Simulator

OK = ""


class Runner:
    """The process that forks."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests = requests
        self._answers = answers

    def run(self, words: list[str], stderr: Path, ahead_s: float) -> int:
        """Run the command line with a clock that is ``ahead_s`` seconds ahead; return its exit code."""
        self._requests.write(json.dumps({"words": words, "stderr": str(stderr), "ahead_s": ahead_s}) + "\n")
        self._requests.flush()
        return int(self._answers.readline())


@contextmanager
def runner() -> Iterator[Runner]:
    """Start the process and end it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.tuf_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Runner(process.stdin, process.stdout)
        process.stdin.close()


class Client:
    """One client: its directories, and what it did.

    Args:
        home: for its directories.
        simulator: what it is initialised with.
        url: where that is served.
        runner: runs it.
    """

    def __init__(self, home: Path, simulator: Simulator, url: str, runner: Runner) -> None:
        self.metadata = home / "metadata"
        self.artefacts = home / "targets"
        self.metadata.mkdir()
        self.artefacts.mkdir()
        self.said = ""
        self._home = home
        self._simulator = simulator
        self._url = url
        self._runner = runner

    def init(self, root: bytes | None = None) -> str:
        """Run ``init`` with ``root``, or the simulator's first; return OK or the error's word, as the others do."""
        given = self._home / "initial_root.json"
        given.write_bytes(self._simulator.files["/metadata/1.root.json"] if root is None else root)
        return self.run("--metadata-dir", str(self.metadata), "init", str(given))

    def refresh(self, *, days: float = 0) -> str:
        return self.run(*self.refresh_words(), days=days)

    def refresh_words(self) -> list[str]:
        return ["--metadata-url", f"{self._url}/metadata/", "--metadata-dir", str(self.metadata), "refresh"]

    def download(self, *names: str, days: float = 0) -> str:
        return self.run(*self.download_words(*names), days=days)

    def download_words(self, *names: str) -> list[str]:
        places = ["--target-dir", str(self.artefacts), "--target-base-url", f"{self._url}/targets/", "download"]
        asked = [word for name in names for word in ("--target-name", name)]
        return [*self.refresh_words()[:-1], *asked, *places]

    def run(self, *words: str, days: float = 0) -> str:
        stderr = self._home / "stderr"
        code = self._runner.run(list(words), stderr, days * 86_400)
        self.said = stderr.read_text()
        assert code in {0, 1}, self.said
        assert bool(code) == bool(self.said), self.said
        assert "Traceback" not in self.said, self.said
        return self.said.removeprefix("tuf-client: ").partition(":")[0]

    def versions(self) -> dict[str, int]:
        """Return the trusted roles with their versions, as the suite reads them."""
        files = sorted(self.metadata.glob("*.json"))
        return {path.name.removesuffix(".json"): json.loads(path.read_bytes())["signed"]["version"] for path in files}

    def content(self, role: str) -> bytes:
        """Return what is trusted of a role."""
        return (self.metadata / f"{role}.json").read_bytes()

    def state(self) -> dict[str, bytes]:
        """Return every file of the metadata directory."""
        files = (path for path in self.metadata.rglob("*") if path.is_file())
        return {str(path.relative_to(self.metadata)): path.read_bytes() for path in files}

    def downloaded(self) -> list[bytes]:
        """Return the contents of what was downloaded, sorted."""
        return sorted(path.read_bytes() for path in self.artefacts.rglob("*") if path.is_file())


def _serve() -> None:
    from scripts.tuf_conformance.__main__ import main  # noqa: PLC0415 - only the process that forks needs it

    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _be_the_client(request, main)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _be_the_client(request: dict[str, Any], main: Callable[[], int]) -> NoReturn:
    log = os.open(request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    clock = time.time
    time.time = lambda: clock() + request["ahead_s"]
    sys.argv = ["tuf-client", *request["words"]]
    try:
        code = main()
    except SystemExit as exc:
        code = int(exc.code or 0)
    sys.stderr.flush()
    # Without taking the interpreter down, which costs more than all the rest.
    os._exit(code)


if __name__ == "__main__":
    _serve()
