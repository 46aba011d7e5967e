"""What this machine has."""

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def memory_bytes(*, physical: int | None = None, groups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the memory that this process and its children may take at most.

    Args:
        physical: of the machine; None: as the kernel tells.
        groups: where control groups of version 2 are mounted.
        own: tells which group this process is in.
    """
    if physical is None:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = groups / _own_group(own)
    limits = [_limit(place / "memory.max") for place in (group, *group.parents) if place.is_relative_to(groups)]
    return min([physical, *(limit for limit in limits if limit is not None)])


def _own_group(own: Path) -> str:
    # proc(5): one line, "0::/path", for the one hierarchy of version 2.
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")


def _limit(file: Path) -> int | None:
    try:
        word = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(word) if word.isdigit() else None
