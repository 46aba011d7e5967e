"""From the order to complete, verified bytes in the store: REFRESHING, CHECKING, DOWNLOADING, VERIFIED."""

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Protocol, TypeVar

from edge_agent.config import Deployment as Limits
from edge_agent.deployment import guards, plan
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.contents import Contents, size_of
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.plan import Machine, Offer
from edge_agent.deployment.record import Deployment, note
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.work import Meter, Work, patiently
from edge_agent.errors import Code, RefusedError
from edge_agent.formats import Artefact, ModelVersion, Policy
from edge_agent.store import Store
from edge_agent.telemetry import metrics
from edge_agent.transfer import fetch_verified
from edge_agent.trust import Release

_T = TypeVar("_T")


class AlreadyCurrent(Exception):  # noqa: N818 - an outcome, not an error
    """What was asked for is what is committed."""

    def __init__(self, record: Deployment) -> None:
        super().__init__(record.id)
        self.record = record


class Releases(Protocol):
    """The signed repository, as the trust room shows it."""

    def refresh(self) -> None:
        """Fetch metadata and manifests, and say what exactly is to be installed.

        Raises:
            RefusedError, TrustError, BundleError, TransferError: as the trust room and ``plan`` say.
        """
        """Fetch and verify metadata."""

    def release(self, version: ModelVersion) -> Release:
        """Return a verified release."""

    def floor(self, model: str) -> int:
        """Return the lowest release_seq that may run."""


class Blobs(Protocol):
    """Where the bytes come from."""

    def fetch(
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

    def refresh(self, record: Deployment, work: Work) -> Deployment:
        """Fetch metadata and manifests, and say what exactly is to be installed.

        Raises:
            RefusedError, TrustError, BundleError, TransferError: as the trust room and ``plan`` say.
        """
        releases = self._required(self._releases)
        patiently(releases.refresh, work)
        offers: dict[str, Offer] = {}
        for target in record.targets:
            release = patiently(functools.partial(releases.release, target.version), work)
            offers[target.name] = Offer(release.manifest, release.sha256)
            self._journal.keep_manifest(release.sha256, release.content)
        targets = plan.plan_install(
            record.targets, offers, self._commits.models(), releases.floor, self._store.is_quarantined
        )
        return record.model_copy(update={"targets": targets, "policy": self._policy(record.policy, offers)})

    def check(self, record: Deployment, work: Work) -> Deployment:
        """Check machine, disk and window before a byte is downloaded; find out where a rollback goes.

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
            plan.check_machine(manifest, self._machine)
        # An optimised graph is about as large as the model it was made from.
        engines = sum(manifest.model_artefact.size_bytes for manifest in manifests)
        free = self._store.free_bytes()
        plan.check_space(missing, engines, self._limits.reserve_bytes if missing else 0, free)
        while record.operation == "install" and not plan.in_window(self._limits.window, _local_time(self._now())):
            work.wait(1.0)
        return note(record.model_copy(update={"bytes_total": missing}), {"free_bytes": free, "missing_bytes": missing})

    def download(self, record: Deployment, work: Work) -> Deployment:
        """Fetch what lacks and install the versions.

        Raises:
            TransferError, BundleError, StorageError: the bytes did not come, are wrong or could not be kept.
        """
        missing = self._contents.missing([self._contents.manifest(target) for target in record.targets])
        present = {sha256: size_of(self._store.partial_path(sha256)) for sha256 in missing}
        total = sum(artefact.size_bytes for artefact in missing.values())
        meter = Meter(record.model_copy(update={"bytes_total": total}), present, work)
        for artefact in missing.values():
            self._fetch(artefact, meter, record.deadline, work)
        for target in record.targets:
            self._store.install(self._journal.manifest(target.manifest_sha256))
        metrics.count_download(meter.fetched)
        return note(meter.record, {"kept_bytes": sum(present.values())}, size_bytes=meter.fetched)

    def _fetch(self, artefact: Artefact, meter: Meter, deadline: float, work: Work) -> None:
        sha256 = artefact.sha256
        partial = self._store.partial_path(sha256)
        fetch = functools.partial(
            self._required(self._blobs).fetch,
            f"blobs/sha256/{sha256}",
            partial,
            artefact.size_bytes,
            deadline=deadline,
            cancelled=work.cancelled,
            progress=functools.partial(meter.at, sha256),
        )
        fetch_verified(fetch, partial, functools.partial(self._store.admit, sha256))

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
        return plan.already_current(record.targets, self._commits.models()) and self._serving.answer_all(
            record.versions
        )

    def _policy(self, job: Policy, offers: Mapping[str, Offer]) -> Policy:
        manifests = [offer.manifest.policy for offer in offers.values()]
        return guards.merged(job, manifests, probation=self._limits.probation, shadow=self._limits.shadow)


def _local_time(now: float) -> time_of_day:
    return datetime.fromtimestamp(now).astimezone().time()
