"""Packages: our own bundle (a manifest and the files it lists) in a tar archive that nobody signed.

First the manifest alone is read, then the whole archive is checked against it, and only then is a
byte written: into ``partial/``, from where ``admit`` takes it like any download. So an archive
can bring nothing but files that its manifest lists, each in its size and with its digest. Not done
here: whether such a package is wanted at all.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from edge_agent.errors import BundleError, CancelledError, Code, StorageError
from edge_agent.formats import Artefact, Manifest
from edge_agent.formats.archive import BLOCK_BYTES, LIMIT_ENTRIES, Member, forbidden, read_members
from edge_agent.formats.manifest import LIMIT_BYTES as LIMIT_MANIFEST_BYTES
from edge_agent.storage import durable
from edge_agent.store.versions import MANIFEST, read_manifest

LIMIT_PACKAGE_BYTES: Final = 4 << 30
_READ_BYTES: Final = 1 << 20
_WRITE_BYTES: Final = 4 << 20
# Headers, padding and records of times, for as many entries as there may be.
_FRAME_BYTES: Final = LIMIT_ENTRIES * 4 * BLOCK_BYTES
_CONVERT = "convert the model with `edge-cloud package`, and sign it"


class Place(Protocol):
    """Where content goes: the store."""

    def partial_path(self, sha256: str) -> Path:
        """Return where unverified bytes are collected."""

    def admit(self, sha256: str, partial: Path) -> None:
        """Verify the bytes and take them."""


def manifest_of(chunks: Iterable[bytes]) -> bytes:
    """Return the manifest's bytes, read as far as it stands.

    Args:
        chunks: the archive, piece by piece.

    Raises:
        BundleError: MANIFEST_INVALID, there is none of ours; as ``archive.read_members``.
    """
    for member in read_members(chunks, limit_bytes=LIMIT_PACKAGE_BYTES):
        if _plain_name(member) == MANIFEST:
            return _checked(member)
    message = f"package: expected a {MANIFEST} at its top, there is none: {_CONVERT}"
    raise BundleError(Code.MANIFEST_INVALID, message)


def largest(manifest: Manifest) -> int:
    """Return how many bytes a package of this manifest can have, unpacked or not."""
    return min(LIMIT_PACKAGE_BYTES, sum(artefact.size_bytes for artefact in manifest.artefacts) + _room())


def unpack(
    archive: Path, content: bytes, wanted: Iterable[str], place: Place, cancelled: Callable[[], bool] = lambda: False
) -> None:
    """Bring the wanted files of a package into the store; before one is written the whole archive was checked.

    Args:
        archive: the package.
        content: its manifest's bytes, as they were read before.
        wanted: digests of what the store lacks.
        place: the store.
        cancelled: asked often; ends the work, and no part of a file stays.

    Raises:
        BundleError: FORMAT_FORBIDDEN, MANIFEST_INVALID, DIGEST_MISMATCH; nothing of a bad file stays.
        StorageError: NO_SPACE, STORAGE_FAILED.
        CancelledError: CANCELLED.
    """
    manifest = read_manifest(content)
    _check(archive, manifest, content, cancelled)
    listed = {artefact.path: artefact for artefact in manifest.artefacts}
    left = set(wanted)
    for member in read_members(_chunks(archive, cancelled), limit_bytes=largest(manifest)):
        artefact = listed.get(_plain_name(member))
        if artefact is not None and artefact.sha256 in left:
            left.remove(artefact.sha256)
            _bring(member, artefact, place)


def _check(archive: Path, manifest: Manifest, content: bytes, cancelled: Callable[[], bool]) -> None:
    sizes = {artefact.path: artefact.size_bytes for artefact in manifest.artefacts} | {MANIFEST: len(content)}
    seen: set[str] = set()
    for member in read_members(_chunks(archive, cancelled), limit_bytes=largest(manifest)):
        name = _plain_name(member)
        if name not in sizes:
            raise forbidden(f"expected only files that {MANIFEST} lists, came {member.name[:200]!r}")
        if name in seen:
            raise forbidden(f"expected each file once, {name} came again")
        if member.size_bytes != sizes[name]:
            raise forbidden(f"{name}: expected {sizes[name]} bytes as {MANIFEST} says, came {member.size_bytes}")
        seen.add(name)
        if name == MANIFEST and b"".join(member.content) != content:
            raise BundleError(Code.DIGEST_MISMATCH, f"package: expected the {MANIFEST} of before, came another")
    lacking = sizes.keys() - seen
    if lacking:
        raise forbidden(f"expected every file that {MANIFEST} lists, {min(lacking)} is not there")


def _bring(member: Member, artefact: Artefact, place: Place) -> None:
    partial = place.partial_path(artefact.sha256)
    durable.remove(partial)
    try:
        gathered = bytearray()
        for piece in member.content:
            gathered += piece
            if len(gathered) >= _WRITE_BYTES:
                durable.append(partial, gathered)
                gathered.clear()
        # Also of an empty file something must be there to admit.
        durable.append(partial, gathered)
    except BaseException:
        _remove_quietly(partial)
        raise
    place.admit(artefact.sha256, partial)


def _remove_quietly(partial: Path) -> None:
    try:
        durable.remove(partial)
    except StorageError:
        return  # retention finds it


def _checked(member: Member) -> bytes:
    if member.size_bytes > LIMIT_MANIFEST_BYTES:
        message = f"package: expected a {MANIFEST} of at most {LIMIT_MANIFEST_BYTES} bytes, came {member.size_bytes}"
        raise BundleError(Code.MANIFEST_INVALID, message)
    content = b"".join(member.content)
    try:
        read_manifest(content)
    except BundleError as exc:
        message = f"package: expected a {MANIFEST} of this agent's form ({exc.message}): {_CONVERT}"
        raise BundleError(Code.MANIFEST_INVALID, message) from exc
    return content


def _plain_name(member: Member) -> str:
    # As `tar -C bundle .` writes them.
    return member.name.removeprefix("./")


def _room() -> int:
    return LIMIT_MANIFEST_BYTES + _FRAME_BYTES


def _chunks(archive: Path, cancelled: Callable[[], bool]) -> Iterator[bytes]:
    with durable.translated(archive), archive.open("rb") as reader:
        while chunk := reader.read(_READ_BYTES):
            if cancelled():
                raise CancelledError(Code.CANCELLED, "the unpacking was cancelled")
            yield chunk


def sha256_of(content: bytes) -> str:
    """Return the digest of a manifest, as hex digits."""
    return hashlib.sha256(content).hexdigest()


def name_of(*words: str) -> str:
    """Return the name, in the form of a digest, under which an archive's bytes are collected."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
