"""What is done in each state: one method a row of the table.

A step gets the record as it entered the state and returns it with what was learnt. It
may be done again after a power cut, so each one is idempotent. Not done here: deciding
what comes next, writing the record down, telling anyone.
"""

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Protocol, TypeVar

from edge_agent.config import Deployment as Limits
from edge_agent.deployment import guards, plan
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.plan import Machine, Offer
from edge_agent.deployment.record import Deployment, Target, note
from edge_agent.deployment.serving import Serving, Version
from edge_agent.deployment.states import State
from edge_agent.deployment.work import Meter, Work, patiently
from edge_agent.errors import AgentError, BundleError, Code, RefusedError
from edge_agent.formats import Artefact, Manifest, ModelVersion, Policy, parse
from edge_agent.store import Store
from edge_agent.telemetry import metrics
from edge_agent.transfer import fetch_verified
from edge_agent.trust import Release

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

PARTIAL_AGE_S = 7 * 86_400.0
# What a kill may cost of the time under watch; a probation of days must not wear out flash memory.
LOOK_S = 0.2
KEEP_WATCH_S = 1.0


class AlreadyCurrent(Exception):  # noqa: N818 - an outcome, not an error
    """What was asked for is what is committed."""

    def __init__(self, record: Deployment) -> None:
        super().__init__(record.id)
        self.record = record


class Releases(Protocol):
    """The signed repository, as the trust room shows it."""

    def refresh(self) -> None:
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


