"""A download with short pauses, whose course is kept."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.transfer import Downloader, ObjectStore, SpeedFloor, TokenBucket

PATIENCE_S = 60.0


class Told(list[int]):
    """A list that tells what is appended."""

    def __init__(self, told: Callable[[int], None]) -> None:
        super().__init__()
        self._told = told

    def append(self, length: int) -> None:
        super().append(length)
        self._told(length)


class Fetch:
    """Fetches one object into one file.

    Args:
        objects: where it is.
        target: the file.
        key: the object.
        size_bytes: what was signed.
        cap: bytes a second; 0: none.
        floor: the least speed.
    """

    def __init__(
        self,
        objects: ObjectStore,
        target: Path,
        key: str,
        size_bytes: int,
        *,
        cap: int = 0,
        floor: SpeedFloor = SpeedFloor(),  # noqa: B008  (immutable)
    ) -> None:
        self.target = target
        self.lengths: list[int] = []
        self.pauses: list[float] = []
        self.cancelled = threading.Event()
        self._key, self._size_bytes = key, size_bytes
        bucket = TokenBucket(cap, clock=time.monotonic)
        self.downloader = Downloader(objects, bandwidth=bucket, sleep=self._sleep, rng=random.Random(3), floor=floor)

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        time.sleep(min(seconds, 0.01))

    def __call__(self, *, key: str | None = None, size_bytes: int | None = None, within_s: float = PATIENCE_S) -> None:
        self.downloader.fetch(
            key or self._key,
            self.target,
            self._size_bytes if size_bytes is None else size_bytes,
            deadline=time.monotonic() + within_s,
            cancelled=self.cancelled.is_set,
            progress=self.lengths.append,
        )
