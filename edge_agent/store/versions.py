"""``versions/<model>/<version>/``: a manifest and names for the blobs it lists.

A version appears by one rename of a complete, synced directory. A damaged one is
mended in place, file by file, so that what is being served never vanishes.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from edge_agent.errors import BundleError, Code, DocumentError, StorageError
from edge_agent.formats import Artefact, Manifest, ModelVersion, parse
from edge_agent.formats.model_version import NAME_PATTERN, VERSION_PATTERN
from edge_agent.storage import durable
from edge_agent.store.blobs import Blobs, sha256_of

MANIFEST = "manifest.json"


class Versions:
    """The versions under ``directory``, made of ``blobs``."""

    def __init__(self, directory: Path, blobs: Blobs) -> None:
        """Keep both; nothing is read yet."""
        self._directory = directory
        self._blobs = blobs

    def directory(self, version: ModelVersion) -> Path:
        """Return where the version is, or would be.

        Raises:
            BundleError: MANIFEST_INVALID, the name or the version is none.
        """
        if not _is_plain(version):
            message = f"expected a model's name and version, came {str(version)[:120]!r}"
            raise BundleError(Code.MANIFEST_INVALID, message)
        return self._directory / version.name / version.version

    def installed(self) -> list[ModelVersion]:
        """Return the versions on disk, sorted.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with durable.translated(self._directory):
            found = [path.parent for path in self._directory.glob(f"[!.]*/[!.]*/{MANIFEST}")]
        versions = [ModelVersion(path.parent.name, path.name) for path in found]
        return sorted(version for version in versions if _is_plain(version))

    def content(self, version: ModelVersion) -> bytes:
        """Return the bytes of the manifest as they were signed.

        Raises:
            StorageError: CONTENT_MISSING, the version is not in the store; STORAGE_FAILED.
        """
        path = self.directory(version) / MANIFEST
        with durable.translated(path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError) as exc:
                raise StorageError(Code.CONTENT_MISSING, f"{version} is not in the store") from exc

    def manifest(self, version: ModelVersion) -> Manifest:
        """Return the manifest.

        Raises:
            StorageError: CONTENT_MISSING, it is not in the store or damaged; STORAGE_FAILED.
        """
        try:
            return read_manifest(self.content(version))
        except BundleError as exc:
            raise StorageError(Code.CONTENT_MISSING, f"{version}: the manifest in the store is damaged") from exc

    def digest(self, version: ModelVersion) -> str:
        """Return the SHA-256 of the manifest's bytes, as hex digits.

        Raises:
            StorageError: CONTENT_MISSING, STORAGE_FAILED.
        """
        return hashlib.sha256(self.content(version)).hexdigest()

    def install(self, content: bytes) -> Manifest:
        """Make the version of the manifest ``content`` complete; a second time changes nothing.

        Raises:
            BundleError: MANIFEST_INVALID, it is no manifest, or the store has the version with another one.
            StorageError: CONTENT_MISSING, a blob lacks; NO_SPACE; STORAGE_FAILED.
        """
        manifest = read_manifest(content)
        for artefact in self._blobs.missing(manifest):
            raise StorageError(Code.CONTENT_MISSING, f"{manifest.model_version}: {artefact.path} is not in the store")
        target = self.directory(manifest.model_version)
        if target.exists():
            self._mend(target, manifest, content)
        else:
            self._stage(target, manifest, content)
        # An attempt that was killed or failed may have left any of these names unsynced.
        self._blobs.sync()
        durable.sync_directory(target.parent)
        durable.sync_directory(self._directory)
        return manifest

    def verify(self, version: ModelVersion, *, manifest_sha256: str | None = None) -> Manifest:
        """Read everything again and compare it with what was signed.

        A blob that has rotted is taken out, so that ``missing`` names it; what versions
        call it stays until ``install`` mends them.

        Raises:
            StorageError: CONTENT_MISSING names the first fault; STORAGE_FAILED.
        """
        manifest = self.manifest(version)
        came = self.digest(version)
        if manifest_sha256 not in (None, came):
            message = f"{version}: expected a manifest with SHA-256 {manifest_sha256}, came {came}"
            raise StorageError(Code.CONTENT_MISSING, message)
        faults = [artefact.path for artefact in manifest.artefacts if not self._sound(version, artefact)]
        if faults:
            message = f"{version}: {faults[0]} is absent or damaged ({len(faults)} of {len(manifest.artefacts)})"
            raise StorageError(Code.CONTENT_MISSING, message)
        return manifest

    def look_at(self, version: ModelVersion, manifest_sha256: str, pace: Callable[[int], None]) -> str:
        """Read a version slowly and return what is wrong with it; empty when nothing is. Nothing is changed.

        Args:
            version: which one.
            manifest_sha256: of its manifest, as it was committed.
            pace: as ``sha256_of`` takes it.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        manifest = self._readable(version)
        if manifest is None or self.digest(version) != manifest_sha256:
            return f"{version}: its manifest is absent or damaged"
        blobs = {artefact.sha256: artefact for artefact in manifest.artefacts}
        faults = [artefact.path for sha256, artefact in blobs.items() if not self._blobs.sound(sha256, pace=pace)]
        if faults:
            return f"{version}: {faults[0]} is absent or damaged ({len(faults)} of {len(manifest.artefacts)})"
        names = {artefact.path: self._blobs.path(artefact.sha256) for artefact in manifest.artefacts}
        lost = [path for path, blob in names.items() if not self._is_whole(inside(self.directory(version), path), blob)]
        return f"{version}: {lost[0]} is absent or damaged" if lost else ""

    def _is_whole(self, name: Path, blob: Path) -> bool:
        return _same_file(name, blob) or (name.is_file() and sha256_of(name) == blob.name)

    def mend(self, content: bytes, manifest_sha256: str) -> Manifest:
        """Make a committed version complete again, whatever became of its manifest.

        Args:
            content: the manifest as it was signed.
            manifest_sha256: what it must be, as it was committed.

        Raises:
            BundleError: DIGEST_MISMATCH, it is another one.
            StorageError: CONTENT_MISSING, a blob lacks; NO_SPACE; STORAGE_FAILED.
        """
        came = hashlib.sha256(content).hexdigest()
        if came != manifest_sha256:
            message = f"expected a manifest with SHA-256 {manifest_sha256}, came {came}"
            raise BundleError(Code.DIGEST_MISMATCH, message)
        target = self.directory(read_manifest(content).model_version)
        with durable.translated(target):
            damaged = target.is_dir() and not _holds(target / MANIFEST, content)
        if damaged:
            durable.write(target / MANIFEST, content, mode=0o444)
        return self.install(content)

    def remove(self, version: ModelVersion) -> None:
        """Delete the version if it is there; its blobs stay.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        durable.remove_tree(self.directory(version))

    def used(self) -> set[str]:
        """Return the digests that readable manifests name.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        digests: set[str] = set()
        for version in self.installed():
            manifest = self._readable(version)
            digests.update(artefact.sha256 for artefact in (manifest.artefacts if manifest else ()))
        return digests

    def sweep(self) -> None:
        """Delete what an unclean end left staged.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with durable.translated(self._directory):
            models = [entry for entry in self._directory.iterdir() if entry.is_dir() and not entry.is_symlink()]
        for model in models:
            durable.sweep(model)
        durable.sweep(self._directory)
        for version in self.installed():
            for inner in {path.parent for path in self.directory(version).rglob("*")}:
                durable.sweep(inner)

    def _stage(self, target: Path, manifest: Manifest, content: bytes) -> None:
        durable.make_directory(target.parent)
        staged = durable.staging_path(target)
        durable.make_directory(staged)
        try:
            for artefact in manifest.artefacts:
                name = inside(staged, artefact.path)
                durable.make_directory(name.parent)
                durable.link(self._blobs.path(artefact.sha256), name)
            durable.write(staged / MANIFEST, content, mode=0o444)
            durable.publish(staged, target)
        except StorageError:
            _clear_quietly(staged)
            raise

    def _mend(self, target: Path, manifest: Manifest, content: bytes) -> None:
        version = manifest.model_version
        known = self._readable(version)
        if known is not None and self.content(version) != content:
            message = f"{version} is in the store with another manifest; a published version never changes"
            raise BundleError(Code.MANIFEST_INVALID, message)
        for artefact in manifest.artefacts:
            name, blob = inside(target, artefact.path), self._blobs.path(artefact.sha256)
            if not _same_file(name, blob):
                durable.make_directory(name.parent)
                durable.replace_by_link(blob, name)
        if known is None:
            durable.write(target / MANIFEST, content, mode=0o444)

    def _readable(self, version: ModelVersion) -> Manifest | None:
        try:
            return self.manifest(version)
        except StorageError as exc:
            if exc.code is not Code.CONTENT_MISSING:
                raise
            return None

    def _sound(self, version: ModelVersion, artefact: Artefact) -> bool:
        name = inside(self.directory(version), artefact.path)
        if not self._blobs.sound(artefact.sha256):
            self._blobs.remove(artefact.sha256)
            return False
        if _same_file(name, self._blobs.path(artefact.sha256)):
            return True
        return name.is_file() and sha256_of(name) == artefact.sha256


