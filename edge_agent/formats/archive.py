"""A tar archive that nobody vouches for, read as a stream: plain files, and nothing else.

Written for strangers' archives, so it knows less than the standard library on purpose: regular
files and directories of ustar, GNU and pax archives, plain or gzipped. Links, devices, sparse
files, long-name records and pax records that change a name or a size are errors. Memory is bounded
whatever the archive says. Not done here: which names are welcome, writing anything (``store.package``).
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from edge_agent.errors import BundleError, Code

BLOCK_BYTES: Final = 512
LIMIT_ENTRIES: Final = 1024
_LIMIT_PAX_BYTES: Final = 64 << 10
_LIMIT_PADDING_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_END: Final = bytes(BLOCK_BYTES)
_OCTAL: Final = re.compile(rb" *([0-7]{1,12})[ \0]*")
_PAX: Final = re.compile(rb"([1-9][0-9]{0,4}) ")
# What else a pax record may say changes what the entry is called, how large it is, or how that is to be read.
_HARMLESS: Final = re.compile(
    rb"(mtime|atime|ctime|uid|gid|uname|gname|comment|LIBARCHIVE\.creationtime|SCHILY\.(dev|ino|nlink|fflags)"
    rb"|(LIBARCHIVE|SCHILY)\.xattr\.[^=\n]+)="
)
_KINDS: Final = {
    b"1": "a hard link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"7": "a contiguous file",
    b"g": "a pax record for all files",
    b"L": "a long name (make it with --format=ustar)",
    b"K": "a long link",
    b"S": "a sparse file",
}


class Member(NamedTuple):
    """A regular file of the archive."""

    name: str
    size_bytes: int
    content: Iterator[bytes]
    """To be read before the next member is asked for, or not at all."""


def read_members(chunks: Iterable[bytes], *, limit_bytes: int, limit_entries: int = LIMIT_ENTRIES) -> Iterator[Member]:
    """Yield the regular files; after the last one the whole archive was read and is in order.

    Args:
        chunks: the archive, piece by piece.
        limit_bytes: how many bytes may come out of it, headers and padding included.
        limit_entries: how many files and directories may be in it.

    Raises:
        BundleError: DIGEST_MISMATCH, it is cut short or damaged; FORMAT_FORBIDDEN, it holds what may not be in it.
    """
    stream = _Stream(_plain(iter(chunks)), limit_bytes)
    entries = 0
    after_pax = False
    while (header := stream.take(BLOCK_BYTES)) != _END:
        entries += 1
        if entries > limit_entries:
            raise forbidden(f"expected at most {limit_entries} entries, came more")
        name, size, kind = _read_header(header)
        if kind == b"x":
            if after_pax:
                raise forbidden(f"{name!r}: expected one pax record for a file, came another")
            _check_pax(stream, size)
        elif kind == b"5":
            if size:
                raise forbidden(f"{name!r}: expected a directory, came one with content")
        elif kind in (b"0", b"\0"):
            yield from _member(stream, name, size)
        else:
            raise forbidden(f"{name!r}: expected a regular file, came {_KINDS.get(kind, f'something else ({kind!r})')}")
        after_pax = kind == b"x"
    if after_pax:
        raise damaged("a file's record is followed by no file")
    _check_end(stream)


def damaged(what: str) -> BundleError:
    """Return the error for an archive whose bytes are not what was once written."""
    return BundleError(Code.DIGEST_MISMATCH, f"package: expected a whole tar archive, {what}")


def forbidden(what: str) -> BundleError:
    """Return the error for an archive that holds what may not be in it."""
    return BundleError(Code.FORMAT_FORBIDDEN, f"package: {what}")


class _Stream:
    """The archive's bytes in their order, never more than allowed."""

    def __init__(self, pieces: Iterator[bytes], limit_bytes: int) -> None:
        self._pieces = pieces
        self._limit_bytes = self._left = limit_bytes
        self._piece = memoryview(b"")

    def read(self, limit_bytes: int) -> bytes:
        """Return at least one byte, and at most so many; nothing at the end."""
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left -= len(piece)
            if self._left < 0:
                raise forbidden(f"expected at most {self._limit_bytes} bytes in it, came more")
            self._piece = memoryview(piece)
        taken, self._piece = self._piece[:limit_bytes], self._piece[limit_bytes:]
        return bytes(taken)

    def take(self, size_bytes: int) -> bytes:
        """Return exactly so many bytes; only for few."""
        return b"".join(self.pieces(size_bytes))

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """Yield exactly so many bytes."""
        left = size_bytes
        while left:
            piece = self.read(min(left, _PIECE_BYTES))
            if not piece:
                raise damaged("it ends early")
            left -= len(piece)
            yield piece


