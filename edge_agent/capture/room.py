"""Which captures leave the disk to make room. Pure.

Only what nothing waits for may leave: what is in the cloud, or, on a device that sends
nothing, whatever there is. Defects stay longest.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Kept(NamedTuple):
    """A capture that may leave."""

    id: str
    at: float
    defective: bool
    size_bytes: int


def to_leave(kept: Iterable[Kept], excess_bytes: int) -> list[str]:
    """Return the fewest ids, in the order in which they leave, that free so many bytes; all where that is too little.

    The oldest go first, and what is defective goes after all else.
    """
    leaving: list[str] = []
    for capture in sorted(kept, key=lambda capture: (capture.defective, capture.at, capture.id)):
        if excess_bytes <= 0:
            break
        leaving.append(capture.id)
        excess_bytes -= capture.size_bytes
    return leaving
