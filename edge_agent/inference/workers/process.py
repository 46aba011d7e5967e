"""One worker process as the agent sees it: started, told what to load, heard, ended."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.errors import ActivationError, Code
from edge_agent.inference.engines.cache import EngineFile
from edge_agent.inference.runtimes.table import PACKAGE_ROOT
from edge_agent.inference.workers.segments import Endpoint

_PART_BYTES = 1 << 16
_STDERR = 2


class Order(NamedTuple):
    """What a worker is told to do."""

    directory: Path
    manifest: dict[str, Any]
    engine: EngineFile
    threads: int
    lanes: int
    load_timeout_s: float
    hang_timeout_s: float
    providers: tuple[str, ...] = ()


class WorkerProcess:
    """A started process, its control socket and our ends of its lanes."""

    def __init__(self, lanes: int) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process: subprocess.Popen[bytes] | None = None
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(lanes)]
        self.lanes = [Endpoint(ours) for ours, _ in pairs]
        self._handed_over = [their for _, their in pairs]
        command = [
            sys.executable,
            "-m",
            "edge_agent.inference.workers.worker",
            "serve",
            str(os.getpid()),
            str(theirs.fileno()),
        ]
        try:
            self.process = subprocess.Popen(
                command,
                cwd=PACKAGE_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                pass_fds=(theirs.fileno(),),
                # More threads than a lane asks for would take the time of the others.
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"},
            )
        except OSError as exc:
            self.end()
            raise ActivationError(Code.LOAD_FAILED, f"expected a worker process, {exc.strerror}") from exc
        finally:
            theirs.close()

    def order(self, order: Order) -> None:
        """Tell it what to load; its imports may take a while, but not longer than loading may.

        Raises:
            OSError: it ended, or does not read.
        """
        self.control.settimeout(order.load_timeout_s)
        content = json.dumps(
            {
                "directory": str(order.directory),
                "manifest": order.manifest,
                "engine": str(order.engine.path),
                "key": order.engine.key.hex(),
                "threads": order.threads,
                "providers": order.providers,
            }
        ).encode()
        descriptors = [their.fileno() for their in self._handed_over]
        socket.send_fds(self.control, [str(len(content)).encode()], descriptors)
        for their in self._handed_over:
            their.close()
        for at in range(0, len(content), _PART_BYTES):
            self.control.send(content[at : at + _PART_BYTES])

    @property
    def process_id(self) -> int | None:
        """Return the process id."""
        return None if self.process is None else self.process.pid

    def answer(self) -> dict[str, Any]:
        """Return what it tells of its loading.

        Raises:
            ActivationError: LOAD_FAILED: it ended, or could not load.
        """
        try:
            content = self.control.recv(_PART_BYTES)
        except ConnectionError:
            content = b""
        if not content:
            raise ActivationError(Code.LOAD_FAILED, f"the worker {self.end()} while it loaded the model")
        told: dict[str, Any] = json.loads(content)
        if "code" in told:
            raise ActivationError(Code.LOAD_FAILED, str(told["message"]))
        return told

    def end(self) -> str:
        """Kill it, wait for it, and return how it ended; its lanes stay with who holds them."""
        self.control.close()
        for their in self._handed_over:
            their.close()
        if self.process is None:
            return "could not be started"
        self.process.kill()
        status = self.process.wait()
        return f"was ended by signal {-status}" if status < 0 else f"ended with {status}"
