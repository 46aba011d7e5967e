"""REFRESHING and DOWNLOADING of a model out of a package that nobody signed.

The same states, the same checks, the same store: only where the manifest and the files come from is
another thing. Where the device takes signed releases only, none of this is there. Not done here:
reading an archive (the store's ``package``).
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from edge_agent.config import Deployment as Limits
from edge_agent.deployment import plan
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.contents import Contents, size_of
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.plan import Offer
from edge_agent.deployment.record import Deployment, note, time_left
from edge_agent.deployment.steps.fetching import Fetch
from edge_agent.deployment.watching import guards
from edge_agent.deployment.work import Meter, Work, interrupter, patiently
from edge_agent.errors import BundleError, Code, RefusedError
from edge_agent.formats import Manifest, ModelVersion, Package, parse
from edge_agent.storage import durable
from edge_agent.store import Store, package
from edge_agent.telemetry import metrics
from edge_agent.transfer import Head, fetch_verified, side_by_side

_log = logging.getLogger(__name__)

_LOOK_BYTES = 1 << 20


class Objects(Protocol):
    """Where packages lie."""

    def head(self, key: str, *, check: Callable[[], None]) -> Head:
        """Return size and ETag of an object."""

    def read_range(self, key: str, start: int, end: int, *, check: Callable[[], None]) -> bytes:
        """Return some bytes of an object."""


class Packages:
    """The one place that packages may come from: the repository's own bucket, or its directory.

    Args:
        objects: what lies there.
        fetch: brings a whole object.
        bucket: its name; empty: the place has none, and a job may name any.
        reserve: takes bytes of the cap on the network, and returns the seconds to wait before they move.
    """

    def __init__(
        self, objects: Objects, fetch: Fetch, bucket: str, reserve: Callable[[int], float] = lambda _size_bytes: 0.0
    ) -> None:
        self._reserve = reserve
        self.fetch = fetch
        self._objects = objects
        self._bucket = bucket

    def check_place(self, wanted: Package) -> None:
        """Check that a job does not lead this device elsewhere.

        Raises:
            RefusedError: UNSIGNED_PACKAGE, it names another bucket than the repository's.
        """
        if self._bucket and wanted.bucket != self._bucket:
            message = f"expected a package in {self._bucket}, the bucket of this device's repository, came {wanted}"
            raise RefusedError(Code.UNSIGNED_PACKAGE, f"{message}: a job does not lead a device elsewhere")

    def head(self, wanted: Package, limit_bytes: int, work: Work) -> Head:
        """Return size and ETag of a package.

        Raises:
            BundleError: FORMAT_FORBIDDEN, it is larger than a package can be.
            TransferError: it is not there; or what ``work.wait`` raises when the deployment must end.
        """
        ask = functools.partial(self._objects.head, wanted.key, check=interrupter(work))
        found = patiently(ask, work)
        if found.size > limit_bytes:
            message = f"{wanted}: expected a package of at most {limit_bytes} bytes, came one of {found.size}"
            raise BundleError(Code.FORMAT_FORBIDDEN, message)
        return found

    def chunks(self, wanted: Package, head: Head, work: Work) -> Iterator[bytes]:
        """Yield a package's bytes from its beginning, as far as they are asked for; nothing is kept.

        Raises:
            TransferError: permanent; or what ``work.wait`` raises when the deployment must end.
        """
        check = interrupter(work)
        for start in range(0, head.size, _LOOK_BYTES):
            end = min(head.size, start + _LOOK_BYTES)
            work.wait(self._reserve(end - start))
            # Should it change meanwhile, it is no archive, or not the one that DOWNLOADING finds: both are noticed.
            yield patiently(functools.partial(self._objects.read_range, wanted.key, start, end, check=check), work)


class Packaged:
    """The two steps that differ.

    Args:
        packages: where they come from; None: this device takes signed releases only.
        floor: the lowest release_seq that a model may have, as signed.
        store: versions on disk.
        journal: keeps the manifest between states.
        contents: what the target is on disk.
        commits: what is committed.
        limits: the device's own policy.
        now: epoch seconds.
    """

    def __init__(
        self,
        packages: Packages | None,
        floor: Callable[[str], int],
        store: Store,
        journal: Journal,
        contents: Contents,
        commits: Commits,
        limits: Limits,
        *,
        now: Callable[[], float],
    ) -> None:
        self._packages = packages
        self._floor = floor
        self._store = store
        self._journal = journal
        self._contents = contents
        self._commits = commits
        self._limits = limits
        self._now = now

    def refresh(self, record: Deployment, work: Work) -> Deployment:
        """Read the package's manifest, and say what exactly is to be installed.

        Raises:
            RefusedError: unsigned packages are not taken, not from there, or not in place of a signed version.
            BundleError: it is no package of ours, or of another model.
            TransferError: it could not be read.
        """
        packages, wanted = self._allowed(record)
        (target,) = record.targets
        _log.warning("unsigned package", extra=_fields(record))
        # What the archive brings is read only where it could be installed at all.
        plan.check_unsigned(target, self._commits.models())
        head = packages.head(wanted, package.LIMIT_PACKAGE_BYTES, work)
        content = package.manifest_of(packages.chunks(wanted, head, work))
        offer = Offer(_of(target.version, content, wanted), package.sha256_of(content))
        self._journal.keep_manifest(offer.manifest_sha256, content)
        targets = plan.plan_install(
            record.targets,
            {target.name: offer},
            self._commits.models(),
            self._floor,
            self._store.is_quarantined,
            unsigned=True,
        )
        limits = self._limits
        policy = guards.merged(record.policy, [offer.manifest.policy], probation=limits.probation, shadow=limits.shadow)
        return record.model_copy(update={"targets": targets, "policy": policy})

    def download(self, record: Deployment, work: Work) -> Deployment:
        """Fetch the package and bring its files into the store, then install the version.

        Raises:
            TransferError, BundleError, StorageError: the bytes did not come, are wrong or could not be kept.
            RefusedError: unsigned packages are no longer taken.
        """
        (target,) = record.targets
        manifest = self._contents.manifest(target)
        missing = self._contents.missing([manifest])
        if missing:
            record = self._bring(record, manifest, work)
        self._store.install(self._journal.manifest(target.manifest_sha256))
        return record

    def _bring(self, record: Deployment, manifest: Manifest, work: Work) -> Deployment:
        packages, wanted = self._allowed(record)
        head = packages.head(wanted, package.largest(manifest), work)
        name = package.name_of(str(wanted), str(head.size), head.etag or "")
        archive = self._store.partial_path(name)
        kept = size_of(archive)
        meter = Meter(record.model_copy(update={"bytes_total": head.size}), {name: kept}, work)
        deadline = time.monotonic() + time_left(record, self._now())

        def transfer(cancelled: Callable[[], bool]) -> None:
            progress = functools.partial(meter.at, name)
            arguments: dict[str, Any] = {"deadline": deadline, "cancelled": cancelled, "progress": progress}
            begin = functools.partial(packages.fetch, wanted.key, archive, head.size, **arguments)
            fetch_verified(begin, archive, lambda path: self._unpack(path, record, manifest, cancelled))

        side_by_side([transfer], lanes=1, cancelled=work.cancelled, tell=meter.tell)
        metrics.count_download(meter.fetched)
        return note(meter.record, {"kept_bytes": kept}, size_bytes=meter.fetched)

    def _unpack(self, archive: Path, record: Deployment, manifest: Manifest, cancelled: Callable[[], bool]) -> None:
        content = self._journal.manifest(record.targets[0].manifest_sha256)
        wanted = [artefact.sha256 for artefact in self._store.missing(manifest)]
        try:
            package.unpack(archive, content, wanted, self._store, cancelled)
        except BundleError:
            durable.remove(archive)
            raise
        durable.remove(archive)

    def _allowed(self, record: Deployment) -> tuple[Packages, Package]:
        if self._packages is None or record.package is None:
            message = f"the job names an unsigned package ({record.package}), and this device takes signed ones only"
            raise RefusedError(Code.UNSIGNED_PACKAGE, message)
        self._packages.check_place(record.package)
        return self._packages, record.package


def package_root(url: str) -> tuple[str, str]:
    """Return the URL that packages' keys are relative to, and the bucket's name; empty where there is none.

    A repository may lie under a prefix of its bucket; a package's key, as old jobs tell it, is the bucket's.
    """
    parts = urlsplit(url)
    return (f"s3://{parts.netloc}", parts.netloc) if parts.scheme == "s3" else (url, "")


def _of(version: ModelVersion, content: bytes, wanted: Package) -> Manifest:
    manifest = parse(Manifest, content, what=f"manifest of {wanted}")
    if manifest.model_version != version:
        message = f"{wanted}: expected {version} as the job says, its manifest.json is of {manifest.model_version}"
        raise BundleError(Code.MANIFEST_INVALID, message)
    return manifest


def _fields(record: Deployment) -> dict[str, str]:
    return {
        "action": "unsigned_package",
        "deployment": record.id,
        "job": record.job_id,
        "package": str(record.package),
        "model": str(record.targets[0].version),
    }
