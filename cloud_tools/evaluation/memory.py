"""What a process that only loads and executes a graph needs: measured in one that does nothing else.

``VmHWM`` of the kernel counts the process's own memory map. ``getrusage`` would not do: what
the parent had before it called exec counts there as the child's.
"""

import subprocess
import sys
from pathlib import Path

from cloud_tools.training.progress import Progress

_STATUS = Path("/proc/self/status")
_RUNS = 3
_PATIENCE_S = 300.0


def peak_memory_bytes(graph: Path, progress: Progress) -> int | None:
    """Return the peak resident memory of a fresh process that answers a few pictures.

    None where no kernel tells it or the process fails, which ``progress`` is told: one figure less ends no evaluation.
    """
    if not _STATUS.exists():
        return None
    command = [sys.executable, "-m", __name__, str(graph)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE_S)
        return int(done.stdout)
    except subprocess.CalledProcessError as exc:
        said = exc.stderr.strip().splitlines()
        progress(f"memory was not measured: {said[-1] if said else exc}")
    except (OSError, subprocess.TimeoutExpired, ValueError) as exc:
        progress(f"memory was not measured: {exc}")
    return None


def _measure(graph: Path) -> int:
    import numpy as np

    from cloud_tools.evaluation.device import DeviceModel

    model = DeviceModel(graph)
    _, height, width, _ = model.inputs[0].shape
    for seed in range(_RUNS):
        model.run(np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8))
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    print(_measure(Path(sys.argv[1])))  # noqa: T201 - the answer to the process that asked
