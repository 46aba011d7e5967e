"""A package from elsewhere, brought into a folder: plain files of plain names within limits, and nothing else.

Nothing in it is executed or believed. A tar is read by the agent's own reader (``formats.archive``);
a zip by the standard library, held to the same rules; a folder is copied, and links are refused.
"""

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

from cloud_tools.errors import CloudError
from edge_agent.errors import Code
from edge_agent.formats.archive import LIMIT_ENTRIES, read_members

LIMIT_BYTES: Final = 4 << 30
_PIECE_BYTES: Final = 1 << 20
_LIMIT_NAME: Final = 200
_ZIP: Final = b"PK"
_ENCRYPTED: Final = 1
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What the standard library says of a zip that is none, or that it cannot read.
_ERRORS: Final = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError, OSError)


def unpack(source: Path, target: Path, *, limit_bytes: int = LIMIT_BYTES) -> str:
    """Bring the files of a tar, tar.gz, zip or folder into ``target`` and return the package's SHA-256.

    Of a folder it is that of a list of its names and contents.

    Args:
        source: the package.
        target: a new or empty folder; what is in it after an error is to be thrown away.
        limit_bytes: of all that comes out.

    Raises:
        CloudError: NOT_FOUND: there is none; INVALID_ARGUMENT: it holds a link, a name that leads out, too much.
        BundleError: DIGEST_MISMATCH, FORMAT_FORBIDDEN: the tar is damaged or holds what may not be in it.
    """
    if not source.exists():
        raise CloudError(Code.NOT_FOUND, f"expected a package at {source}, there is none")
    target.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        return _copy(source, target, limit_bytes)
    with source.open("rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP
    (_unzip if is_zip else _untar)(source, target, limit_bytes)
    return _digest(source)


def _untar(source: Path, target: Path, limit_bytes: int) -> None:
    for member in read_members(_chunks(source), limit_bytes=limit_bytes):
        _write(_inside(target, member.name), member.content, limit_bytes)


def _unzip(source: Path, target: Path, limit_bytes: int) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            _check_entries(source, entries, limit_bytes)
            for entry in entries:
                if not entry.is_dir():
                    with archive.open(entry) as content:
                        _write(_inside(target, entry.filename), _pieces(content), entry.file_size)
    except _ERRORS as exc:
        raise _refused(f"{source}: expected a sound zip", f"one that cannot be read: {exc}") from exc


def _check_entries(source: Path, entries: list[zipfile.ZipInfo], limit_bytes: int) -> None:
    if len(entries) > LIMIT_ENTRIES:
        raise _refused(f"{source}: expected at most {LIMIT_ENTRIES} entries", f"{len(entries)}")
    total = sum(entry.file_size for entry in entries)
    if total > limit_bytes:
        raise _refused(f"{source}: expected at most {limit_bytes} bytes in it", f"{total}")
    for entry in entries:
        if not entry.filename:
            raise _refused(f"{source}: expected files with names", "one without")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(f"{entry.filename[:_LIMIT_NAME]!r}: expected a regular file", "a link or a device")
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise _refused(f"{entry.filename[:_LIMIT_NAME]!r}: expected a stored or deflated file", "another")


def _copy(source: Path, target: Path, limit_bytes: int) -> str:
    total, left = hashlib.sha256(), limit_bytes
    found = sorted(source.rglob("*"))
    if len(found) > LIMIT_ENTRIES:
        raise _refused(f"{source}: expected at most {LIMIT_ENTRIES} files", f"{len(found)}")
    for path in found:
        name = path.relative_to(source).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _refused(f"{name!r}: expected a regular file", "a link or a device")
        if path.is_file():
            left -= _write(_inside(target, name), _chunks(path), left)
            total.update(f"{name}\t{_digest(path)}\n".encode())
    return total.hexdigest()


def _inside(target: Path, name: str) -> Path:
    """Return where a file of this name goes."""
    path = PurePosixPath(name.removeprefix("./"))
    plain = name.isprintable() and "\\" not in name and ":" not in name and len(name) <= _LIMIT_NAME
    if not plain or path.is_absolute() or not path.parts or ".." in path.parts:
        raise _refused("a name that stays inside the package", repr(name[:_LIMIT_NAME]))
    return target / path


def _write(path: Path, pieces: Iterable[bytes], limit_bytes: int) -> int:
    """Write a file that was not there before, and return its size."""
    size = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for piece in pieces:
                size += len(piece)
                if size > limit_bytes:
                    raise _refused(f"{path.name}: expected at most {limit_bytes} bytes", "more")
                file.write(piece)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
        raise _refused(f"each file once, and no file as a folder: {path.name}", "it came again") from exc
    return size


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _pieces(file)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    for piece in _chunks(path):
        total.update(piece)
    return total.hexdigest()


def _refused(expected: str, came: str) -> CloudError:
    said = expected if "expected" in expected else f"expected {expected}"
    return CloudError(Code.INVALID_ARGUMENT, f"{said}, came {came}")
