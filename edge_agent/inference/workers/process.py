"""One worker process as the agent sees it: started, told what to load, heard, ended."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.errors import ActivationError, Code, ConfigError
from edge_agent.inference.batching import Batching
from edge_agent.inference.engines.cache import EngineFile
from edge_agent.inference.runtimes.table import PACKAGE_ROOT
from edge_agent.inference.workers.segments import Endpoint

_PART_BYTES = 1 << 16
# A process that closed its socket is about to end.
_ENDING_S = 1.0
# More threads than a lane asks for would take the time of the others.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
_STDERR = 2


class Limits(NamedTuple):
    """What a worker may take of the machine.

    Attributes:
        memory_bytes: private memory; 0: no limit.
        cpus: processors, as the system numbers them; empty: all.
        shadow_nice: niceness of requests that only watch.
    """

    memory_bytes: int = 0
    cpus: tuple[int, ...] = ()
    shadow_nice: int = 0

    def __str__(self) -> str:
        """Return what may be why a worker failed; empty where nothing may."""
        return f" (it may take {self.memory_bytes} bytes for itself)" if self.memory_bytes else ""


def check_processors(cpus: Sequence[int]) -> None:
    """Check that this process, and so its workers, may use the processors of ``inference.cpus``.

    Raises:
        ConfigError: CONFIG_INVALID, one is not there.
    """
    there = os.sched_getaffinity(0)
    lacking = sorted(set(cpus) - there)
    if lacking:
        message = f"inference.cpus: expected some of {sorted(there)}, which this process may use, came {lacking[0]}"
        raise ConfigError(Code.CONFIG_INVALID, message)


class Order(NamedTuple):
    """What a worker is told to do."""

    directory: Path
    manifest: dict[str, Any]
    engine: EngineFile
    threads: int
    batching: Batching
    load_timeout_s: float
    hang_timeout_s: float
    providers: tuple[str, ...] = ()
    limits: Limits = Limits()


class WorkerProcess:
    """A started process, its control socket and, once it has its order, our ends of its lanes.

    Args:
        imports: runtimes that it imports while it waits for its order.

    Raises:
        ActivationError: LOAD_FAILED, no process can be started.
    """

    def __init__(self, imports: Sequence[str] = ()) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        ((self.control, theirs),) = _pairs(1)
        self.lanes: list[Endpoint] = []
        self._limits = Limits()
        arguments = ["serve", str(os.getpid()), str(theirs.fileno()), *imports]
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent.inference.workers.worker", *arguments],
                cwd=PACKAGE_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **_ENVIRONMENT},
            )
        except OSError as exc:
            self.end()
            raise ActivationError(Code.LOAD_FAILED, f"expected a worker process, {exc.strerror}") from exc
        finally:
            theirs.close()

    def order(self, order: Order) -> None:
        """Tell it what to load; its imports may take a while, but not longer than loading may.

        Raises:
            ActivationError: LOAD_FAILED, this process has no descriptors left.
            OSError: it ended, or does not read.
        """
        self.control.settimeout(order.load_timeout_s)
        self._limits = order.limits
        told = order._asdict() | {"directory": str(order.directory), "engine": str(order.engine.path)}
        content = json.dumps(told | {"key": order.engine.key.hex()}).encode()
        pairs = _pairs(order.batching.callers)
        self.lanes = [Endpoint(ours) for ours, _ in pairs]
        try:
            descriptors = [theirs.fileno() for _, theirs in pairs]
            socket.send_fds(self.control, [str(len(content)).encode()], descriptors)
        finally:
            for _, theirs in pairs:
                theirs.close()
        for at in range(0, len(content), _PART_BYTES):
            self.control.send(content[at : at + _PART_BYTES])

    @property
    def waits(self) -> bool:
        """Tell whether it is still there; one that has no order is the first that the kernel ends."""
        return self.process is not None and self.process.poll() is None

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
            how = self.end(within_s=_ENDING_S)
            raise ActivationError(Code.LOAD_FAILED, f"the worker {how} while it loaded the model{self._limits}")
        told: dict[str, Any] = json.loads(content)
        if "code" in told:
            raise ActivationError(Code.LOAD_FAILED, str(told["message"]))
        return told

    def end(self, within_s: float = 0.0) -> str:
        """Kill it unless it ends by itself, and return how it ended; its lanes stay with who holds them."""
        self.control.close()
        if self.process is None:
            return "could not be started"
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
        self.process.kill()
        status = self.process.wait()
        return f"was ended by signal {-status}" if status < 0 else f"ended with {status}"


def _pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    pairs: list[tuple[socket.socket, socket.socket]] = []
    try:
        for _ in range(count):
            pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))  # noqa: PERF401 - see below
    except OSError as exc:
        # A comprehension would lose those that were made.
        for end in (end for pair in pairs for end in pair):
            end.close()
        raise ActivationError(Code.LOAD_FAILED, f"expected sockets for a worker, {exc.strerror}") from exc
    return pairs