def read_manifest(content: bytes) -> Manifest:
    """Return ``content`` as a manifest.

    Raises:
        BundleError: MANIFEST_INVALID.
    """
    try:
        return parse(Manifest, content, what=MANIFEST)
    except DocumentError as exc:
        raise BundleError(Code.MANIFEST_INVALID, exc.message) from exc


def inside(directory: Path, relative: str) -> Path:
    """Return the path of ``relative`` in ``directory``.

    Raises:
        BundleError: MANIFEST_INVALID, it would leave the directory.
    """
    pure = PurePosixPath(relative)
    path = directory / pure
    leaves = pure.is_absolute() or ".." in pure.parts or not path.parent.resolve().is_relative_to(directory.resolve())
    if leaves or path == directory:
        raise BundleError(Code.MANIFEST_INVALID, f"expected a path inside the version, came {relative[:200]!r}")
    return path


def _is_plain(version: ModelVersion) -> bool:
    return bool(re.fullmatch(NAME_PATTERN, version.name) and re.fullmatch(VERSION_PATTERN, version.version))


def _same_file(name: Path, blob: Path) -> bool:
    with durable.translated(name):
        try:
            return name.samefile(blob)
        except FileNotFoundError:
            return False


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _clear_quietly(staged: Path) -> None:
    try:
        durable.remove_tree(staged)
    except StorageError:
        return  # the sweep at the next start finds it
