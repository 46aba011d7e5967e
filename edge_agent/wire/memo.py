"""What comes again to the byte is encoded or read once: dictionaries that stay small."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(known: dict[K, V], key: K, value: V, *, limit: int) -> None:
    """Keep a value; a dictionary of ``limit`` begins anew: who has more kinds only pays for each of them again."""
    if len(known) >= limit:
        known.clear()
    known[key] = value
