"""What a process and its children hold: descriptors, threads, memory, mapped segments."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

_SEGMENTS = ("/dev/shm/", "/memfd:", "/SYSV")
# A process may start that is only ready to take a place; a leak of many requests is more than that.
_ALLOWANCES = {"descriptors": 12, "threads": 12, "segments": 0}


class Census(NamedTuple):
    """Sums over a process and its children.

    Attributes:
        descriptors: open ones.
        threads: all of them.
        segments: mapped memfd, POSIX and System V segments.
        foreign: descriptors and mappings of segments that have a name, which are a client's.
        resident_bytes: physical memory.
        answering: ids of those that hold segments; what is only ready to take a place holds none.
    """

    descriptors: int
    threads: int
    segments: int
    foreign: tuple[str, ...]
    resident_bytes: int
    answering: frozenset[int]

    def holds_more_than(self, before: "Census") -> str:
        """Tell what is more than it was; empty: nothing is. Memory is left to the caller."""
        grown = {
            name: (getattr(before, name), getattr(self, name))
            for name, allowance in _ALLOWANCES.items()
            if getattr(self, name) > getattr(before, name) + allowance
        }
        return "; ".join(
            [f"{name}: {was} then, {now} now" for name, (was, now) in grown.items()]
            + [f"holds {name}" for name in self.foreign]
        )


def census(pid: int) -> Census:
    """Count what a process and its children hold now."""
    root = psutil.Process(pid)
    processes = [root, *root.children(recursive=True)]
    mapped_by = {process.pid: list(_mapped(process.pid)) for process in processes}
    mapped = [path for paths in mapped_by.values() for path in paths]
    opened = [link for process in processes for link in _opened(process)]
    return Census(
        descriptors=len(opened),
        threads=sum(process.num_threads() for process in processes),
        segments=len(mapped),
        foreign=tuple(path for path in (*mapped, *opened) if path.startswith(("/dev/shm/", "/SYSV"))),
        resident_bytes=sum(process.memory_info().rss for process in processes),
        answering=frozenset(pid for pid, paths in mapped_by.items() if paths),
    )


def _mapped(pid: int) -> Iterator[str]:
    with Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="replace") as maps:
        for line in maps:
            path = line.rstrip().partition("/")[1:]
            if (name := "".join(path)).startswith(_SEGMENTS):
                yield name


def _opened(process: psutil.Process) -> Iterator[str]:
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(entry.readlink())
