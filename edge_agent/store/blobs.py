"""Content by its SHA-256: bytes that were verified, read-only, each digest once.

``partial/<sha256>`` collects bytes that nobody has verified; ``admit`` is the only
way from there to ``blobs/<sha256>``.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import BundleError, Code, StorageError
from edge_agent.formats import Artefact, Manifest
from edge_agent.storage import durable

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20
_READ_ONLY = 0o444


class Blobs:
    """The blobs under ``root``."""

    def __init__(self, root: Path) -> None:
        """Keep the places; nothing is read yet."""
        self._blobs = root / "blobs"
        self._partial = root / "partial"

    def path(self, sha256: str) -> Path:
        """Return where the blob is, or would be.

        Raises:
            BundleError: MANIFEST_INVALID, this is no digest.
        """
        return self._blobs / checked(sha256)

    def partial_path(self, sha256: str) -> Path:
        """Return where unverified bytes of the blob are collected; they outlive a restart.

        Raises:
            BundleError: MANIFEST_INVALID, this is no digest.
        """
        return self._partial / checked(sha256)

    def missing(self, manifest: Manifest) -> tuple[Artefact, ...]:
        """Return the artefacts whose blobs are absent or of another size, each digest once.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        distinct = {artefact.sha256: artefact for artefact in manifest.artefacts}
        return tuple(artefact for artefact in distinct.values() if not self.holds(artefact))

    def holds(self, artefact: Artefact) -> bool:
        """Tell whether the blob is there in its full size; the bytes are not read.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        path = self.path(artefact.sha256)
        with durable.translated(path):
            try:
                found = path.lstat()
            except FileNotFoundError:
                return False
        return stat.S_ISREG(found.st_mode) and found.st_size == artefact.size_bytes

    def admit(self, sha256: str, partial: Path) -> None:
        """Verify ``partial`` while reading it, and move it into the blobs, read-only.

        After an error in the last step (the directory's fsync) the blob is already there;
        admitting it again then ends the work.

        Raises:
            BundleError: DIGEST_MISMATCH, the bytes are others; ``partial`` is deleted.
            StorageError: CONTENT_MISSING, there is no such file; NO_SPACE; STORAGE_FAILED.
        """
        target = self.path(sha256)
        if not partial.exists() and self.sound(sha256):
            self.sync()
            return
        came = sha256_of(partial)
        if came != sha256:
            durable.remove(partial)
            message = f"expected content with SHA-256 {sha256}, came {came}; the bytes are deleted"
            raise BundleError(Code.DIGEST_MISMATCH, message)
        durable.publish(partial, target, mode=_READ_ONLY)

    def sound(self, sha256: str, *, pace: Callable[[int], None] | None = None) -> bool:
        """Read the blob again and tell whether it still is what was admitted.

        Args:
            sha256: which one.
            pace: as ``sha256_of`` takes it.

        Raises:
            StorageError: STORAGE_FAILED, it could not be read for another reason than a bad disk block.
        """
        path = self.path(sha256)
        try:
            return path.exists() and sha256_of(path, pace=pace) == sha256
        except StorageError as exc:
            # A block that the disk no longer gives is rot like any other.
            if isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EIO:
                return False
            raise

    def remove(self, sha256: str) -> None:
        """Delete the blob if it is there; names that versions gave it stay.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        durable.remove(self.path(sha256))

    def unused(self, used: set[str]) -> list[str]:
        """Return the digests of blobs that are not in ``used`` and have no second name.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with durable.translated(self._blobs):
            entries = [entry for entry in self._blobs.iterdir() if _SHA256.fullmatch(entry.name)]
            # A second name is a version's hard link: kept even if its manifest cannot be read.
            return sorted(e.name for e in entries if e.name not in used and e.lstat().st_nlink == 1)

    def partials(self) -> list[Path]:
        """Return the files of unverified bytes.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with durable.translated(self._partial):
            return sorted(entry for entry in self._partial.iterdir() if _SHA256.fullmatch(entry.name))

    def modified(self, sha256: str) -> float:
        """Return when the blob's bytes were written, in epoch seconds.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        path = self.path(sha256)
        with durable.translated(path):
            return path.lstat().st_mtime

    def sync(self) -> None:
        """Make the blobs' names durable, should an earlier attempt at it have failed.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        durable.sync_directory(self._blobs)

    def sweep(self) -> None:
        """Delete what an unclean end left staged.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        durable.sweep(self._blobs)
        durable.sweep(self._partial)


def checked(sha256: str) -> str:
    """Return the digest if it is one.

    Raises:
        BundleError: MANIFEST_INVALID.
    """
    if not _SHA256.fullmatch(sha256):
        raise BundleError(Code.MANIFEST_INVALID, f"expected a SHA-256 of 64 hex digits, came {sha256[:80]!r}")
    return sha256


def sha256_of(path: Path, *, pace: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a regular file's bytes, as hex digits.

    Args:
        path: the file.
        pace: told how many bytes were read, after each piece; may wait, and may raise to end the reading. With it
            the bytes come from the disk itself, as far as they are not in use, and do not stay in memory.

    Raises:
        StorageError: CONTENT_MISSING, there is no regular file; STORAGE_FAILED.
    """
    digest = hashlib.sha256()
    with durable.translated(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as exc:
            raise StorageError(Code.CONTENT_MISSING, f"{path}: expected a file, there is none") from exc
        with os.fdopen(descriptor, "rb", buffering=0) as reader:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StorageError(Code.CONTENT_MISSING, f"{path}: expected a regular file")
            if pace is not None:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while chunk := reader.read(_CHUNK_BYTES):
                digest.update(chunk)
                if pace is not None:
                    pace(len(chunk))
            if pace is not None:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()
