"""What a disk may hold after a power cut: every state that dropping unsynced changes allows.

``PowerCut`` stands in for the ``os`` of ``storage.steps``: it lets each call through
and keeps what it changed. A change is durable once its file (bytes) or its directory
(names) was synced later; of the others a power cut may keep any. A rename is one
change, as on every journalling file system; that is the only kindness assumed.
"""

# ruff: noqa: PTH102, PTH104, PTH106, PTH108  (system calls by their own names)
import itertools
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The sweep tries all 4,096 ways to drop 12 changes; else a sample tells as much in seconds.
SWEEP = os.environ.get("EDGE_TEST_SWEEP") == "1"
EXHAUSTIVE_UP_TO = 12 if SWEEP else 5
SAMPLES = 1000 if SWEEP else 20


class Node:
    """A file or a directory, whatever it is called."""

    def __init__(self, *, directory: bool) -> None:
        self.directory = directory
        self.names: dict[str, Node] = {}


class Change:
    """One thing that a power cut keeps or drops."""

    def __init__(self, synced_by: Node) -> None:
        self.synced_by = synced_by
        self.names: list[tuple[Node, str, Node | None]] = []
        self.bytes: tuple[Node, int, bytes] | None = None
        self.size: tuple[Node, int] | None = None
        self.durable_from: int | None = None


class Disk:
    """A state: names and bytes."""

    def __init__(self) -> None:
        self.names: dict[Node, dict[str, Node]] = {}
        self.contents: dict[Node, bytearray] = {}

    def copy(self) -> "Disk":
        other = Disk()
        other.names = {node: dict(names) for node, names in self.names.items()}
        other.contents = {node: bytearray(content) for node, content in self.contents.items()}
        return other

    def apply(self, change: Change) -> None:
        for directory, name, node in change.names:
            names = self.names.setdefault(directory, {})
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node
        if change.bytes is not None:
            node, start, content = change.bytes
            held = self.contents.setdefault(node, bytearray())
            held.extend(b"\0" * (start - len(held)))
            held[start : start + len(content)] = content
        if change.size is not None:
            node, size = change.size
            held = self.contents.setdefault(node, bytearray())
            del held[size:]

    def write_out(self, node: Node, path: Path) -> None:
        if not node.directory:
            path.write_bytes(self.contents.get(node, b""))
            return
        path.mkdir()
        for name, inner in self.names.get(node, {}).items():
            self.write_out(inner, path / name)

    def fingerprint(self, node: Node) -> Any:
        if not node.directory:
            return bytes(self.contents.get(node, b""))
        return tuple(sorted((name, self.fingerprint(inner)) for name, inner in self.names.get(node, {}).items()))


class PowerCut:
    """An ``os`` that remembers.

    Args:
        root: what is watched; all that is there already is durable.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes: list[Change] = []
        self.clock = 0
        self._noted_at: list[int] = []
        self._top = Node(directory=True)
        self._before = Disk()
        self._open: dict[int, Node] = {}
        self._inodes: dict[int, Node] = {}
        self._take_over(root, self._top)

    def _take_over(self, path: Path, node: Node) -> None:
        for entry in path.iterdir():
            found = entry.lstat()
            fresh = Node(directory=stat.S_ISDIR(found.st_mode))
            inner = self._inodes.setdefault(found.st_ino, fresh)
            node.names[entry.name] = inner
            self._before.names.setdefault(node, {})[entry.name] = inner
            if inner.directory:
                self._take_over(entry, inner)
            else:
                self._before.contents[inner] = bytearray(entry.read_bytes())

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _place(self, path: "str | Path") -> tuple[Node, str]:
        *parents, name = Path(path).relative_to(self.root).parts
        node = self._top
        for parent in parents:
            node = node.names[parent]
        return node, name

    def _node(self, path: "str | Path") -> Node:
        if Path(path) == self.root:
            return self._top
        directory, name = self._place(path)
        return directory.names[name]

    def _rename_names(self, synced_by: Node, *names: tuple[Node, str, Node | None]) -> None:
        change = Change(synced_by)
        change.names = list(names)
        for directory, name, node in names:
            if node is None:
                directory.names.pop(name)
            else:
                directory.names[name] = node
        self._note(change)

    def _note(self, change: Change) -> None:
        self._noted_at.append(self.clock)
        self.changes.append(change)
        self.clock += 1

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags, mode)
        directory, name = self._place(path) if path != self.root else (self._top, "")
        if flags & os.O_CREAT and name not in directory.names:
            self._rename_names(directory, (directory, name, Node(directory=False)))
        self._open[descriptor] = self._node(path)
        return descriptor

    def close(self, descriptor: int) -> None:
        os.close(descriptor)
        self._open.pop(descriptor)

    def write(self, descriptor: int, content: Any) -> int:
        start = os.lseek(descriptor, 0, os.SEEK_END)
        whole = bytes(content)
        os.write(descriptor, whole)
        # In two halves, since a page may reach the disk without the next one.
        middle = len(whole) // 2
        for offset, half in ((0, whole[:middle]), (middle, whole[middle:])):
            change = Change(self._open[descriptor])
            change.bytes = (self._open[descriptor], start + offset, half)
            self._note(change)
        return len(whole)

    def ftruncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)
        change = Change(self._open[descriptor])
        change.size = (self._open[descriptor], size)
        self._note(change)

    def fsync(self, descriptor: int) -> None:
        self.clock += 1
        for change in self.changes:
            if change.synced_by is self._open[descriptor] and change.durable_from is None:
                change.durable_from = self.clock

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)
        (old, old_name), (new, new_name) = self._place(source), self._place(target)
        node = old.names[old_name]
        if new.names.get(new_name) is node:
            return
        self._rename_names(new, (old, old_name, None), (new, new_name, node))

    def link(self, source: Path, target: Path, *, follow_symlinks: bool = True) -> None:
        os.link(source, target, follow_symlinks=follow_symlinks)
        directory, name = self._place(target)
        self._rename_names(directory, (directory, name, self._node(source)))

    def unlink(self, path: Path) -> None:
        os.unlink(path)
        directory, name = self._place(path)
        self._rename_names(directory, (directory, name, None))

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        directory, name = self._place(path)
        self._rename_names(directory, (directory, name, Node(directory=True)))

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)
        directory, name = self._place(path)
        self._rename_names(directory, (directory, name, None))

    def states(self, rng: random.Random) -> Iterator[tuple[int, Disk]]:
        """Yield (moment, disk) for a cut after each change, every distinct disk once per moment."""
        # The last moment before the next change: with all syncs in between.
        moments = [*self._noted_at, self.clock]
        for count, moment in enumerate(moments):
            happened = self.changes[:count]
            pending = [c for c in happened if c.durable_from is None or c.durable_from > moment]
            seen = set()
            for dropped in _subsets(pending, rng):
                disk = self._before.copy()
                for change in happened:
                    if id(change) not in dropped:
                        disk.apply(change)
                fingerprint = disk.fingerprint(self._top)
                if fingerprint not in seen:
                    seen.add(fingerprint)
                    yield moment, disk

    def write_out(self, disk: Disk, path: Path) -> None:
        disk.write_out(self._top, path)


def _subsets(pending: list[Change], rng: random.Random) -> Iterator[set[int]]:
    names = [id(change) for change in pending]
    if len(names) <= EXHAUSTIVE_UP_TO:
        for size in range(len(names) + 1):
            yield from (set(dropped) for dropped in itertools.combinations(names, size))
        return
    yield set()
    yield set(names)
    for _ in range(SAMPLES):
        yield {name for name in names if rng.random() < rng.choice((0.1, 0.5, 0.9))}
