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
    """A file, a link or a directory, whatever it is called."""

    def __init__(self, *, directory: bool, target: str = "") -> None:
        self.directory = directory
        self.target = target
        self.scratch = False
        self.names: dict[str, Node] = {}


class Change:
    """One thing that a power cut keeps or drops."""

    def __init__(self, synced_by: Node) -> None:
        self.synced_by = synced_by
        self.names: list[tuple[Node, str, Node | None]] = []
        self.removed: set[Node] = set()
        self.bytes: tuple[Node, int, bytes] | None = None
        self.size: tuple[Node, int] | None = None
        self.durable_from: int | None = None

    @property
    def scratch(self) -> bool:
        """Tell whether it is about what nobody relies on."""
        nodes = [self.synced_by, *self.removed, *(node for _, _, node in self.names if node is not None)]
        return any(node.scratch for node in nodes)

    @property
    def directories(self) -> set[Node]:
        return {directory for directory, _, _ in self.names}


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

    def write_out(self, node: Node, path: Path, written: dict[Node, Path] | None = None) -> None:
        written = {} if written is None else written
        if node in written:
            os.link(written[node], path)
        elif node.target:
            path.symlink_to(node.target)
        elif node.directory:
            path.mkdir()
            for name, inner in self.names.get(node, {}).items():
                self.write_out(inner, path / name, written)
        else:
            path.write_bytes(self.contents.get(node, b""))
            written[node] = path

    def fingerprint(self, node: Node) -> Any:
        if not node.directory:
            return node.target or bytes(self.contents.get(node, b""))
        return tuple(sorted((name, self.fingerprint(inner)) for name, inner in self.names.get(node, {}).items()))


