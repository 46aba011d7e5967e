"""The store as others see it: everything a device keeps of model versions."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from edge_agent.errors import Code, StorageError
from edge_agent.formats import Artefact, Manifest, ModelVersion
from edge_agent.storage import durable
from edge_agent.store import layout, retention
from edge_agent.store.blobs import Blobs
from edge_agent.store.generations import Committed, Generation, Generations
from edge_agent.store.quarantine import Quarantine
from edge_agent.store.versions import Versions


class Store:
    """Model versions under the state directory ``root``.

    One process writes (it holds the state directory's lock) and calls ``recover``
    first; others may read.

    Raises:
        StorageError: the directory is of a newer agent, or cannot be written.
    """

    def __init__(self, root: Path) -> None:
        """Make the directories, or bring them to today's layout."""
        layout.prepare(root)
        self._root = root
        self._blobs = Blobs(root)
        self._versions = Versions(root / "versions", self._blobs)
        self._quarantine = Quarantine(root / "quarantine")
        self.generations = Generations(root / "generations")

    def recover(self) -> None:
        """Delete what an unclean end left staged; nothing published is touched.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        for name in ("", *layout.DIRECTORIES):
            durable.sync_directory(self._root / name)
        durable.sweep(self._root)
        durable.sweep(self._root / "quarantine")
        self._blobs.sweep()
        self._versions.sweep()
        self.generations.sweep()

    def missing(self, manifest: Manifest) -> tuple[Artefact, ...]:
        """Return the artefacts that must be downloaded, each digest once.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return self._blobs.missing(manifest)

    def partial_path(self, sha256: str) -> Path:
        """Return where unverified bytes of a blob are collected; they outlive a restart.

        Raises:
            BundleError: MANIFEST_INVALID, this is no digest.
        """
        return self._blobs.partial_path(sha256)

    def admit(self, sha256: str, partial: Path) -> None:
        """Verify the bytes of ``partial`` and move them into the store, read-only.

        Raises:
            BundleError: DIGEST_MISMATCH, the bytes are others and are deleted.
            StorageError: CONTENT_MISSING, NO_SPACE or STORAGE_FAILED.
        """
        self._blobs.admit(sha256, partial)

    def install(self, content: bytes) -> Manifest:
        """Make the version of the manifest ``content`` complete, or mend it; idempotent.

        Raises:
            BundleError: MANIFEST_INVALID, it is none, or the store has the version with another one.
            StorageError: CONTENT_MISSING, a blob lacks; NO_SPACE; STORAGE_FAILED.
        """
        return self._versions.install(content)

    def verify(self, version: ModelVersion, *, manifest_sha256: str | None = None) -> Manifest:
        """Read every byte of the version again; what has rotted becomes ``missing``.

        Args:
            version: which one.
            manifest_sha256: what the manifest's digest must be, as a generation says; None: any.

        Raises:
            StorageError: CONTENT_MISSING, the version is absent or damaged; STORAGE_FAILED.
        """
        return self._versions.verify(version, manifest_sha256=manifest_sha256)

    def look_at(self, version: ModelVersion, manifest_sha256: str, pace: Callable[[int], None]) -> str:
        """Read a version slowly and return what is wrong with it; empty when nothing is. Nothing is changed.

        Args:
            version: which one.
            manifest_sha256: of its manifest, as it was committed.
            pace: told how many bytes were read; may wait, and may raise to end the reading.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return self._versions.look_at(version, manifest_sha256, pace)

    def mend(self, content: bytes, manifest_sha256: str) -> Manifest:
        """Make a committed version complete again out of its signed manifest and the blobs that are here.

        Raises:
            BundleError: DIGEST_MISMATCH, it is not the manifest that was committed.
            StorageError: CONTENT_MISSING, a blob lacks; NO_SPACE; STORAGE_FAILED.
        """
        return self._versions.mend(content, manifest_sha256)

    def manifest(self, version: ModelVersion) -> Manifest:
        """Return the version's manifest.

        Raises:
            StorageError: CONTENT_MISSING or STORAGE_FAILED.
        """
        return self._versions.manifest(version)

    def content(self, version: ModelVersion) -> bytes:
        """Return the manifest's bytes as they were signed, as ``install`` takes them.

        Raises:
            StorageError: CONTENT_MISSING or STORAGE_FAILED.
        """
        return self._versions.content(version)

    def digest(self, version: ModelVersion) -> str:
        """Return the SHA-256 of the version's manifest, as hex digits.

        Raises:
            StorageError: CONTENT_MISSING or STORAGE_FAILED.
        """
        return self._versions.digest(version)

    def directory(self, version: ModelVersion) -> Path:
        """Return where the version's files are, or would be."""
        return self._versions.directory(version)

    def installed(self) -> list[ModelVersion]:
        """Return the versions on disk, sorted.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return self._versions.installed()

    def commit(self, models: dict[str, Committed], deployment: str | None = None) -> Generation:
        """Make ``models`` the committed ones, after a look that each is there as its digest says.

        Args:
            models: all of them, by name.
            deployment: which one commits them.

        Raises:
            StorageError: CONTENT_MISSING, one is not; NO_SPACE; STORAGE_FAILED. The generation before stays.
        """
        for name, committed in models.items():
            self._must_be_complete(ModelVersion(name, committed.version), committed.manifest_sha256)
        return self.generations.commit(models, deployment)

    def discard(self, manifest: Manifest) -> None:
        """Delete the version and the blobs that nobody else uses.

        Raises:
            StorageError: STORAGE_FAILED, also when it is committed or the previous one.
        """
        version = manifest.model_version
        if version in retention.protected(self.generations.current()):
            raise StorageError(Code.STORAGE_FAILED, f"{version} is committed or previous, it cannot be discarded")
        retention.discard(manifest, self._versions, self._blobs)

    def prune(
        self,
        keep: set[ModelVersion],
        *,
        partial_age_s: float,
        now: float,
        in_flight: Collection[str] = (),
        keep_versions: int = 0,
    ) -> list[ModelVersion]:
        """Delete what is no longer needed and return the versions that went.

        Args:
            keep: versions that stay, besides the committed and the previous ones.
            partial_age_s: bytes of unfinished downloads that are younger stay.
            now: epoch seconds.
            in_flight: digests of blobs that stay though no version has them yet.
            keep_versions: of each committed model so many versions that were committed last stay, too.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        current = self.generations.current()
        kept = keep | retention.protected(current)
        if keep_versions:
            kept |= retention.committed_last(current, self.generations.history(), keep_versions)
        removed = retention.prune_versions(kept, self._versions)
        retention.prune_bytes(self._versions, self._blobs, before=now - partial_age_s, keep=set(in_flight))
        return removed

    def free_bytes(self) -> int:
        """Return the disk space that this process may still use.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with durable.translated(self._root):
            disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize

    def quarantine(self, digest: str, reason: str) -> None:
        """Never try the manifest with this SHA-256 again, until cleared.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        self._quarantine.add(digest, reason)

    def is_quarantined(self, digest: str) -> bool:
        """Tell whether the manifest with this SHA-256 is quarantined."""
        return self._quarantine.holds(digest)

    def quarantined(self) -> dict[str, str]:
        """Return the reasons by manifest digest.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return self._quarantine.entries()

    def clear_quarantine(self, digest: str) -> bool:
        """Let the manifest be tried again; tell whether it was quarantined.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return self._quarantine.clear(digest)

    def _must_be_complete(self, version: ModelVersion, manifest_sha256: str) -> None:
        came = self._versions.digest(version)
        if came != manifest_sha256:
            message = f"{version}: expected a manifest with SHA-256 {manifest_sha256}, came {came}"
            raise StorageError(Code.CONTENT_MISSING, message)
        lacking = self.missing(self._versions.manifest(version))
        if lacking:
            raise StorageError(Code.CONTENT_MISSING, f"{version}: {lacking[0].path} is not in the store")
