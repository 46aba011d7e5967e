"""Whether this process may hold a fleet: descriptors, memory, ports; asked before anything is begun."""

import resource
from pathlib import Path
from typing import Final

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

# One socket each; the library's own, files and pipes besides.
_OTHER_DESCRIPTORS: Final = 128
# Measured: 0.09 MiB for a connection with TLS, 0.02 for the rest of a device; the double, to be safe.
DEVICE_KIB: Final = 220
# One address has 28,232 ports for connections to one broker (net.ipv4.ip_local_port_range as Linux ships it).
MOST_DEVICES: Final = 20_000


def check(devices: int) -> None:
    """Raise the soft limit of descriptors as far as needed, and see that there is memory.

    Raises:
        CloudError: INVALID_ARGUMENT, more devices than one process can connect; RESOURCE_EXHAUSTED, the hard limit
            of descriptors is too low, or there is too little memory.
    """
    if not 1 <= devices <= MOST_DEVICES:
        raise CloudError(
            Code.INVALID_ARGUMENT, f"expected 1 to {MOST_DEVICES} devices (one connection each), came {devices}"
        )
    _allow_descriptors(devices + _OTHER_DESCRIPTORS)
    needed, free = devices * DEVICE_KIB, _free_kib()
    if free is not None and free < needed:
        raise CloudError(
            Code.RESOURCE_EXHAUSTED,
            f"expected {needed // 1024} MiB of free memory for {devices} devices, there are {free // 1024} MiB",
        )


def _allow_descriptors(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise CloudError(
                Code.RESOURCE_EXHAUSTED,
                f"expected a limit of {needed} open files (a connection for each device), the hard limit is {hard}:"
                f" raise it (ulimit -Hn {needed}), or simulate fewer devices",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _free_kib(path: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None  # not Linux: nothing to go by
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) if found else None