class Steps:
    """All steps, with what they work on.

    Args:
        releases: the repository, or None where none is configured.
        blobs: its objects.
        store: versions on disk.
        serving: sessions in memory.
        journal: keeps manifests between states.
        commits: what is committed.
        machine: what this device is.
        limits: the device's own policy.
    """

    def __init__(
        self,
        releases: Releases | None,
        blobs: Blobs | None,
        store: Store,
        serving: Serving,
        journal: Journal,
        commits: Commits,
        machine: Machine,
        limits: Limits,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._releases = releases
        self._blobs = blobs
        self._store = store
        self._serving = serving
        self._journal = journal
        self._commits = commits
        self._machine = machine
        self._limits = limits
        self._now = now
        self._table: Mapping[State, Callable[[Deployment, Work], Deployment]] = {
            State.ACCEPTED: self._nothing,
            State.REFRESHING: self._refresh,
            State.CHECKING: self._check,
            State.DOWNLOADING: self._download,
            State.VERIFIED: self._verify,
            State.BUILDING: self._build,
            State.TRIED: self._try,
            State.SHADOW: self._shadow,
            State.ACTIVATING: self._activate,
            State.PROBATION: self._probation,
            State.COMMITTED: self._commit,
            State.ROLLING_BACK: self._roll_back,
            State.FAILED: self._nothing,
            State.REFUSED: self._nothing,
            State.CANCELLED: self._nothing,
        }

    def run(self, record: Deployment, work: Work) -> Deployment:
        """Do the work of the record's state and return what is known now.

        Raises:
            AlreadyCurrent: nothing is to be done.
            DeploymentError: as the state's row says, by its kind.
        """
        return self._table[record.state](record, work)

    def clean_up(self, record: Deployment) -> None:
        """After any end: end candidates that do not answer, delete what nobody needs.

        Raises:
            StorageError: something could not be deleted; the next end tries again.
        """
        self._serving.abandon()
        in_use = self._serving.in_use()
        if record.code in {Code.SIGNATURE_INVALID.value, Code.DIGEST_MISMATCH.value, Code.MANIFEST_INVALID.value}:
            age_s = 0.0
        else:
            age_s = PARTIAL_AGE_S
        self._store.prune({manifest.model_version for manifest in in_use}, partial_age_s=age_s, now=self._now())
        self._serving.prune([*in_use, *map(self._store.manifest, self._store.installed())])

    def quarantine(self, record: Deployment) -> None:
        """Never try these manifests again by themselves.

        Raises:
            StorageError: it could not be written down.
        """
        for target in record.targets:
            self._store.quarantine(target.manifest_sha256, f"{target.name} {target.to}: {record.message}")

    # -- one method a state -------------------------------------------------------------------------------

    def _nothing(self, record: Deployment, _work: Work) -> Deployment:
        return record

    def _refresh(self, record: Deployment, work: Work) -> Deployment:
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

    def _check(self, record: Deployment, work: Work) -> Deployment:
        if record.operation == "rollback":
            record = self._plan_rollback(record)
        manifests = [self._manifest(target) for target in record.targets]
        missing = sum(artefact.size_bytes for artefact in self._missing(manifests).values())
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

    def _download(self, record: Deployment, work: Work) -> Deployment:
        missing = self._missing([self._manifest(target) for target in record.targets])
        present = {sha256: _size(self._store.partial_path(sha256)) for sha256 in missing}
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

    def _verify(self, record: Deployment, _work: Work) -> Deployment:
        for target in record.targets:
            self._store.verify(target.version, manifest_sha256=target.manifest_sha256)
        return record

    def _build(self, record: Deployment, work: Work) -> Deployment:
        reports = [self._serving.build(self._stored(target), work.cancelled) for target in record.targets]
        return note(
            record,
            {
                "build_seconds": sum(report.seconds for report in reports),
                "cached": float(all(report.cached for report in reports)),
            },
        )

    def _try(self, record: Deployment, _work: Work) -> Deployment:
        for target in record.targets:
            report = self._serving.try_golden(self._stored(target))
            figures = {
                f"{target.name}_max_difference": report.max_difference,
                f"{target.name}_p50_ms": report.p50_ms,
                f"{target.name}_memory_bytes": float(report.memory_bytes),
                f"{target.name}_samples": float(report.samples),
            }
            record = note(record, figures)
        return record

    def _shadow(self, record: Deployment, _work: Work) -> Deployment:
        # Of zero length so far: the candidate is only made sure to be loaded, which a resume needs.
        for target in record.targets:
            self._serving.open(self._stored(target))
        return record

    def _activate(self, record: Deployment, _work: Work) -> Deployment:
        self._serving.activate()
        return record

    def _probation(self, record: Deployment, work: Work) -> Deployment:
        policy = record.policy.probation or self._limits.probation
        kept_at = before = time.monotonic()
        with self._serving.watching() as tally:
            while not guards.watched_enough(record.probation, policy):
                work.wait(min(LOOK_S, policy.max_seconds or LOOK_S))
                now = time.monotonic()
                watch = guards.grown(record.probation, tally.take(), now - before, self._serving.candidates_alive())
                before = now
                guards.check_probation(watch)
                record = record.model_copy(update={"probation": watch})
                if now - kept_at >= KEEP_WATCH_S:
                    kept_at = now
                    work.keep(record)
        figures = {"seconds_watched": record.probation.seconds, "requests": float(record.probation.requests)}
        return note(record, figures)

    def _commit(self, record: Deployment, _work: Work) -> Deployment:
        self._commits.make_durable(record)
        if not self._answers(record):
            self._answer_late(record)
        self._serving.settle()
        return record

    def _answer_late(self, record: Deployment) -> None:
        """Let what is committed answer, should a restart not have got that far; committed it is in any case."""
        try:
            for target in record.targets:
                self._serving.open(self._stored(target))
            self._serving.activate()
        except AgentError as exc:
            _log.error("committed, not answering", extra={"action": "model_unavailable", "reason": exc.message})

    def _roll_back(self, record: Deployment, _work: Work) -> Deployment:
        self._serving.restore()
        return record

    # -- what the steps share -----------------------------------------------------------------------------

    def _required(self, part: _T | None) -> _T:
        if part is None:
            raise RefusedError(Code.JOB_INVALID, "expected a repository.url in the configuration, there is none")
        return part

    def _plan_rollback(self, record: Deployment) -> Deployment:
        floor = self._releases.floor if self._releases else (lambda _model: 0)
        targets = plan.plan_rollback(record.targets, self._commits.models(), self._offer_of_store, floor)
        return record.model_copy(update={"targets": targets})

    def _offer_of_store(self, name: str, version: str) -> Offer:
        stored = ModelVersion(name, version)
        return Offer(self._store.manifest(stored), self._store.digest(stored))

    def _is_current(self, record: Deployment) -> bool:
        """Tell whether nothing is to be done: committed to the byte, and answering."""
        return plan.already_current(record.targets, self._commits.models()) and self._answers(record)

    def _answers(self, record: Deployment) -> bool:
        return all(self._serving.answers(target.version) for target in record.targets)

    def _policy(self, job: Policy, offers: Mapping[str, Offer]) -> Policy:
        manifests = [offer.manifest.policy for offer in offers.values()]
        return guards.merged(job, manifests, probation=self._limits.probation, shadow=self._limits.shadow)

    def _manifest(self, target: Target) -> Manifest:
        version = target.version
        if version in self._store.installed() and self._store.digest(version) == target.manifest_sha256:
            return self._store.manifest(version)
        return parse(Manifest, self._journal.manifest(target.manifest_sha256), what="manifest")

    def _missing(self, manifests: Sequence[Manifest]) -> dict[str, Artefact]:
        return {artefact.sha256: artefact for m in manifests for artefact in self._store.missing(m)}

    def _stored(self, target: Target) -> Version:
        version = target.version
        if self._store.digest(version) != target.manifest_sha256:
            raise BundleError(Code.CONTENT_MISSING, f"expected {version} of this deployment in the store, came another")
        return Version(self._store.manifest(version), self._store.directory(version))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _local_time(now: float) -> time_of_day:
    return datetime.fromtimestamp(now).astimezone().time()
