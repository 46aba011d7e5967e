"""The door to python-tuf's client: it works on a copy, and we keep what it verified.

python-tuf does not sync what it keeps, and reads torn files as if there were none
(seen: it then accepts an older repository). So it gets a copy of the kept files; what
it verified there is written back durably by ``keep``. Whether that happens after a
failed refresh too is for the caller to say. Not done here: any rule of our own.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge_agent.errors import BundleError, Code, TransferError, TrustError
from edge_agent.storage import durable

# A targets entry has about 600 bytes: 32 MiB hold fifty thousand releases.
_CONFIG = UpdaterConfig(targets_max_length=32 << 20)
_HTTP = {Code.OBJECT_MISSING: 404, Code.ACCESS_DENIED: 403}
_HISTORY = "root_history"
# TUF 1.0 §5.3 to §5.6: each role is kept before the next is asked for.
_ORDER = {f"{role}.json": place for place, role in enumerate((Timestamp.type, Snapshot.type, Targets.type))}


Check = Callable[[], None]


def nothing() -> None:
    """Check nothing."""


class Readable(Protocol):
    """Where the repository lies: keys begin with ``metadata/`` or ``targets/``."""

    def read(self, key: str, *, limit_bytes: int, check: Check = nothing) -> bytes:
        """Return an object of at most ``limit_bytes``; what ``check`` raises, asked now and then, ends it.

        Raises:
            TransferError: as the objects say.
        """


class Watched:
    """Objects whose reading ends as soon as ``check`` raises: slow retrieval must not hold anybody who gives up."""

    def __init__(self, objects: Readable, check: Check) -> None:
        self._objects = objects
        self._check = check

    def read(self, key: str, *, limit_bytes: int, check: Check = nothing) -> bytes:
        """Return an object of at most ``limit_bytes``.

        Raises:
            TransferError: as the objects say; and whatever either check raises.
        """
        check()
        self._check()
        return self._objects.read(key, limit_bytes=limit_bytes, check=self._check)


class WorkingCopy:
    """python-tuf at work in ``scratch`` on what ``kept`` holds; ``kept`` changes by ``keep`` only.

    Args:
        kept: trusted metadata, or a directory that is not there yet.
        scratch: is emptied first.
        root: the root.json to begin from.
        objects: the repository.
        now: epoch seconds to judge expiry at.

    Raises:
        TrustError: SIGNATURE_INVALID, ``root`` is none.
        StorageError: the copy could not be made.
    """

    def __init__(self, kept: Path, scratch: Path, root: bytes, objects: Readable, now: float) -> None:
        self._scratch = scratch
        for place in (kept, kept / _HISTORY):
            durable.sweep(place)
        with self._translated("root.json"):
            _copy(kept, scratch)
            fetcher = _Fetcher(objects)
            self._updater = Updater(str(scratch), "metadata/", None, "targets/", fetcher, _CONFIG, bootstrap=root)
        self._trusted = self._updater._trusted_set  # noqa: SLF001 - python-tuf offers no other way to pass the time
        self._trusted.reference_time = datetime.fromtimestamp(now, timezone.utc)

    def refresh(self) -> tuple[Root, Timestamp, Snapshot, Targets]:
        """Fetch what is new of the four top roles, verify and return all of it.

        Raises:
            TrustError: SIGNATURE_INVALID, METADATA_EXPIRED or METADATA_ROLLBACK.
            TransferError: as ``objects`` says.
            StorageError: the copy could not be written.
        """
        with self._translated("repository"):
            self._updater.refresh()
        trusted = self._trusted
        return trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets

    def load(self, role: str) -> Targets:
        """Fetch what is new of a role that targets delegates to, verify and return it; after ``refresh``.

        Raises:
            TrustError, TransferError, StorageError: as ``refresh``.
        """
        with self._translated(f"repository: {role}"):
            # python-tuf fetches delegated roles only on the way to a target; floors need them all.
            return self._updater._load_targets(role, Targets.type)  # noqa: SLF001

    def find(self, path: str) -> TargetFile | None:
        """Return what is signed of ``path`` after ``refresh``, by targets or those it delegates to.

        Raises:
            TrustError, TransferError, StorageError: as ``refresh``; a delegated role is fetched when it is needed.
        """
        with self._translated("repository"):
            return self._updater.get_targetinfo(path)

    def holds(self, file: Path, signed: TargetFile) -> bool:
        """Tell whether ``file`` is there with the signed length and hashes."""
        return self._updater.find_cached_target(signed, str(file)) is not None

    def download(self, signed: TargetFile, file: Path) -> None:
        """Fetch and verify a target, all of it in memory, and put it at ``file`` durably.

        Raises:
            BundleError: DIGEST_MISMATCH, nothing was written.
            TransferError, StorageError: as ``refresh``.
        """
        fetched = self._scratch / "target"
        with self._translated(signed.path):
            try:
                self._updater.download_target(signed, str(fetched))
            except LengthOrHashMismatchError as exc:
                raise BundleError(Code.DIGEST_MISMATCH, f"{signed.path}: {exc}") from exc
            content = fetched.read_bytes()
        durable.make_directory(file.parent)
        durable.write(file, content)

    def root(self) -> bytes:
        """Return the newest trusted root.json."""
        with durable.translated(self._scratch):
            return (self._scratch / _HISTORY / f"{self._trusted.root.version}.root.json").read_bytes()

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        with durable.translated(self._scratch), translated(what):
            yield


def keep(kept: Path, scratch: Path) -> None:
    """Write what was verified in ``scratch`` into ``kept``, durably, where it differs; ``scratch`` goes.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    with durable.translated(kept):
        for source in sorted(_files(scratch), key=_place):
            target = kept / source.relative_to(scratch)
            content = source.read_bytes()
            if not target.is_file() or target.read_bytes() != content:
                durable.make_directory(target.parent)
                durable.write(target, content)
        shutil.rmtree(scratch)


def drop(scratch: Path, role: str) -> None:
    """Forget what was verified of a delegated role.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with durable.translated(scratch):
        (scratch / file_name(role)).unlink(missing_ok=True)


def file_name(role: str) -> str:
    """Return how python-tuf names the file of a role."""
    return f"{quote(role, safe='')}.json"


def check_root(content: bytes) -> None:
    """Refuse what is no root.json, or not signed by enough of the keys it names.

    Raises:
        TrustError: SIGNATURE_INVALID.
    """
    with translated("root.json"):
        metadata: Metadata[Root] = Metadata.from_bytes(content)
        if not isinstance(metadata.signed, Root):
            raise TrustError(Code.SIGNATURE_INVALID, f"expected a root.json, came {metadata.signed.type}.json")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn python-tuf's errors into ours.

    Raises:
        TrustError: METADATA_EXPIRED, METADATA_ROLLBACK or SIGNATURE_INVALID.
        TransferError: as the repository's objects said.
    """
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
    for place in (directory, directory / _HISTORY):
        for path in place.glob("*.json"):
            if path.is_file() and not path.is_symlink():
                yield path


def _place(path: Path) -> tuple[int, str]:
    place = -1 if path.parent.name == _HISTORY else _ORDER.get(path.name, len(_ORDER))
    return place, path.name
