"""What is done in each state: the table's rows and their work.

A step gets the record as it entered the state and returns it with what was learnt. It
may be done again after a power cut, so each one is idempotent. Not done here: deciding
what comes next, writing the record down, telling anyone.
"""

import time
from collections.abc import Callable, Mapping

from edge_agent.config import Deployment as Limits
from edge_agent.deployment.capacity import Machine
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.contents import Contents
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.states import UNDOING, State
from edge_agent.deployment.steps.admission import Admission
from edge_agent.deployment.steps.changes import Changes
from edge_agent.deployment.steps.fetching import AlreadyCurrent, Blobs, Fetching, Releases
from edge_agent.deployment.steps.packaged import Packaged, Packages
from edge_agent.deployment.steps.room import Room
from edge_agent.deployment.steps.trial import Trial
from edge_agent.deployment.steps.turn import Turn
from edge_agent.deployment.watching.probation import Probation
from edge_agent.deployment.watching.shadow import Shadow
from edge_agent.deployment.work import Work
from edge_agent.errors import Code
from edge_agent.store import Store

__all__ = ["AlreadyCurrent", "Steps"]

PARTIAL_AGE_S = 7 * 86_400.0
# What came was wrong: nothing of it is kept.
_DISTRUSTED = frozenset(
    code.value for code in (Code.SIGNATURE_INVALID, Code.DIGEST_MISMATCH, Code.MANIFEST_INVALID, Code.FORMAT_FORBIDDEN)
)


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
        packages: where unsigned packages come from; None: this device takes none.
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
        packages: Packages | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._serving = serving
        self._commits = commits
        self._keep_versions = limits.keep_versions
        self._now = now
        contents = Contents(store, journal)
        fetching = Fetching(releases, blobs, store, journal, contents, commits, serving, machine, limits, now=now)
        self._room = Room(contents, serving, machine.memory_bytes)
        admission = Admission(fetching.check, contents, serving, machine, limits.window, now=now)
        trial = Trial(contents, serving)
        turn = Turn(contents, serving, commits)
        changes = Changes(contents, serving, commits)
        self._table: Mapping[State, Callable[[Deployment, Work], Deployment]] = {
            State.ACCEPTED: _nothing,
            State.REFRESHING: fetching.refresh,
            State.CHECKING: admission.check,
            State.DOWNLOADING: fetching.download,
            State.VERIFIED: fetching.verify,
            State.BUILDING: trial.build,
            State.TRIED: trial.try_golden,
            State.SHADOW: Shadow(contents, serving, limits).run,
            State.ACTIVATING: turn.activate,
            State.PROBATION: Probation(contents, serving, limits).run,
            State.COMMITTED: turn.commit,
            State.ROLLING_BACK: turn.roll_back,
            State.FAILED: _nothing,
            State.REFUSED: _nothing,
            State.CANCELLED: _nothing,
        }
        # What an operation does in a state otherwise than an install does.
        self._own: Mapping[tuple[str, State], Callable[[Deployment, Work], Deployment]] = {
            ("remove", State.CHECKING): changes.check_removal,
            ("remove", State.COMMITTED): changes.commit_removal,
            ("configure", State.CHECKING): changes.check_configuration,
            ("configure", State.COMMITTED): changes.commit_configuration,
        }

        floor = releases.floor if releases is not None else (lambda _model: 0)
        packaged = Packaged(packages, floor, store, journal, contents, commits, limits, now=now)
        self._packaged = {State.REFRESHING: packaged.refresh, State.DOWNLOADING: packaged.download}

    def run(self, record: Deployment, work: Work) -> Deployment:
        """Do the work of the record's state and return what is known now.

        Raises:
            AlreadyCurrent: nothing is to be done.
            DeploymentError: as the state's row says, by its kind.
        """
        if record.unload_first and record.state in (State.TRIED, State.SHADOW):
            self._room.make(record)
        if record.unload_first and record.state is State.SHADOW:
            return self._room.load_unwatched(record)
        step = self._own.get((record.operation, record.state)) or self._table[record.state]
        if record.package is not None:
            step = self._packaged.get(record.state, step)
        record = step(record, work)
        if record.state is State.TRIED and record.operation == "install":
            self._room.check()
        return record

    def clean_up(self, record: Deployment) -> None:
        """After any end: end candidates that do not answer, delete what nobody needs.

        Raises:
            StorageError: something could not be deleted; the next end tries again.
        """
        self._serving.abandon()
        self._room.bring_back()
        in_use = self._serving.in_use()
        age_s = 0.0 if record.code in _DISTRUSTED else PARTIAL_AGE_S
        self._store.prune(
            {manifest.model_version for manifest in in_use},
            partial_age_s=age_s,
            now=self._now(),
            keep_versions=self._keep_versions,
        )
        self._serving.prune([*in_use, *map(self._store.manifest, self._store.installed())])

    def take_back(self, record: Deployment) -> None:
        """After an end that is no commit: undo a commit that failed, should it be visible.

        Raises:
            StorageError: it could not be undone.
        """
        self._commits.take_back(record)

    def overruled(self, record: Deployment) -> State | None:
        """Return how a deployment ended that the generations know better than the journal; None: it goes on.

        Raises:
            StorageError: the generations could not be read.
        """
        if record.ended is not None or record.state in UNDOING or record.fulfilled_by:
            return None
        overtaken = self._commits.is_overtaken(record)
        if self._commits.has_made(record):
            return State.COMMITTED if overtaken or record.state is not State.COMMITTED else None
        return State.FAILED if overtaken else None

    def quarantine(self, record: Deployment) -> None:
        """Never try these manifests again by themselves.

        Raises:
            StorageError: it could not be written down.
        """
        for target in record.targets:
            self._store.quarantine(target.manifest_sha256, f"{target.name} {target.to}: {record.message}")


def _nothing(record: Deployment, _work: Work) -> Deployment:
    return record
