"""The worker and builder processes of this process, and nobody else's: tests run other servers beside them."""

import psutil

_MODULE = "edge_agent.inference.workers.worker"


def worker_processes() -> list[psutil.Process]:
    """Return the inference processes that this one started and that still run."""
    return [child for child in psutil.Process().children() if _is_worker(child)]


def _is_worker(child: psutil.Process) -> bool:
    try:
        return _MODULE in child.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
