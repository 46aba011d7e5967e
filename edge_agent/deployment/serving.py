"""The sessions that answer, brought in line with what a deployment wants.

Holds the candidates of the running deployment and what they replaced, so that going
back is one assignment. Used by the deployer's thread, and at start before it runs.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from edge_agent.deployment.watching.requests import History, Pair
from edge_agent.deployment.watching.watches import Answers
from edge_agent.errors import AgentError, InferenceError, StorageError
from edge_agent.formats import Manifest, ModelVersion, Picture
from edge_agent.inference import BuildReport, GoldenReport, Registry, Session, Watcher

_log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 60.0


class Runtimes(Protocol):
    """What the inference room does for a version; the real one and a fake for tests."""

    def build(self, directory: Path, manifest: Manifest, *, cancelled: Callable[[], bool]) -> BuildReport:
        """Build the engine, or find it in the cache."""

    def expect_build(self) -> None:
        """Get ready for a build that comes soon; may do nothing."""

    def expect_nothing(self) -> None:
        """No build comes after all."""

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


class Serving:
    """Candidates, the registry, and the way back.

    Args:
        runtimes: builds and opens versions.
        registry: which session answers.
        watch: tells of every live request until its result is called.
        recent: the last pictures that a model was asked for, newest first.
    """

    def __init__(
        self,
        runtimes: Runtimes,
        registry: Registry,
        watch: Callable[[Watcher], Callable[[], None]],
        recent: Callable[[str], Sequence[Picture]] = lambda _model: (),
    ) -> None:
        self._runtimes = runtimes
        self._registry = registry
        self._watch = watch
        self.recent = recent
        self._history = History()
        watch(self._history)
        self._candidates: dict[str, Session] = {}
        self._replaced: dict[str, Session | None] = {}
        self._unloaded: dict[str, ModelVersion] = {}

    def load(self, versions: Mapping[str, Version]) -> dict[str, AgentError]:
        """Load and activate committed versions at start; return what could not be loaded, and why."""
        loaded = {name: self._load(version) for name, version in versions.items()}
        self._registry.activate(
            {name: session for name, session in loaded.items() if not isinstance(session, AgentError)}
        )
        return {name: got for name, got in loaded.items() if isinstance(got, AgentError)}

    def _load(self, version: Version) -> Session | AgentError:
        try:
            self.build(version, lambda: False, needs_engine=False)
            return self._runtimes.open(version.directory, version.manifest)
        except AgentError as exc:
            return exc

    def expect_build(self) -> None:
        """Get ready for a build that comes soon, while something else takes its time."""
        self._runtimes.expect_build()

    def build(self, version: Version, cancelled: Callable[[], bool], *, needs_engine: bool = True) -> BuildReport:
        """Build a version's engine.

        Args:
            version: in the store.
            cancelled: asked many times a second.
            needs_engine: else the model is loaded without one, where the disk takes none.

        Raises:
            ActivationError: BUILD_FAILED.
            StorageError: the disk takes no engine.
            CancelledError: it was given up.
        """
        try:
            return self._runtimes.build(version.directory, version.manifest, cancelled=cancelled)
        except StorageError as exc:
            if needs_engine:
                raise
            fields = {"action": "engine_not_kept", "model": version.manifest.model, "reason": exc.message}
            _log.warning("no engine on disk, the model is loaded without", extra=fields)
            return BuildReport(seconds=0.0, cached=False)

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

    def make_room(self, names: Iterable[str]) -> None:
        """End what answers for these models, once its requests are answered; new ones wait within their time."""
        for name in names:
            session = self._registry.active().get(name)
            if session is not None and name not in self._candidates:
                self._registry.withdraw(name, returning=True)
                self._unloaded[name] = session.manifest.model_version
                self._retire(session)

    def unloaded(self) -> list[ModelVersion]:
        """Return what made room, and has no successor that answers."""
        return list(self._unloaded.values())

    def bring_back(self, version: Version) -> AgentError | None:
        """Load and activate again what made room; return what is wrong if that fails."""
        trouble = self.load({version.manifest.model: version}).get(version.manifest.model)
        if trouble is None:
            del self._unloaded[version.manifest.model]
        return trouble

    def give_up(self, name: str) -> None:
        """Let nobody wait any longer for a model that does not come back."""
        self._unloaded.pop(name, None)
        self._registry.withdraw(name)

    def memory_by_model(self) -> dict[str, int]:
        """Return the bytes that loaded versions take, active and warm ones, by model."""
        taken: dict[str, int] = {}
        for session in self._registry.loaded():
            taken[session.manifest.model] = taken.get(session.manifest.model, 0) + session.memory_bytes
        return taken

    def memory_bytes(self) -> int:
        """Return the bytes that all loaded versions take, candidates included."""
        sessions = {id(session): session for session in (*self._registry.loaded(), *self._candidates.values())}
        return sum(session.memory_bytes for session in sessions.values())

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
            self._registry.withdraw(name, returning=name in self._unloaded)
        self.abandon()

    def settle(self) -> None:
        """Drain and end what was replaced; there is no way back from here."""
        replaced, self._replaced = self._replaced, {}
        self._unloaded = {name: version for name, version in self._unloaded.items() if name not in self._candidates}
        self._candidates = {}
        for session in replaced.values():
            if session is not None:
                self._retire(session)

    def abandon(self) -> None:
        """End candidates that do not answer."""
        self._runtimes.expect_nothing()
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
    def watched_by(self, watcher: Watcher) -> Iterator[None]:
        """Tell a watcher of every live request during the block."""
        end = self._watch(watcher)
        try:
            yield
        finally:
            end()

    def beside(self) -> dict[str, Pair]:
        """Return the candidates, which answer nobody yet, and what answers now."""
        active = self._registry.active()
        return {name: Pair(candidate, active.get(name)) for name, candidate in self._candidates.items()}

    def replaced(self) -> dict[str, Pair]:
        """Return the candidates, which answer, and what answered before and is still warm."""
        return {name: Pair(candidate, self._replaced.get(name)) for name, candidate in self._candidates.items()}

    def lately(self) -> dict[str, Answers]:
        """Return how what answers now for the candidates' models answered lately."""
        active = self._registry.active()
        return {
            name: self._history.of(active[name].manifest.model_version) for name in self._candidates if name in active
        }
