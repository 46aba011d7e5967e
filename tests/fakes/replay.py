"""One life recorded with its bytes, and devices as a power cut at any moment of it may leave them."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tests.fakes.power_cut import Disk, PowerCut
from tests.fakes.recorded_disk import RecordedDisk, recording
from tests.fakes.sweep import Sweep


class Left(NamedTuple):
    """What a power cut left, and when it came."""

    moment: int
    disk: Disk


class Replay:
    """A story told once.

    Args:
        sweep: runs the life.
        place: of the device; as it stands, nothing in it is pending.
        story: what is recorded.
        scratch: for databases that are looked into.
    """

    def __init__(self, sweep: Sweep, place: Path, story: str, scratch: Path) -> None:
        self._scratch = scratch
        self._told: list[tuple[int, bytes]] = []
        self._dumps: dict[bytes, bytes] = {}
        tracer = recording(place / "recording")
        cloud = place / "cloud.jsonl"
        before = cloud.read_bytes().splitlines(keepends=True) if cloud.exists() else []

        def at_gate(thread: int) -> None:
            self.disk = PowerCut(place / "state", scratch=("refreshing", "engines"))
            tracer.attach(thread)

        ended = sweep.tell(place, story, at_gate)
        tracer.wait()
        assert ended.result.get("problems") == [], ended
        said = cloud.read_bytes().splitlines(keepends=True)
        # What was said before, and the offer, which does not come from the thread that is recorded.
        self._offered = before or said[:1]
        self.calls = RecordedDisk(self.disk, self._note_beside).replay(tracer.text())

    def every(self, rng: random.Random) -> Iterator[Left]:
        """Yield every state of ``PowerCut.states`` once that reads differently from those before."""
        seen: set[Any] = set()
        for moment, disk in self.disk.states(rng):
            key = (self.told(moment), self._reads_as(disk))
            if key not in seen:
                seen.add(key)
                yield Left(moment, disk)

    def some(self, rng: random.Random, count: int) -> Iterator[Left]:
        """Yield so many states by chance, or as many as chance finds; none twice."""
        seen: set[Any] = set()
        for _ in range(10 * count):
            if len(seen) == count:
                return
            moment, disk = self.disk.sample(rng)
            key = (self.told(moment), self._reads_as(disk))
            if key not in seen:
                seen.add(key)
                yield Left(moment, disk)

    def survive(self, left: Left, place: Path, sweep: Sweep) -> list[str]:
        """Start a device of ``sweep``'s on what was left and return what is wrong."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        self.disk.write_out(left.disk, place / "state")
        (place / "cloud.jsonl").write_bytes(self.told(left.moment))
        return sweep.problems_afterwards(place)

    def told(self, moment: int) -> bytes:
        """Return what the cloud had been told by then."""
        return b"".join([*self._offered, *(line for at, line in self._told if at <= moment)])

    def _note_beside(self, path: Path, content: bytes, at: int) -> None:
        if path.name == "cloud.jsonl":
            self._told.append((at, content))

    def _reads_as(self, disk: Disk) -> bytes:
        """Return a digest of what a reader finds: databases by what stands in them, all else by its bytes."""
        digest = hashlib.sha256()
        files = dict(self.disk.files(disk))
        for path, content in sorted(files.items()):
            if path.endswith("-wal") and path[:-4] in files:
                continue
            read = self._dump(content, files.get(f"{path}-wal", b"")) if path.endswith(".db") else content
            digest.update(f"{path} {len(read)} ".encode() + read)
        return digest.digest()

    def _dump(self, database: bytes, log: bytes) -> bytes:
        key = hashlib.sha256(len(database).to_bytes(8, "big") + database + log).digest()
        if key not in self._dumps:
            file = self._scratch / "looked-into.db"
            for suffix in ("-wal", "-shm"):
                Path(f"{file}{suffix}").unlink(missing_ok=True)
            file.write_bytes(database)
            if log:
                Path(f"{file}-wal").write_bytes(log)
            self._dumps[key] = _content_of(file)
        return self._dumps[key]


def _content_of(file: Path) -> bytes:
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            return hashlib.sha256("\n".join(connection.iterdump()).encode()).digest()
    except sqlite3.Error as exc:
        return f"not readable: {exc}".encode()
