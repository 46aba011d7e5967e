"""Devices forked from one warm process, so that a life costs a fraction of a second and not the imports of an agent.

Run as a program it takes one task a line on stdin, forks, and tells on stdout: ``{"gate": N}`` when the
child stands at its gate (any byte lets it go on), ``{"ended": STATUS}`` when it is gone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIFE_S = 120.0
HUNG = -1


class Ended(NamedTuple):
    """How a life ended.

    Attributes:
        signal: that killed it; 0: none; HUNG: it did not end.
        result: what it wrote down; empty when it was killed.
        log: its last lines.
    """

    signal: int
    result: dict[str, Any]
    log: str


class Nursery:
    """The warm process; one life at a time."""

    def __init__(self) -> None:
        # One thread in numpy's library: a process with more cannot be forked safely.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.nursery"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Nursery:  # noqa: PYI034 - Self came with Python 3.11
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(LIFE_S)
        self._process.stdout.close()

    def live(self, task: dict[str, Any], at_gate: Callable[[int], None] | None = None) -> Ended:
        """Let a device live and return how that ended; ``at_gate`` gets the thread to look at, at each gate."""
        directory = Path(task["directory"])
        (directory / "result.json").unlink(missing_ok=True)
        self._say(json.dumps(task) + "\n")
        said = self._hear()
        while "gate" in said:
            assert at_gate is not None
            at_gate(said["gate"])
            self._say("!")
            said = self._hear()
        assert "ended" in said, said
        result = directory / "result.json"
        log = (directory / "log").read_text(errors="replace")[-6000:]
        return Ended(said["ended"], json.loads(result.read_text()) if result.exists() else {}, log)

    def _say(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(words.encode())
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery is gone"
        heard: dict[str, Any] = json.loads(line)
        return heard


def main() -> None:
    """Take tasks until stdin ends."""
    import edge_agent.inference.execution  # noqa: F401, PLC0415 - warm: the runtime comes with it
    from edge_agent.inference import available_runtimes  # noqa: PLC0415
    from tests.fakes import forked_life  # noqa: PLC0415 - only the program needs the whole agent

    available_runtimes()

    while line := os.read(0, 1 << 16):
        task = forked_life.Task(**json.loads(line))
        child = os.fork()
        if child == 0:
            _live(forked_life, task)
        _tell(1, {"ended": _await(child)})


def _live(forked_life: Any, task: Any) -> None:
    status = 70
    try:
        log = os.open(Path(task.directory) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        answers = os.dup(1)
        os.dup2(log, 1)
        os.dup2(log, 2)
        life = forked_life.Life(task, lambda thread: _stand_at_gate(answers, thread))
        code = life.live()
        # A fault that is for the agent must not meet who looks after it.
        if code == 0 and task.gate != "begin":
            life.check_disk()
        content = json.dumps(forked_life.result_of(life, code))
        (Path(task.directory) / "result.json").write_text(content)
        status = 0
    except BaseException:  # noqa: BLE001 - told in the log
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _stand_at_gate(answers: int, thread: int) -> None:
    _tell(answers, {"gate": thread})
    os.read(0, 1)


def _tell(answers: int, said: dict[str, Any]) -> None:
    os.write(answers, json.dumps(said).encode() + b"\n")


def _await(child: int) -> int:
    """Return the signal that ended the child, 0 or HUNG."""
    watch = os.pidfd_open(child)
    hung = not select.select([watch], [], [], LIFE_S)[0]
    os.close(watch)
    if hung:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if hung:
        return HUNG
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


if __name__ == "__main__":
    main()
