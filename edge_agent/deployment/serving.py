"""The sessions that answer, brought in line with what a deployment wants.

Holds the candidates of the running deployment and what they replaced, so that going
back is one assignment. Used by the deployer's thread, and at start before it runs.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from edge_agent.errors import AgentError, Code, InferenceError
from edge_agent.formats import Manifest, ModelVersion
from edge_agent.inference import Answered, BuildReport, GoldenReport, Registry, Session, Watcher

_log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 60.0
# A malformed or late request is its caller's fault, and a full queue nobody's.
_OWN_FAULTS = frozenset({Code.INTERNAL, Code.UNAVAILABLE})


class Runtimes(Protocol):
    """What the inference room does for a version; the real one and a fake for tests."""

    def build(self, directory: Path, manifest: Manifest, *, cancelled: Callable[[], bool]) -> BuildReport:
        """Build the engine, or find it in the cache."""

    def open(self, directory: Path, manifest: Manifest) -> Session:
        """Load the version into a worker of its own."""

    def try_golden(self, session: Session, directory: Path) -> GoldenReport:
        """Ask the golden samples."""

    def prune(self, keep: Sequence[Manifest]) -> None:
        """Delete engines that belong to none of these."""


class Version(NamedTuple):
    """A version in the store."""

    manifest: Manifest
    directory: Path


class Tally:
    """Counts what some versions answered; told on the requests' own threads."""

    def __init__(self, versions: Collection[ModelVersion]) -> None:
        self._versions = frozenset(versions)
        self._lock = threading.Lock()
        self._requests = 0
        self._failures = 0

    def __call__(self, answered: Answered) -> None:
        """Count one request, if it was for one of the versions."""
        if answered.model in self._versions:
            failed = answered.error is not None and answered.error.code in _OWN_FAULTS
            with self._lock:
                self._requests += 1
                self._failures += failed

    def take(self) -> tuple[int, int]:
        """Return requests and failures since the last call."""
        with self._lock:
            taken = self._requests, self._failures
            self._requests = self._failures = 0
        return taken


class Serving:
    """Candidates, the registry, and the way back.

    Args:
        runtimes: builds and opens versions.
        registry: which session answers.
        watch: tells of every live request until its result is called.
    """

    def __init__(self, runtimes: Runtimes, registry: Registry, watch: Callable[[Watcher], Callable[[], None]]) -> None:
        self._runtimes = runtimes
        self._registry = registry
        self._watch = watch
        self._candidates: dict[str, Session] = {}
        self._replaced: dict[str, Session | None] = {}

    def load(self, versions: Mapping[str, Version]) -> dict[str, AgentError]:
        """Load and activate committed versions at start; return what could not be loaded, and why."""
        loaded = {name: self._load(version) for name, version in versions.items()}
        self._registry.activate(
            {name: session for name, session in loaded.items() if not isinstance(session, AgentError)}
        )
        return {name: got for name, got in loaded.items() if isinstance(got, AgentError)}

    def _load(self, version: Version) -> Session | AgentError:
        try:
            self._runtimes.build(version.directory, version.manifest, cancelled=lambda: False)
            return self._runtimes.open(version.directory, version.manifest)
        except AgentError as exc:
            return exc

    def build(self, version: Version, cancelled: Callable[[], bool]) -> BuildReport:
        """Build the candidate's engine.

        Raises:
            ActivationError: BUILD_FAILED.
            CancelledError: it was given up.
        """
        return self._runtimes.build(version.directory, version.manifest, cancelled=cancelled)

    def open(self, version: Version) -> Session:
        """Return the candidate's session, loaded once.

        Raises:
            ActivationError: LOAD_FAILED.
        """
        name = version.manifest.model
        if name not in self._candidates:
            self._candidates[name] = self._runtimes.open(version.directory, version.manifest)
        return self._candidates[name]

    def try_golden(self, version: Version) -> GoldenReport:
        """Ask the candidate the golden samples.

        Raises:
            ActivationError: GOLDEN_MISMATCH or LOAD_FAILED.
        """
        return self._runtimes.try_golden(self.open(version), version.directory)

    def activate(self) -> None:
        """Turn new leases to the candidates, all in one assignment; the old ones stay open."""
        active = self._registry.active()
        self._replaced = {name: active.get(name) for name in self._candidates}
        self._registry.activate(self._candidates)

    def restore(self) -> None:
        """Turn leases back to what was replaced and end the candidates."""
        replaced, self._replaced = self._replaced, {}
        open_still = {name: old for name, old in replaced.items() if old is not None and old.state != "CLOSED"}
        self._registry.activate(open_still)
        for name in replaced.keys() - open_still.keys():
            self._registry.withdraw(name)
        self.abandon()

    def settle(self) -> None:
        """Drain and end what was replaced; there is no way back from here."""
        replaced, self._replaced = self._replaced, {}
        self._candidates = {}
        for session in replaced.values():
            if session is not None:
                self._retire(session)

    def abandon(self) -> None:
        """End candidates that do not answer."""
        candidates, self._candidates = self._candidates, {}
        for session in candidates.values():
            self._retire(session)

    def dismiss(self, names: Iterable[str]) -> None:
        """Answer for these models no longer; requests under way are still answered."""
        for name in names:
            session = self._registry.withdraw(name)
            if session is not None:
                self._retire(session)

    def use_thresholds(self, thresholds: Mapping[ModelVersion, float]) -> None:
        """Judge by these from now on, and by what was signed where there is none."""
        self._registry.set_thresholds(thresholds)

    def _retire(self, session: Session) -> None:
        """End a session; one that cannot be ended keeps no other one alive, and undoes no commit."""
        try:
            self._registry.retire(session, timeout_s=DRAIN_TIMEOUT_S)
        except InferenceError as exc:
            _log.error("session not ended", extra={"action": "retire_failed", "reason": exc.message})

    def answers(self, version: ModelVersion) -> bool:
        """Tell whether this version is what answers for its model."""
        session = self._registry.active().get(version.name)
        return session is not None and session.state != "CLOSED" and session.manifest.model_version == version

    def answer_all(self, versions: Iterable[ModelVersion]) -> bool:
        """Tell whether each of these versions is what answers for its model."""
        return all(map(self.answers, versions))

    def in_use(self) -> list[Manifest]:
        """Return what is in memory, whoever loaded it: its files must stay, a worker may start again."""
        return [session.manifest for session in self._registry.loaded()]

    def prune(self, keep: Sequence[Manifest]) -> None:
        """Delete engines that belong to none of these."""
        self._runtimes.prune(keep)

    @contextmanager
    def watching(self) -> Iterator[Tally]:
        """Yield a count of what the candidates answer during the block."""
        tally = Tally([session.manifest.model_version for session in self._candidates.values()])
        end = self._watch(tally)
        try:
            yield tally
        finally:
            end()

    def candidates_alive(self) -> bool:
        """Tell whether every candidate is ready and none lost its worker."""
        return all(session.state == "READY" and session.restarts == 0 for session in self._candidates.values())