def _member(stream: _Stream, name: str, size: int) -> Iterator[Member]:
    content = stream.pieces(size)
    yield Member(name, size, content)
    for _ in content:
        pass
    stream.take(-size % BLOCK_BYTES)


def _read_header(header: bytes) -> tuple[str, int, bytes]:
    """Return name, size and kind of an entry."""
    stated = _number(header[148:156])
    if stated != sum(header[:148]) + sum(header[156:]) + 8 * ord(" "):
        raise damaged("a header's checksum does not fit")
    magic, prefix = header[257:263], header[345:500].split(b"\0")[0]
    if magic not in (b"ustar\0", b"ustar ") or (magic == b"ustar " and prefix):
        raise forbidden("expected an archive in the form ustar, GNU or pax, came another")
    name = header[:100].split(b"\0")[0]
    try:
        text = (prefix + b"/" + name if prefix else name).decode()
    except UnicodeDecodeError as exc:
        raise forbidden(f"expected names in UTF-8, came {name!r}") from exc
    return text, _number(header[124:136]), header[156:157]


def _number(field: bytes) -> int:
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise damaged(f"a header has no number where one must be: {field!r}")
    return int(match[1], 8)


def _check_pax(stream: _Stream, size: int) -> None:
    if size > _LIMIT_PAX_BYTES:
        raise forbidden(f"expected a pax record of at most {_LIMIT_PAX_BYTES} bytes, came one of {size}")
    records = stream.take(size)
    stream.take(-size % BLOCK_BYTES)
    at = 0
    while at < len(records):
        length = _PAX.match(records, at)
        end = at + int(length[1]) if length else at
        if length is None or end <= length.end() or records[end - 1 : end] != b"\n":
            raise damaged("a pax record cannot be read")
        if not _HARMLESS.match(records, length.end(), end):
            said = records[length.end() : min(end, length.end() + 40)]
            raise forbidden(f"expected pax records of times and owners only, came {said!r}")
        at = end


def _check_end(stream: _Stream) -> None:
    """Check that the archive ends, and that nothing hides behind its end."""
    if stream.take(BLOCK_BYTES) != _END:
        raise damaged("its end is no end")
    padding = 0
    while piece := stream.read(_PIECE_BYTES):
        padding += len(piece)
        if any(piece) or padding > _LIMIT_PADDING_BYTES:
            raise forbidden("expected nothing behind its end, came more")


def _plain(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the archive's bytes, out of gzip if it is in that."""
    head = b""
    while len(head) < len(_GZIP) and (chunk := next(chunks, None)) is not None:
        head += chunk
    rest = _chain(head, chunks)
    return _inflated(rest) if head.startswith(_GZIP) else rest


def _chain(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from (chunk for chunk in chunks if chunk)


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what is in the gzip stream, in pieces of bounded size."""
    inflate = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        if inflate.eof:
            raise forbidden("expected nothing behind the end of its gzip, came more")
        tail = chunk
        while True:
            try:
                piece = inflate.decompress(tail, _PIECE_BYTES)
            except zlib.error as exc:
                raise damaged(f"its gzip cannot be read ({exc})") from exc
            tail = inflate.unconsumed_tail
            if piece:
                yield piece
            if inflate.unused_data:
                raise forbidden("expected nothing behind the end of its gzip, came more")
            if inflate.eof or (not tail and len(piece) < _PIECE_BYTES):
                break
    if not inflate.eof:
        raise damaged("its gzip ends early")
