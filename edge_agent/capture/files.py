"""A waiting capture as one file: a line of JSON, then the contents one after the other.

One file and one rename, so that a capture is there whole or not at all.
"""

import os
from pathlib import Path
from urllib.parse import quote

from edge_agent.capture.records import Capture
from edge_agent.errors import Code, DocumentError, StorageError
from edge_agent.formats import parse
from edge_agent.storage import durable

SUFFIX = ".capture"
# One that the cloud has, and which is kept for browsing.
KEPT_SUFFIX = ".uploaded"
_LIMIT_HEADER_BYTES = 4 << 20


def path_of(directory: Path, capture_id: str, at: float, suffix: str = SUFFIX) -> Path:
    """Return where a capture lies; names sort by age."""
    # A long id is cut; the time before it keeps names apart, and the id stands inside.
    return directory / f"{int(at * 1000):015d}-{quote(capture_id, safe='')[:150]}{suffix}"


def encode(capture: Capture, contents: list[bytes]) -> bytes:
    """Return a file's bytes."""
    return capture.to_json() + b"".join(contents)


def read_header(path: Path) -> Capture:
    """Return a capture without its contents; the file's length is checked.

    Raises:
        StorageError: CONTENT_MISSING, it is damaged; STORAGE_FAILED, it cannot be read.
    """
    with durable.translated(path), path.open("rb") as file:
        line = file.readline(_LIMIT_HEADER_BYTES)
        size = path.stat().st_size
    try:
        capture = parse(Capture, line, what=path.name)
    except DocumentError as exc:
        raise StorageError(Code.CONTENT_MISSING, exc.message) from exc
    if size != len(line) + capture.size_bytes:
        raise StorageError(
            Code.CONTENT_MISSING, f"{path.name}: expected {len(line) + capture.size_bytes} bytes, came {size}"
        )
    return capture


def read(path: Path) -> tuple[Capture, list[bytes]]:
    """Return a capture and its contents.

    Raises:
        StorageError: as ``read_header``.
    """
    capture = read_header(path)
    with durable.translated(path), path.open("rb") as file:
        file.readline(_LIMIT_HEADER_BYTES)
        contents = [file.read(part.size_bytes) for part in capture.parts]
    return capture, contents


def read_part(path: Path, number: int) -> bytes:
    """Return one of a capture's contents.

    Raises:
        StorageError: as ``read_header``.
    """
    capture = read_header(path)
    with durable.translated(path), path.open("rb") as file:
        file.readline(_LIMIT_HEADER_BYTES)
        file.seek(sum(part.size_bytes for part in capture.parts[:number]), os.SEEK_CUR)
        return file.read(capture.parts[number].size_bytes)
