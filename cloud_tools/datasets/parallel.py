"""Many files at once: decoder and hashes work outside the interpreter's lock."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_WORKERS = min(8, os.cpu_count() or 1)
"""Each may hold a picture of the largest size that the device takes."""
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def each(act: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
    """Return what ``act`` makes of each item, in order."""
    with ThreadPoolExecutor(_WORKERS) as workers:
        return list(workers.map(act, items))
