"""One request on asyncio inside an ordinary call, so that one that hangs can be given up at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_POLL_S = 0.05


def nothing() -> None:
    """Check nothing."""


def run(request: Coroutine[Any, Any, T], check: Callable[[], None]) -> T:
    """Return what ``request`` returns; what ``check`` raises, about twenty times a second, ends it."""
    return asyncio.run(_watched(request, check))


async def _watched(request: Coroutine[Any, Any, T], check: Callable[[], None]) -> T:
    task = asyncio.ensure_future(request)
    try:
        while not task.done():
            check()
            await asyncio.wait({task}, timeout=_POLL_S)
        return task.result()
    finally:
        task.cancel()
