"""A backup's files, each as its list says, or nothing."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edge_agent.backup.contents import HEADER, LIMIT_FILES, LIMIT_HEADER_BYTES, Contents
from edge_agent.errors import BundleError, Code, DocumentError, StorageError
from edge_agent.formats import parse
from edge_agent.formats.archive import Member, read_members
from edge_agent.storage import durable

_CHUNK_BYTES = 1 << 20


def unpack(file: BinaryIO, directory: Path, *, what: str) -> Contents:
    """Read a backup into a directory; all of it was checked when this returns.

    Args:
        file: the backup.
        directory: empty; the files get the names that they have in the backup.
        what: the backup's name, for a person.

    Raises:
        StorageError: DIGEST_MISMATCH, it is cut short or damaged; FORMAT_FORBIDDEN, it is no backup of ours;
            NO_SPACE; STORAGE_FAILED.
    """
    try:
        chunks = iter(lambda: file.read(_CHUNK_BYTES), b"")
        members = read_members(chunks, limit_bytes=1 << 50, limit_entries=LIMIT_FILES + 1)
        contents = _header(next(members, None))
        _take_all(members, contents, directory)
    except BundleError as exc:
        message = f"{what}: expected a whole backup of edge-agent: {exc.message.removeprefix('package: ')}"
        raise StorageError(exc.code, message) from exc
    return contents


def _header(member: Member | None) -> Contents:
    if member is None or member.name != HEADER or member.size_bytes > LIMIT_HEADER_BYTES:
        came = "nothing" if member is None else repr(member.name)
        raise BundleError(Code.FORMAT_FORBIDDEN, f"its first file is {HEADER}, came {came}")
    try:
        return parse(Contents, b"".join(member.content), what=HEADER)
    except DocumentError as exc:
        raise BundleError(Code.FORMAT_FORBIDDEN, exc.message) from exc


def _take_all(members: Iterator[Member], contents: Contents, directory: Path) -> None:
    taken = 0
    for taken, member in enumerate(members, start=1):
        _take(member, taken - 1, contents, directory)
    if taken != len(contents.files):
        raise BundleError(Code.DIGEST_MISMATCH, f"expected {len(contents.files)} files, came {taken}")


def _take(member: Member, number: int, contents: Contents, directory: Path) -> None:
    entry = contents.files[number] if number < len(contents.files) else None
    if entry is None or (member.name, member.size_bytes) != (entry.path, entry.size_bytes):
        expected = f"{entry.path} of {entry.size_bytes} bytes" if entry else "no more files"
        message = f"expected {expected}, came {member.name} of {member.size_bytes}"
        raise BundleError(Code.DIGEST_MISMATCH, message)
    path = directory / entry.path
    digest = hashlib.sha256()
    with durable.translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            for chunk in member.content:
                digest.update(chunk)
                out.write(chunk)
    if digest.hexdigest() != entry.sha256:
        raise BundleError(Code.DIGEST_MISMATCH, f"{entry.path}: the bytes are not the ones that were backed up")
