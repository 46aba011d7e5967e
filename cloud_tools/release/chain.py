"""Reads a repository as a device would: from a pinned root, with nothing remembered.

The publisher looks at its repository through this too. Otherwise whoever can
write to the bucket could have his own targets signed by the genuine keys.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from io import BytesIO
from typing import IO, NamedTuple

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import DelegatedRole, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from cloud_tools.errors import CloudError
from cloud_tools.storage import Storage, read
from edge_agent.errors import Code

TIMESTAMP = "metadata/timestamp.json"
_NOT_FOUND = 404


class Chain(NamedTuple):
    """What the pinned root vouches for.

    Attributes:
        delegated: each role that targets delegates to, or why it is not believed: one team's
            broken role stops nobody else.
        tag: of timestamp.json before any of this was read; only who still finds it there may write.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    delegated: dict[str, Targets | CloudError]
    tag: str | None

    def delegations(self) -> dict[str, DelegatedRole]:
        """Return the roles that targets delegates to, in their order."""
        delegations = self.targets.delegations
        return dict(delegations.roles or {}) if delegations else {}

    def signed_by(self, role: str) -> Targets:
        """Return what targets or a delegated role signed.

        Raises:
            CloudError: it is not believed.
        """
        signed = self.targets if role == Targets.type else self.delegated[role]
        if isinstance(signed, CloudError):
            raise CloudError(signed.code, signed.message) from signed
        return signed

    def owner(self, path: str) -> str:
        """Return which role signs the file ``path``."""
        return next((name for name, role in self.delegations().items() if role.is_delegated_path(path)), Targets.type)


class StorageFetcher(FetcherInterface):
    """Lets python-tuf read from a storage."""

    def __init__(self, storage: Storage) -> None:
        """Remember the storage."""
        self._storage = storage

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the object ``url``, a key here, of at most ``max_length`` bytes."""
        try:
            content = read(self._storage, url, limit_bytes=max_length)
        except CloudError as exc:
            if exc.code is Code.NOT_FOUND:
                raise DownloadHTTPError(exc.message, _NOT_FOUND) from exc
            raise
        yield BytesIO(content)

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Not reached: ``download_file`` above knows the length's bound."""
        raise DownloadError(url)


def read_chain(storage: Storage, root: bytes, now: float | None) -> Chain:
    """Return the verified metadata.

    Args:
        storage: the repository.
        root: the pinned root.json.
        now: epoch seconds to judge expiry at; None: expired metadata passes, as one
            who renews it must be able to read it.

    Raises:
        CloudError: NOT_FOUND, SIGNATURE_INVALID, METADATA_EXPIRED, or as the storage says.
    """
    # Before everything else: what is read after it can only be newer, and then writing fails.
    tag = storage.tag(TIMESTAMP)
    with tempfile.TemporaryDirectory(prefix="edge-cloud-") as scratch:
        with _translated(storage.url):
            updater = Updater(scratch, "metadata/", fetcher=StorageFetcher(storage), bootstrap=root)
            trusted = updater._trusted_set  # noqa: SLF001 - python-tuf offers no other way to pass the time
            trusted.reference_time = datetime.fromtimestamp(now or 0, timezone.utc)
            updater.refresh()
        chain = Chain(trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets, {}, tag)
        for role in chain.delegations():
            chain.delegated[role] = _delegated(updater, storage.url, role)
        return chain


def _delegated(updater: Updater, url: str, role: str) -> Targets | CloudError:
    try:
        with _translated(url):
            return updater._load_targets(role, Targets.type)  # noqa: SLF001 - otherwise only on the way to a target
    except CloudError as exc:
        return exc


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except ExpiredMetadataError as exc:
        raise CloudError(Code.METADATA_EXPIRED, f"{url}: {exc}") from exc
    except RepositoryError as exc:
        raise CloudError(Code.SIGNATURE_INVALID, f"{url}: {exc}") from exc
    except DownloadError as exc:
        raise CloudError(Code.NOT_FOUND, f"{url}: expected a repository, {exc}") from exc
