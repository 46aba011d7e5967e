"""Directories that clients name, read as what anybody may have put there."""

import errno
import hashlib
import os
import stat
from pathlib import Path

from edge_agent.errors import Code, DocumentError, InferenceError
from edge_agent.formats import Manifest, parse
from edge_agent.formats.manifest import LIMIT_BYTES


def existing(path: Path) -> Path | None:
    """Return a directory without links in its path; None: there is none."""
    try:
        real = path.resolve()
        return real if real.is_dir() else None
    except (OSError, RuntimeError):
        # A name that is too long for any directory, links that lead in a circle.
        return None


def read_manifest(directory: Path, url: str) -> tuple[Manifest, str]:
    """Return a directory's manifest and the SHA-256 of its file.

    Raises:
        InferenceError: FAILED_PRECONDITION: there is none, or it is not one.
    """
    try:
        content = _read(directory / "manifest.json", LIMIT_BYTES + 1)
        if len(content) > LIMIT_BYTES:
            raise InferenceError(
                Code.FAILED_PRECONDITION, f"{url}: its manifest.json is larger than {LIMIT_BYTES} bytes"
            )
        return parse(Manifest, content, what=f"{url}/manifest.json"), hashlib.sha256(content).hexdigest()
    except OSError as exc:
        message = f"{url}: expected a manifest.json in it, {exc.strerror}"
        raise InferenceError(Code.FAILED_PRECONDITION, message) from exc
    except DocumentError as exc:
        raise InferenceError(Code.FAILED_PRECONDITION, exc.message) from exc


def _read(path: Path, size: int) -> bytes:
    """Return a file's first bytes; a pipe in its place neither blocks nor is read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "something else than a file lies there")
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)
