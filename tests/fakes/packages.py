"""Packages as the old workshop's jobs name them: tar archives, sound and hostile."""

import gzip
import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import Code, TransferError
from edge_agent.transfer import Head
from tests.fakes.releases import Release


class Entry(NamedTuple):
    """One entry of an archive."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    pax: dict[str, str] | None = None


def tar(entries: Iterable[Entry], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive of any entries, sensible or not."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type, info.size, info.linkname = entry.kind, len(entry.content), entry.link
            info.pax_headers = entry.pax or {}
            archive.addfile(info, io.BytesIO(entry.content))
    return made.getvalue()


def entries_of(release: Release) -> list[Entry]:
    """Return what a sound package of a release holds, its manifest first."""
    files = [Entry(a.path, release.blobs[a.sha256]) for a in release.manifest.artefacts]
    return [Entry("manifest.json", release.content), *files]


def package_of(release: Release) -> bytes:
    """Return a sound package."""
    return gzip.compress(tar(entries_of(release)), mtime=0)


class Shelf:
    """Where packages lie, in memory."""

    def __init__(self) -> None:
        self.packages: dict[str, bytes] = {}
        self.asked: list[str] = []

    def head(self, key: str, *, check: Callable[[], None]) -> Head:
        check()
        self.asked.append(key)
        if key not in self.packages:
            raise TransferError(Code.OBJECT_MISSING, f"{key}: there is no such object", permanent=True)
        return Head(len(self.packages[key]), "tag")

    def read_range(self, key: str, start: int, end: int, *, check: Callable[[], None]) -> bytes:
        check()
        return self.packages[key][start:end]

    def fetch(
        self,
        key: str,
        target: Path,
        size_bytes: int,
        *,
        deadline: float,
        cancelled: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> None:
        have = target.read_bytes() if target.exists() else b""
        target.write_bytes(have + self.packages[key][len(have) : size_bytes])
        progress(size_bytes)
