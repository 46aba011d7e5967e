"""Looks through what is stored for bits that the disk lost, and mends it.

One thread, niced, that reads one file at a time and slowly: the line never notices. What is
found is said in the status and mended out of the repository while no deployment runs. Until
then a loaded version goes on answering, since it was loaded whole; a version that a rollback
would go to, and that nobody can bring back, is withdrawn.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from edge_agent.deployment.commit import Commits
from edge_agent.deployment.mending import Mending, is_hopeless
from edge_agent.errors import AgentError, CancelledError, StorageError
from edge_agent.formats import ModelVersion
from edge_agent.store import Store, retention
from edge_agent.telemetry import metrics
from edge_agent.telemetry.threads import Watched

_log = logging.getLogger(__name__)

_LOOK_S = 5.0
_RETRY_S = 60.0
_NICENESS = 15
_LEAST_PAUSE_S = 0.05


class _Stopped(Exception):  # noqa: N818 - not an error
    """The thread is to end."""


class Upkeep:
    """Finds damage and mends it.

    Args:
        store: versions on disk.
        commits: what is committed.
        mending: brings bytes back.
        note: told what is wrong with what; an empty text: nothing any more.
        is_idle: tells whether no deployment runs.
        answer: told of a committed version that is whole again.
        interval_s: between two readings of everything; 0: only what the start found is mended.
        bytes_per_s: the speed of reading, at most.
    """

    def __init__(
        self,
        store: Store,
        commits: Commits,
        mending: Mending,
        *,
        note: Callable[[str, str], None],
        is_idle: Callable[[], bool],
        answer: Callable[[ModelVersion], None],
        interval_s: float,
        bytes_per_s: int,
    ) -> None:
        self._store = store
        self._commits = commits
        self._mending = mending
        self._note = note
        self._is_idle = is_idle
        self._answer = answer
        self._interval_s = interval_s
        self._bytes_per_s = bytes_per_s
        self._damaged: dict[ModelVersion, str] = {}
        self.thread = Watched("upkeep", self._run)

    def _run(self, thread: Watched) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            self._each_version(self._lacks)
            scan_at, mend_at = time.monotonic() + self._interval_s, time.monotonic()
            while True:
                if self._damaged and time.monotonic() >= mend_at and self._is_idle():
                    self._mend_all(thread)
                    mend_at = time.monotonic() + min(_RETRY_S, self._interval_s or _RETRY_S)
                if self._interval_s and time.monotonic() >= scan_at:
                    self._each_version(lambda version, sha256: self._store.look_at(version, sha256, self._pace(thread)))
                    scan_at = time.monotonic() + self._interval_s
                    mend_at = time.monotonic()
                    continue
                if thread.wait(min(_LOOK_S, self._interval_s or _LOOK_S)):
                    return
        except _Stopped:
            return

    def _pace(self, thread: Watched) -> Callable[[int], None]:
        owed_s = 0.0

        def pace(size_bytes: int) -> None:
            nonlocal owed_s
            owed_s += size_bytes / self._bytes_per_s
            if owed_s >= _LEAST_PAUSE_S or thread.stopping.is_set():
                if thread.wait(owed_s):
                    raise _Stopped
                owed_s = 0.0

        return pace

    def _each_version(self, look: Callable[[ModelVersion, str], str]) -> None:
        for version, sha256 in self._versions().items():
            try:
                fault = look(version, sha256)
            except StorageError as exc:
                fault = f"{version}: {exc.message}"
            if fault and version not in self._damaged:
                _log.error("stored version damaged", extra={"action": "bit_rot_found", "reason": fault})
                self._tell(version, fault)
            elif not fault and version in self._damaged:
                self._tell(version, "")

    def _versions(self) -> dict[ModelVersion, str]:
        """Return what was committed and is kept, by its manifest's digest; what is committed now comes first."""
        try:
            generations, installed = self._store.generations, self._store.installed()
            current, history = generations.current(), generations.history()
        except StorageError as exc:
            _log.warning("store not looked through", extra={"action": "scan_failed", "reason": exc.message})
            return {}
        found: dict[ModelVersion, str] = {}
        for generation in (current, *reversed(history)):
            for name, entry in generation.models.items():
                found.setdefault(ModelVersion(name, entry.version), entry.manifest_sha256)
        needed = retention.protected(current)
        return {version: sha256 for version, sha256 in found.items() if version in needed or version in installed}

    def _lacks(self, version: ModelVersion, manifest_sha256: str) -> str:
        """Return what is wrong with a version at a glance: what the start took out, or somebody else."""
        if self._store.digest(version) != manifest_sha256:
            return f"{version}: its manifest is damaged"
        missing = self._store.missing(self._store.manifest(version))
        return f"{version}: {missing[0].path} is absent or damaged" if missing else ""

    def _tell(self, version: ModelVersion, fault: str) -> None:
        if fault:
            self._damaged[version] = fault
        else:
            self._damaged.pop(version, None)
        self._note(f"stored {version}", fault)
        metrics.show_damaged(len(self._damaged))

    def _mend_all(self, thread: Watched) -> None:
        wanted = self._versions()
        for version in list(self._damaged):
            if thread.stopping.is_set():
                raise _Stopped
            if version not in wanted:
                self._tell(version, "")
            else:
                self._mend(version, wanted[version], lambda: thread.stopping.is_set() or not self._is_idle())

    def _mend(self, version: ModelVersion, manifest_sha256: str, cancelled: Callable[[], bool]) -> None:
        try:
            self._mending.mend(version, manifest_sha256, cancelled)
        except CancelledError:
            return
        except AgentError as exc:
            self._give_up(version, exc)
            return
        _log.warning("stored version mended", extra={"action": "bit_rot_mended", "version": str(version)})
        metrics.count_mended()
        self._tell(version, "")
        self._answer(version)

    def _give_up(self, version: ModelVersion, exc: AgentError) -> None:
        fault = self._damaged[version].partition("; ")[0]
        if is_hopeless(exc) and self._withdraw(version, fault):
            fault += "; no rollback goes to it any more"
        self._tell(version, f"{fault}; it could not be fetched again: {exc.message}")
        _log.error("stored version stays damaged", extra={"action": "bit_rot_stays", "reason": self._damaged[version]})

    def _withdraw(self, version: ModelVersion, fault: str) -> bool:
        try:
            return self._commits.withdraw_previous(version, fault)
        except StorageError as exc:
            _log.error("previous version not withdrawn", extra={"action": "withdraw_failed", "reason": exc.message})
            return False
