"""A stored version that the disk damaged, made whole again: the same bytes, verified the same way.

Its manifest is the one that was committed, by its digest; its blobs are fetched by theirs. No
order is needed for it, since nothing changes but the disk. Not done here: finding the damage,
deciding when to mend.
"""

import functools
import hashlib
import time
from collections.abc import Callable

from edge_agent.deployment.steps.fetching import Blobs, Releases
from edge_agent.errors import AgentError, BundleError, Code, RefusedError, StorageError, TransferError
from edge_agent.formats import Artefact, Manifest, ModelVersion, parse
from edge_agent.store import Store
from edge_agent.transfer import fetch_verified

_LIMIT_S = 600.0


class Mending:
    """Mends versions out of the repository.

    Args:
        store: versions on disk.
        releases: the repository, or None where none is configured.
        blobs: its objects.
    """

    def __init__(self, store: Store, releases: Releases | None, blobs: Blobs | None) -> None:
        self._store = store
        self._releases = releases
        self._blobs = blobs

    def mend(self, version: ModelVersion, manifest_sha256: str, cancelled: Callable[[], bool]) -> None:
        """Make the version whole.

        Args:
            version: which one.
            manifest_sha256: of its manifest, as it was committed.
            cancelled: asked several times a second; what came is kept for the next try.

        Raises:
            StorageError, TransferError, TrustError, BundleError, RefusedError: it could not be mended.
            CancelledError: CANCELLED.
        """
        content = self._content(version, manifest_sha256)
        manifest = parse(Manifest, content, what=f"manifest of {version}")
        if self._is_whole(version, content, manifest_sha256):
            return
        for artefact in self._store.missing(manifest):
            self._fetch(artefact, cancelled)
        self._store.mend(content, manifest_sha256)
        self._store.verify(version, manifest_sha256=manifest_sha256)

    def _is_whole(self, version: ModelVersion, content: bytes, manifest_sha256: str) -> bool:
        """Put right what needs no download; what has rotted is missing afterwards."""
        try:
            self._store.mend(content, manifest_sha256)
            self._store.verify(version, manifest_sha256=manifest_sha256)
        except StorageError as exc:
            if exc.code is not Code.CONTENT_MISSING:
                raise
            return self._verified(version, manifest_sha256)
        return True

    def _verified(self, version: ModelVersion, manifest_sha256: str) -> bool:
        try:
            self._store.verify(version, manifest_sha256=manifest_sha256)
        except StorageError as exc:
            if exc.code is not Code.CONTENT_MISSING:
                raise
            return False
        return True

    def _content(self, version: ModelVersion, manifest_sha256: str) -> bytes:
        try:
            content = self._store.content(version)
        except StorageError as exc:
            if exc.code is not Code.CONTENT_MISSING:
                raise
            content = b""
        if hashlib.sha256(content).hexdigest() == manifest_sha256:
            return content
        if self._releases is None:
            raise _no_repository(version)
        self._releases.refresh()
        return self._releases.release(version).content

    def _fetch(self, artefact: Artefact, cancelled: Callable[[], bool]) -> None:
        if self._blobs is None:
            raise _no_repository(artefact.path)
        sha256 = artefact.sha256
        partial = self._store.partial_path(sha256)
        begin = functools.partial(
            self._blobs.fetch,
            f"blobs/sha256/{sha256}",
            partial,
            artefact.size_bytes,
            deadline=time.monotonic() + _LIMIT_S,
            cancelled=cancelled,
            progress=lambda _size_bytes: None,
        )
        fetch_verified(begin, partial, functools.partial(self._store.admit, sha256))


def is_hopeless(exc: AgentError) -> bool:
    """Tell whether another try can hardly mend what this one could not."""
    if isinstance(exc, TransferError):
        return exc.permanent and exc.code is not Code.DEADLINE_EXCEEDED
    return isinstance(exc, RefusedError | BundleError)


def _no_repository(what: object) -> RefusedError:
    return RefusedError(
        Code.RELEASE_UNKNOWN, f"{what}: there is no repository.url in the configuration to fetch it from"
    )
