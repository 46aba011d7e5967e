"""What processes hold: memory, descriptors, segments; and how that grew."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from scripts.benchlib.line import links_of, resident_bytes, workers_of
from tests.fakes.device import eventually

Figures = dict[str, Any]
# A worker that is kept ready comes some seconds after the one that it may replace.
_CALM_LOOKS = 140


class Held(NamedTuple):
    """What one process holds."""

    bytes: int
    descriptors: int
    segments: int


Everyone = dict[str, Held]


def held(processes: Mapping[str, int]) -> Everyone:
    """Return what each process holds now; the agent's workers by their ids.

    Args:
        processes: ids, by what they are; ``agent`` is among them.
    """
    workers = {f"worker {pid}": pid for pid in workers_of(processes["agent"])}
    return {name: _held(pid) for name, pid in {**processes, **workers}.items()}


def settled(processes: Mapping[str, int]) -> Everyone:
    """Return what is held at rest: once the same workers have been there for a while."""
    before: list[str] = []
    calm = 0

    def look() -> Everyone | None:
        nonlocal before, calm
        found = held(processes)
        calm = calm + 1 if sorted(found) == before else 0
        before = sorted(found)
        return found if calm >= _CALM_LOOKS else None

    return eventually(look)


def growth(warm: Everyone, ended: Everyone) -> Figures:
    """Return after / before - 1 of each process's memory, and the worst; workers that came since are told apart."""
    grown = {name: round(ended[name].bytes / warm[name].bytes - 1, 4) for name in warm if name in ended}
    return {
        "memory_growth": max(grown.values()),
        "memory_growth_by_process": grown,
        "memory_mb_by_process": {name: round(one.bytes / 1e6, 1) for name, one in ended.items()},
        "processes_replaced": sorted({*warm} ^ {*ended}),
    }


def more(first: Everyone, last: Everyone) -> Figures:
    """Return how many more descriptors and segments all processes have together."""
    return {
        f"{name}_more": sum(getattr(one, name) for one in last.values())
        - sum(getattr(one, name) for one in first.values())
        for name in ("descriptors", "segments")
    }


def _held(pid: int) -> Held:
    links = links_of(pid)
    return Held(resident_bytes(pid), len(links), sum("memfd:" in link for link in links))
