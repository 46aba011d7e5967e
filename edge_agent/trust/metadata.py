"""The door to python-tuf: fetch, verify, and say in our words what is wrong.

python-tuf does not sync what it keeps, and reads torn files as if there were none
(seen: it then accepts an older repository). So it works on a copy in ``refreshing``;
what passed is written back durably by ``keep``.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge_agent.errors import Code, TransferError, TrustError
from edge_agent.storage import durable
from edge_agent.trust import rules
from edge_agent.trust.floors import Floors, RoleFloor

# A targets entry has about 600 bytes: 32 MiB hold fifty thousand releases.
_CONFIG = UpdaterConfig(targets_max_length=32 << 20)
_HTTP = {Code.OBJECT_MISSING: 404, Code.ACCESS_DENIED: 403}


class Readable(Protocol):
    """Where the repository lies."""

    def read(self, key: str, *, limit_bytes: int) -> bytes:
        """Return an object of at most ``limit_bytes``; TransferError."""


class SignedFile(NamedTuple):
    """A target: what is signed of one file.

    Attributes:
        key: where it lies in the repository.
        size_bytes: its length.
        sha256: its digest.
        custom: the facts beside it, unchecked.
    """

    key: str
    size_bytes: int
    sha256: str
    custom: Any


class Chain(NamedTuple):
    """Verified metadata, root to targets."""

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets

    @property
    def expires(self) -> float:
        """Return when the first of the roles expires, epoch seconds."""
        return min(role.expires.timestamp() for role in self)

    def observed(self) -> Floors:
        """Return what floors follow from this."""
        return Floors(
            roles={role.type: RoleFloor(version=role.version, keys=self._keys(role.type)) for role in self},
            issued=rules.issued(self.timestamp.unrecognized_fields),
            models=rules.release_floors({path: file.custom for path, file in self.targets.targets.items()}),
        )

    def find(self, path: str) -> SignedFile | None:
        """Return what is signed of the file ``path``, None when nothing is."""
        file = self.targets.targets.get(path)
        digest = file.hashes.get("sha256") if file else None
        if file is None or digest is None:
            return None
        directory, _, name = path.rpartition("/")
        # Consistent snapshot: the digest stands before the file's name.
        key = f"targets/{directory}/{digest}.{name}" if self.root.consistent_snapshot else f"targets/{path}"
        return SignedFile(key, file.length, digest, file.custom)

    def _keys(self, role: str) -> str:
        # Root vouches for its own successors: its count never begins anew.
        if role == Root.type:
            return ""
        return sha256(" ".join(sorted(self.root.roles[role].keyids)).encode()).hexdigest()


def root_fields(root: bytes) -> dict[str, Any]:
    """Return the fields of a root that TUF does not know, unverified.

    Raises:
        TrustError: SIGNATURE_INVALID, it is no root.json.
    """
    with _translated("trust.root"):
        metadata: Metadata[Root] = Metadata.from_bytes(root)
        return dict(metadata.signed.unrecognized_fields)


def refresh(directory: Path, root: bytes, objects: Readable, now: float) -> Chain:
    """Fetch what is new and verify all of it; ``directory`` is not changed but for ``refreshing``.

    Args:
        directory: holds ``metadata`` as it was kept.
        root: the pinned root.json.
        objects: the repository.
        now: epoch seconds to judge expiry at.

    Raises:
        TrustError: SIGNATURE_INVALID, METADATA_EXPIRED or METADATA_ROLLBACK.
        TransferError: as ``objects`` says.
        StorageError: the copy could not be made.
    """
    scratch = directory / "refreshing"
    # Made here and not by the copy below, since its name must be synced before what stands in it.
    durable.make_directory(directory)
    for place in (directory, directory / "metadata", directory / "metadata" / "root_history"):
        durable.sweep(place)
    with durable.translated(scratch), _translated("repository"):
        _copy(directory / "metadata", scratch)
        updater = Updater(str(scratch), "metadata/", fetcher=_Fetcher(objects), config=_CONFIG, bootstrap=root)
        trusted = updater._trusted_set  # noqa: SLF001 - python-tuf offers no other way to pass the time
        trusted.reference_time = datetime.fromtimestamp(now, timezone.utc)
        updater.refresh()
        return Chain(trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets)


def keep(directory: Path) -> None:
    """Write what ``refresh`` brought into ``metadata``, durably, where it differs.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    scratch, kept = directory / "refreshing", directory / "metadata"
    with durable.translated(kept):
        for source in sorted(_files(scratch)):
            target = kept / source.relative_to(scratch)
            content = source.read_bytes()
            if not target.is_file() or target.read_bytes() != content:
                durable.make_directory(target.parent)
                durable.write(target, content)
        shutil.rmtree(scratch)


class _Fetcher(FetcherInterface):
    """Lets python-tuf read from objects; a bound stands before every read."""

    def __init__(self, objects: Readable) -> None:
        self._objects = objects

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the object ``url``, a key here, of at most ``max_length`` bytes."""
        try:
            content = self._objects.read(url, limit_bytes=max_length)
        except TransferError as exc:
            # python-tuf learns by these two that there is no newer root; S3 says 403 for a
            # missing key to those who may not list.
            if exc.code not in _HTTP:
                raise
            raise DownloadHTTPError(exc.message, _HTTP[exc.code]) from exc
        yield BytesIO(content)

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Not reached: ``download_file`` above knows the bound."""
        raise DownloadError(url)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except ExpiredMetadataError as exc:
        raise TrustError(Code.METADATA_EXPIRED, f"{what}: {exc}") from exc
    except BadVersionNumberError as exc:
        raise TrustError(Code.METADATA_ROLLBACK, f"{what}: {exc}") from exc
    except RepositoryError as exc:
        raise TrustError(Code.SIGNATURE_INVALID, f"{what}: {exc}") from exc
    except DownloadHTTPError as exc:
        if isinstance(exc.__cause__, TransferError):
            raise exc.__cause__ from exc
        raise TransferError(Code.TRANSFER_FAILED, f"{what}: {exc}") from exc
    except DownloadError as exc:
        raise TransferError(Code.TRANSFER_FAILED, f"{what}: {exc}") from exc


def _copy(kept: Path, scratch: Path) -> None:
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir(parents=True)
    for source in _files(kept):
        target = scratch / source.relative_to(kept)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())


def _files(directory: Path) -> Iterator[Path]:
    # root.json is python-tuf's link to the newest of root_history; it makes it anew.
    for path in directory.rglob("*.json"):
        if path.is_file() and not path.is_symlink():
            yield path
