"""A line to measure on: a signed repository of tiny versions and one real agent process that takes them."""

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cloud_tools.release.publish import publish, read_bundle
from tests.fakes.device import AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import GREY, write_version

MODEL = "img-classification"
BIASES = 8
_BIAS_STEP = 0.25


class Footprint(NamedTuple):
    """What the agent and its workers hold at one moment."""

    agent_bytes: int
    worker_bytes: int
    workers: int
    descriptors: int
    segments: int
    threads: int
    state_bytes: int
    state_files: int


class Line:
    """One agent on its own directory.

    Args:
        directory: short enough that a unix socket fits below it.
        versions: releases "1" to this number are published before the start.
        settings: rooms and keys over the defaults.
    """

    def __init__(
        self, directory: Path, versions: int, settings: Mapping[str, Mapping[str, object]] | None = None
    ) -> None:
        repository = SignedRepository(directory / "cloud", now=time.time())
        bundles = []
        for number in range(1, versions + 1):
            bundle = repository.home / "bundles" / str(number)
            write_version(bundle, name=MODEL, version=str(number), bias=bias(str(number)))
            bundles.append(read_bundle(bundle))
        publish(repository.open(), bundles)
        rooms: dict[str, Mapping[str, object]] = {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            **(settings or {}),
        }
        self.repository = repository
        self.device = AgentDevice(directory, rooms)

    def footprint(self) -> Footprint:
        """Return what agent and workers hold now."""
        process = self.device.process
        if process is None:
            raise RuntimeError("expected a running agent, it was not started")
        links = links_of(process.pid)
        workers = workers_of(process.pid)
        sizes = list(_sizes(self.device.state_dir))
        return Footprint(
            agent_bytes=resident_bytes(process.pid),
            worker_bytes=sum(map(resident_bytes, workers)),
            workers=len(workers),
            descriptors=len(links),
            segments=sum("memfd:" in link for link in links),
            threads=len(list(Path(f"/proc/{process.pid}/task").iterdir())),
            state_bytes=sum(sizes),
            state_files=len(sizes),
        )


def bias(version: str) -> float:
    """Return what tells this version's score from its neighbours'."""
    return int(version) % BIASES * _BIAS_STEP


def expected_score(version: str, grey: int = GREY) -> float:
    """Return what this version answers to a grey picture."""
    return 1 / (1 + math.exp(-((grey - 128) / 16 + bias(version))))


def resident_bytes(pid: int) -> int:
    """Return what a process has in memory; 0: it ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # it ended just now
        return 0
    return pages * os.sysconf("SC_PAGESIZE")


def processor_seconds(pid: int) -> float:
    """Return what processor time a process has used so far; 0: it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def workers_of(pid: int) -> list[int]:
    """Return the processes that an agent started."""
    told = map(_children, Path(f"/proc/{pid}/task").iterdir())
    return [int(child) for text in told for child in text.split()]


def links_of(pid: int) -> list[str]:
    """Return what each descriptor of a process stands for."""
    return [_link(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def _children(task: Path) -> str:
    try:
        return (task / "children").read_text(encoding="ascii")
    except OSError:  # the thread ended just now
        return ""


def _sizes(directory: Path) -> Iterator[int]:
    """Yield the size of each file below a directory that somebody else writes to and deletes from meanwhile."""
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                yield Path(parent, name).stat().st_size


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""
