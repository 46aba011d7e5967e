"""From the order to complete, verified bytes in the store: REFRESHING, CHECKING, DOWNLOADING, VERIFIED."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from edge_agent.config import Deployment as Limits
from edge_agent.deployment import capacity, plan, succession
from edge_agent.deployment.capacity import Machine
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.contents import Contents, size_of
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.plan import Offer
from edge_agent.deployment.record import Deployment, note, time_left
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.steps.space import Space
from edge_agent.deployment.watching import guards
from edge_agent.deployment.work import Meter, Work, interrupter, patiently
from edge_agent.errors import Code, RefusedError, StorageError
from edge_agent.formats import Artefact, ModelVersion, Policy
from edge_agent.store import Store
from edge_agent.telemetry import metrics
from edge_agent.transfer import fetch_verified, side_by_side

if TYPE_CHECKING:  # python-tuf takes a third of a second to import: only who has a repository pays for it
    from edge_agent.trust import Release

_T = TypeVar("_T")


class AlreadyCurrent(Exception):  # noqa: N818 - an outcome, not an error
    """What was asked for is what is committed."""

    def __init__(self, record: Deployment) -> None:
        super().__init__(record.id)
        self.record = record


class Releases(Protocol):
    """The signed repository, as the trust room shows it."""

    def refresh(self, check: Callable[[], None] | None = None) -> None:
        """Fetch and verify metadata; what ``check`` raises ends that."""

    def release(self, version: ModelVersion, check: Callable[[], None] | None = None) -> "Release":
        """Return a verified release; what ``check`` raises ends that."""

    def floor(self, model: str) -> int:
        """Return the lowest release_seq that may run."""


class Fetch(Protocol):
    """Brings one object."""

    def __call__(
        self,
        key: str,
        target: Path,
        size_bytes: int,
        *,
        deadline: float,
        cancelled: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> None:
        """Append what is missing of an object to ``target``."""


class Blobs(Protocol):
    """Where the bytes come from."""

    @property
    def fetch(self) -> Fetch:
        """Return what brings one object; called from several threads."""


class Fetching:
    """The steps that need the repository and the disk, and no session.

    Args:
        releases: the repository, or None where none is configured.
        blobs: its objects.
        store: versions on disk.
        journal: keeps manifests between states.
        contents: what the targets are on disk.
        commits: what is committed.
        serving: what answers; only asked.
        machine: what this device is.
        limits: the device's own policy.
    """

    def __init__(
        self,
        releases: Releases | None,
        blobs: Blobs | None,
        store: Store,
        journal: Journal,
        contents: Contents,
        commits: Commits,
        serving: Serving,
        machine: Machine,
        limits: Limits,
        *,
        now: Callable[[], float],
    ) -> None:
        self._releases = releases
        self._blobs = blobs
        self._store = store
        self._journal = journal
        self._contents = contents
        self._commits = commits
        self._serving = serving
        self._machine = machine
        self._limits = limits
        self._now = now
        self._space = Space(store, contents, serving, limits.reserve_bytes, now)

    def refresh(self, record: Deployment, work: Work) -> Deployment:
        """Fetch metadata and manifests, and say what exactly is to be installed.

        Raises:
            RefusedError, TrustError, BundleError, TransferError: as the trust room and ``plan`` say.
        """
        releases = self._required(self._releases)
        check = interrupter(work)
        patiently(functools.partial(releases.refresh, check), work)
        offers: dict[str, Offer] = {}
        for target in record.targets:
            release = patiently(functools.partial(releases.release, target.version, check), work)
            offers[target.name] = Offer(release.manifest, release.sha256)
            self._journal.keep_manifest(release.sha256, release.content)
        targets = plan.plan_install(
            record.targets, offers, self._commits.models(), releases.floor, self._store.is_quarantined
        )
        return record.model_copy(update={"targets": targets, "policy": self._policy(record.policy, offers)})

    def check(self, record: Deployment, _work: Work) -> Deployment:
        """Check machine and disk before a byte is downloaded; find out where a rollback goes.

        Raises:
            AlreadyCurrent: nothing is to be done.
            RefusedError: it can never run here.
            StorageError: NO_SPACE.
        """
        if record.operation == "rollback":
            record = self._plan_rollback(record)
        manifests = [self._contents.manifest(target) for target in record.targets]
        missing = sum(artefact.size_bytes for artefact in self._contents.missing(manifests).values())
        if record.operation == "install" and not missing and self._is_current(record):
            raise AlreadyCurrent(record)
        for manifest in manifests:
            capacity.check_machine(
                manifest, self._machine, signed=not any(target.unsigned for target in record.targets)
            )
        # A rollback brings nothing, and an operator in need is not kept waiting by a full disk.
        archive = manifests[0].size_bytes if record.package is not None and missing else 0
        figures = self._space.check(manifests, archive_bytes=archive) if record.operation == "install" else {}
        return note(record.model_copy(update={"bytes_total": missing}), figures)

    def download(self, record: Deployment, work: Work) -> Deployment:
        """Fetch what lacks, several artefacts at a time, and install the versions.

        Raises:
            TransferError, BundleError, StorageError: the bytes did not come, are wrong or could not be kept.
        """
        missing = self._contents.missing([self._contents.manifest(target) for target in record.targets])
        present = {sha256: size_of(self._store.partial_path(sha256)) for sha256 in missing}
        total = sum(artefact.size_bytes for artefact in missing.values())
        meter = Meter(record.model_copy(update={"bytes_total": total}), present, work)
        if missing:
            self._serving.expect_build()
        try:
            # Downloads keep to a time that no set clock moves.
            deadline = time.monotonic() + time_left(record, self._now())
            self._fetch_all(list(missing.values()), meter, deadline, work)
        except StorageError as exc:
            raise self._space.told(exc, missing) from exc
        for target in record.targets:
            self._store.install(self._journal.manifest(target.manifest_sha256))
        metrics.count_download(meter.fetched)
        return note(meter.record, {"kept_bytes": sum(present.values())}, size_bytes=meter.fetched)

    def _fetch_all(self, missing: list[Artefact], meter: Meter, deadline: float, work: Work) -> None:
        if not missing:
            return
        # The largest first: begun last, it would go on alone.
        missing.sort(key=lambda artefact: -artefact.size_bytes)
        fetch = self._required(self._blobs).fetch
        side_by_side(
            [functools.partial(self._fetch, fetch, artefact, meter, deadline) for artefact in missing],
            lanes=self._limits.parallel_downloads,
            cancelled=work.cancelled,
            tell=meter.tell,
        )

    def _fetch(
        self, fetch: Fetch, artefact: Artefact, meter: Meter, deadline: float, cancelled: Callable[[], bool]
    ) -> None:
        sha256 = artefact.sha256
        partial = self._store.partial_path(sha256)
        begin = functools.partial(
            fetch,
            f"blobs/sha256/{sha256}",
            partial,
            artefact.size_bytes,
            deadline=deadline,
            cancelled=cancelled,
            progress=functools.partial(meter.at, sha256),
        )
        fetch_verified(begin, partial, functools.partial(self._store.admit, sha256))

    def verify(self, record: Deployment, _work: Work) -> Deployment:
        """Hash everything that was installed once more, from the disk.

        Raises:
            StorageError: CONTENT_MISSING.
        """
        for target in record.targets:
            self._store.verify(target.version, manifest_sha256=target.manifest_sha256)
        return record

    def _required(self, part: _T | None) -> _T:
        if part is None:
            raise RefusedError(Code.JOB_INVALID, "expected a repository.url in the configuration, there is none")
        return part

    def _plan_rollback(self, record: Deployment) -> Deployment:
        floor = self._releases.floor if self._releases else (lambda _model: 0)
        targets = plan.plan_rollback(record.targets, self._commits.models(), self._contents.offer, floor)
        return record.model_copy(update={"targets": targets})

    def _is_current(self, record: Deployment) -> bool:
        """Tell whether nothing is to be done: committed to the byte, and answering."""
        return succession.already_current(record.targets, self._commits.models()) and self._serving.answer_all(
            record.versions
        )

    def _policy(self, job: Policy, offers: Mapping[str, Offer]) -> Policy:
        manifests = [offer.manifest.policy for offer in offers.values()]
        return guards.merged(job, manifests, probation=self._limits.probation, shadow=self._limits.shadow)
