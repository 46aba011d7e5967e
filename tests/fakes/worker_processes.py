"""The worker and builder processes of this process, and nobody else's: tests run other servers beside them."""

import time

import psutil

from edge_agent.inference import Builder

PATIENCE_S = 60.0
_MODULE = "edge_agent.inference.workers.worker"
_NICENESS = 19


def worker_processes() -> list[psutil.Process]:
    """Return the inference processes that this one started and that still run."""
    return [child for child in psutil.Process().children() if _is_worker(child)]


def niced_builder() -> Builder:
    """Return a builder that waits for its order and has given way already: by the end of a build it may be gone."""
    builder, deadline = Builder(), time.monotonic() + PATIENCE_S
    while psutil.Process(builder.process.pid).nice() != _NICENESS:
        assert time.monotonic() < deadline, "expected a builder that gives way"
        time.sleep(0.005)
    return builder


def _is_worker(child: psutil.Process) -> bool:
    try:
        return _MODULE in child.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
