"""Several transfers side by side: the first failure ends them all, and no thread outlives the call."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

_LOOK_S = 0.2

Cancelled = Callable[[], bool]


def side_by_side(
    transfers: Sequence[Callable[[Cancelled], None]],
    *,
    lanes: int,
    cancelled: Cancelled,
    tell: Callable[[], None] = lambda: None,
) -> None:
    """Do the transfers, at most ``lanes`` at a time, begun in their order.

    Args:
        transfers: each gets what to ask several times a second, and ends soon when that says so.
        lanes: how many at a time.
        cancelled: ends all of them.
        tell: called several times a second meanwhile, on the caller's thread.

    Raises:
        Exception: what the first one that failed raised; what the others raised because of it is lost.
    """
    ended = threading.Event()
    failures: list[Future[None]] = []

    def note(done: "Future[None]") -> None:
        if not done.cancelled() and done.exception() is not None:
            failures.append(done)
            ended.set()

    def begin(transfer: Callable[[Cancelled], None]) -> None:
        if not ended.is_set():
            transfer(lambda: ended.is_set() or cancelled())

    with ThreadPoolExecutor(max(1, min(lanes, len(transfers))), thread_name_prefix="download") as pool:
        try:
            futures = [pool.submit(begin, transfer) for transfer in transfers]
            for future in futures:
                future.add_done_callback(note)
            while wait(futures, timeout=_LOOK_S).not_done:
                tell()
        finally:
            ended.set()
    tell()
    if failures:
        failures[0].result()