class PowerCut:
    """An ``os`` that remembers.

    Args:
        root: what is watched; all that is there already is durable.
        scratch: names of directories that are never relied on without a digest of their own; what is pending
            there is dropped by chance, so that it does not hide what matters.
    """

    def __init__(self, root: Path, *, scratch: tuple[str, ...] = ()) -> None:
        self.root = root
        self._scratch = scratch
        self.changes: list[Change] = []
        self.clock = 0
        self._noted_at: list[int] = []
        self._top = Node(directory=True)
        self._before = Disk()
        self._kept: tuple[int, Disk] | None = None
        self._open: dict[int, Node] = {}
        self._inodes: dict[int, Node] = {}
        self._take_over(root, self._top)

    def _take_over(self, path: Path, node: Node) -> None:
        for entry in path.iterdir():
            if entry.name.endswith("-shm"):
                continue  # SQLite's shared memory: whoever opens the database first makes it anew
            found = entry.lstat()
            target = str(entry.readlink()) if stat.S_ISLNK(found.st_mode) else ""
            fresh = self._made(entry, directory=stat.S_ISDIR(found.st_mode), target=target)
            inner = self._inodes.setdefault(found.st_ino, fresh)
            node.names[entry.name] = inner
            self._before.names.setdefault(node, {})[entry.name] = inner
            if inner.directory:
                self._take_over(entry, inner)
            elif not inner.target:
                self._before.contents[inner] = bytearray(entry.read_bytes())

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _made(self, path: Path, *, directory: bool, target: str = "") -> Node:
        node = Node(directory=directory, target=target)
        node.scratch = bool({*Path(path).relative_to(self.root).parts} & {*self._scratch})
        return node

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
            if name in directory.names:
                change.removed.add(directory.names[name])
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
        if flags & os.O_CREAT:
            self.note_file(path)
        self._open[descriptor] = self._node(path)
        return descriptor

    def close(self, descriptor: int) -> None:
        os.close(descriptor)
        self._open.pop(descriptor)

    def write(self, descriptor: int, content: Any) -> int:
        start = os.lseek(descriptor, 0, os.SEEK_END)
        whole = bytes(content)
        os.write(descriptor, whole)
        self._note_bytes(self._open[descriptor], start, whole)
        return len(whole)

    def ftruncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)
        self._note_size(self._open[descriptor], size)

    def fsync(self, descriptor: int) -> None:
        self._note_sync(self._open[descriptor])

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)
        self.note_rename(source, target)

    def link(self, source: Path, target: Path, *, follow_symlinks: bool = True) -> None:
        os.link(source, target, follow_symlinks=follow_symlinks)
        self.note_link(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)
        self.note_removal(path)

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        self.note_directory(path)

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)
        self.note_removal(path)

    # what happened, by path, for those who made it happen elsewhere

    def note_file(self, path: Path) -> None:
        """A file was made, if it was not there."""
        directory, name = self._place(path)
        if name not in directory.names:
            self._rename_names(directory, (directory, name, self._made(path, directory=False)))

    def note_bytes(self, path: Path, start: int, content: bytes) -> None:
        self._note_bytes(self._node(path), start, content)

    def note_size(self, path: Path, size: int) -> None:
        self._note_size(self._node(path), size)

    def note_sync(self, path: Path) -> None:
        self._note_sync(self._node(path))

    def note_rename(self, source: Path, target: Path) -> None:
        (old, old_name), (new, new_name) = self._place(source), self._place(target)
        node = old.names[old_name]
        if new.names.get(new_name) is node:
            return
        self._rename_names(new, (old, old_name, None), (new, new_name, node))

    def note_link(self, source: Path, target: Path) -> None:
        directory, name = self._place(target)
        self._rename_names(directory, (directory, name, self._node(source)))

    def note_symlink(self, target: str, path: Path) -> None:
        directory, name = self._place(path)
        self._rename_names(directory, (directory, name, self._made(path, directory=False, target=target)))

    def note_removal(self, path: Path) -> None:
        directory, name = self._place(path)
        self._rename_names(directory, (directory, name, None))

    def note_directory(self, path: Path) -> None:
        directory, name = self._place(path)
        self._rename_names(directory, (directory, name, self._made(path, directory=True)))

    def size_of(self, path: Path) -> int:
        """Return a file's length as everything that happened left it."""
        node, size = self._node(path), 0
        size = len(self._before.contents.get(node, b""))
        for change in self.changes:
            if change.bytes is not None and change.bytes[0] is node:
                size = max(size, change.bytes[1] + len(change.bytes[2]))
            if change.size is not None and change.size[0] is node:
                size = change.size[1]
        return size

    def _note_bytes(self, node: Node, start: int, content: bytes) -> None:
        # In two halves, since a page may reach the disk without the next one.
        middle = len(content) // 2
        for offset, half in ((0, content[:middle]), (middle, content[middle:])):
            change = Change(node)
            change.bytes = (node, start + offset, half)
            self._note(change)

    def _note_size(self, node: Node, size: int) -> None:
        change = Change(node)
        change.size = (node, size)
        self._note(change)

    def _note_sync(self, node: Node) -> None:
        self.clock += 1
        for change in self.changes:
            if change.synced_by is node and change.durable_from is None:
                change.durable_from = self.clock
        self._forget_unreachable()

    def _forget_unreachable(self) -> None:
        """What no name leads to any more, whatever a power cut drops, need not be dropped."""
        pending = [change for change in self.changes if change.durable_from is None]
        alive = _reached({self._top})
        more = True
        while more:
            doubtful = {node for change in pending if change.directories & alive for node in change.removed}
            more = not doubtful <= alive
            alive |= _reached(doubtful)
        for change in pending:
            if change.synced_by not in alive and not change.directories & alive:
                change.durable_from = self.clock

    def states(self, rng: random.Random) -> Iterator[tuple[int, Disk]]:
        """Yield (moment, disk) for a cut after each change, every distinct disk once per moment."""
        for count, moment in enumerate(self.moments()):
            pending = self._pending(count, moment)
            seen = set()
            scratch = [change for change in pending if change.scratch]
            for some in _subsets([change for change in pending if not change.scratch], rng):
                dropped = some | _by_chance(scratch, rng)
                disk = self._left(count, pending, dropped)
                fingerprint = disk.fingerprint(self._top)
                if fingerprint not in seen:
                    seen.add(fingerprint)
                    yield moment, disk

    def sample(self, rng: random.Random) -> tuple[int, Disk]:
        """Return one of the states: any moment, any part of what is not durable then."""
        moments = self.moments()
        count = rng.randrange(len(moments))
        pending = self._pending(count, moments[count])
        return moments[count], self._left(count, pending, _by_chance(pending, rng))

    def moments(self) -> list[int]:
        """Return the last moment before each change, and the end: with all syncs in between."""
        return [*self._noted_at, self.clock]

    def _pending(self, count: int, moment: int) -> list[Change]:
        return [c for c in self.changes[:count] if c.durable_from is None or c.durable_from > moment]

    def _left(self, count: int, pending: list[Change], dropped: set[int]) -> Disk:
        first = self.changes.index(pending[0]) if pending else count
        disk = self._whole(first).copy()
        for change in self.changes[first:count]:
            if id(change) not in dropped:
                disk.apply(change)
        return disk

    def _whole(self, count: int) -> Disk:
        """Return the disk with the first changes all made; those asked for last are kept."""
        if self._kept is None or self._kept[0] > count:
            self._kept = (0, self._before.copy())
        at, disk = self._kept
        for change in self.changes[at:count]:
            disk.apply(change)
        self._kept = (count, disk)
        return disk

    def write_out(self, disk: Disk, path: Path) -> None:
        disk.write_out(self._top, path)

    def files(self, disk: Disk) -> Iterator[tuple[str, bytes]]:
        """Yield path and content of everything; of a directory nothing, of a link where it leads."""
        again: list[tuple[str, Node]] = [("", self._top)]
        while again:
            path, node = again.pop()
            if node.directory:
                yield f"{path}/", b""
                again += [(f"{path}/{name}", inner) for name, inner in disk.names.get(node, {}).items()]
            else:
                yield path, node.target.encode() or bytes(disk.contents.get(node, b""))


def _reached(nodes: set[Node]) -> set[Node]:
    reached: set[Node] = set()
    again = list(nodes)
    while again:
        node = again.pop()
        if node not in reached:
            reached.add(node)
            again += node.names.values()
    return reached


def _by_chance(changes: list[Change], rng: random.Random) -> set[int]:
    share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    return {id(change) for change in changes if rng.random() < share}


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
