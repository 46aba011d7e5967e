"""What a deployment's targets are on disk: manifests, bytes that still lack, installed versions.

Read by every step, changed by none of them here.
"""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.deployment.journal import Journal
from edge_agent.deployment.plan import Offer
from edge_agent.deployment.record import Target
from edge_agent.deployment.serving import Version
from edge_agent.errors import BundleError, Code
from edge_agent.formats import Artefact, Manifest, ModelVersion, parse
from edge_agent.store import Store


class Contents:
    """The store and the manifests that the journal keeps for a deployment under way."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    def manifest(self, target: Target) -> Manifest:
        """Return the signed manifest, installed or not yet.

        Raises:
            StorageError: CONTENT_MISSING, it is in neither place.
        """
        version = target.version
        if version in self._store.installed() and self._store.digest(version) == target.manifest_sha256:
            return self._store.manifest(version)
        return parse(Manifest, self._journal.manifest(target.manifest_sha256), what="manifest")

    def missing(self, manifests: Sequence[Manifest]) -> dict[str, Artefact]:
        """Return by digest what the store does not hold yet."""
        return {artefact.sha256: artefact for m in manifests for artefact in self._store.missing(m)}

    def installed(self, target: Target) -> Version:
        """Return the installed version.

        Raises:
            BundleError: CONTENT_MISSING, another release of this version stands in its place.
            StorageError: CONTENT_MISSING, it is not there.
        """
        version = target.version
        if self._store.digest(version) != target.manifest_sha256:
            raise BundleError(Code.CONTENT_MISSING, f"expected {version} of this deployment in the store, came another")
        return Version(self._store.manifest(version), self._store.directory(version))

    def stored(self, version: ModelVersion) -> Version:
        """Return an installed version, whatever deployment brought it.

        Raises:
            StorageError: CONTENT_MISSING, it is not there.
        """
        return Version(self._store.manifest(version), self._store.directory(version))

    def offer(self, name: str, version: str) -> Offer:
        """Return an installed version as something that can be gone back to.

        Raises:
            StorageError: CONTENT_MISSING.
        """
        stored = ModelVersion(name, version)
        return Offer(self._store.manifest(stored), self._store.digest(stored))


def size_of(path: Path) -> int:
    """Return a file's bytes, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0
