"""Models as the other rooms need them: built, opened, described, mapped."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from edge_agent import __version__
from edge_agent.config import Settings
from edge_agent.errors import ActivationError, AgentError, Code, StorageError
from edge_agent.formats import BankStatus, Manifest, ModelsConfig, ModelStatus, ModelVersion
from edge_agent.inference import (
    Builder,
    BuildReport,
    GoldenReport,
    Registry,
    Session,
    Spare,
    build_engine,
    check_processors,
    open_session,
    prune_engines,
    sweep_engines,
    try_golden,
)
from edge_agent.storage import durable
from edge_agent.store import Committed, Generation, keep_last_good, read_last_good, read_models_config

_log = logging.getLogger(__name__)


class Runtimes:
    """The inference room with this device's settings."""

    def __init__(self, settings: Settings, engines: Path) -> None:
        self._options = settings.inference
        self._limits = settings.deployment
        self._engines = engines
        self._ahead: Builder | None = None
        self._spare = Spare(keep=self._options.spare_worker, imports=self._options.runtimes[:1])
        check_processors(self._options.cpus)
        sweep_engines(engines)

    def expect_build(self) -> None:
        """Start a builder, so that its imports are done when there is something to build, and what loads the result."""
        if self._options.isolation == "process":
            self._spare.expect()
        if self._ahead is None:
            # One that cannot be started now is tried again when it is needed, and missed then.
            with suppress(ActivationError):
                self._ahead = Builder(self._limits.build_memory_bytes)

    def expect_nothing(self) -> None:
        """End a builder that nobody needs, and a worker that none will need."""
        self._spare.expect_nothing()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.end()

    def build(self, directory: Path, manifest: Manifest, *, cancelled: Callable[[], bool]) -> BuildReport:
        """Build the engine, or find it in the cache."""
        ahead, self._ahead = self._ahead, None
        try:
            return build_engine(
                directory,
                manifest,
                self._options,
                engines=self._engines,
                timeout_s=self._limits.build_timeout_s,
                memory_bytes=self._limits.build_memory_bytes,
                ahead=ahead,
                cancelled=cancelled,
            )
        finally:
            if ahead is not None:
                ahead.end()

    def open(self, directory: Path, manifest: Manifest) -> Session:
        """Load the version into a worker of its own."""

        def restarted(reason: str) -> None:
            fields = {"action": "worker_replaced", "model": manifest.model, "version": manifest.version}
            _log.warning("worker replaced", extra={**fields, "reason": reason})

        return open_session(
            directory,
            manifest,
            self._options,
            engines=self._engines,
            on_restart=restarted,
            spare=self._spare.take,
            build_timeout_s=self._limits.build_timeout_s,
            build_memory_bytes=self._limits.build_memory_bytes,
        )

    def close(self) -> None:
        """End what waits to be used; after every session was closed."""
        self.expect_nothing()
        self._spare.close()

    def try_golden(self, session: Session, directory: Path) -> GoldenReport:
        """Ask the golden samples, of what runs on what was wanted.

        Raises:
            ActivationError: GOLDEN_MISMATCH; LOAD_FAILED, also where it runs on something else.
        """
        if session.fallback and self._options.fallback == "refuse":
            raise ActivationError(Code.LOAD_FAILED, f"{session.manifest.model_version}: {session.fallback}")
        return try_golden(session, directory)

    def prune(self, keep: Sequence[Manifest]) -> None:
        """Delete engines that belong to none of these.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with durable.translated(self._engines):
            prune_engines(self._engines, list(keep), self._options.providers)


class Mappings:
    """Applications and their models, from the live file; read again when asked to."""

    def __init__(self, path: Path, is_known: Callable[[str], bool]) -> None:
        self._path = path
        self._is_known = is_known
        self._config = ModelsConfig()

    def reload(self) -> None:
        """Read the file again; a bad one changes nothing.

        Raises:
            DocumentError: it is not a models_config.
            StorageError: it cannot be read.
        """
        config = read_models_config(self._path)
        if config.unknown_keys:
            keys = ", ".join(config.unknown_keys)
            _log.warning("models_config.json has keys of others", extra={"action": "models_config", "keys": keys})
        self._config = config
        try:
            keep_last_good(self._path, config)
        except StorageError as exc:
            _log.warning("mappings not kept", extra={"action": "models_config_not_kept", "reason": exc.message})

    def try_reload(self) -> str:
        """Read the file again if that is possible; return what is wrong with it, empty when it was taken.

        A start that cannot take the file goes on with the mappings that were taken last.
        """
        try:
            self.reload()
        except AgentError as exc:
            _log.error("models_config.json not taken", extra={"action": "models_config", "reason": exc.message})
            if not self._config.mappings:
                return f"{exc.message}; {self._fall_back()}"
            return exc.message
        return ""

    def _fall_back(self) -> str:
        try:
            kept = read_last_good(self._path)
        except StorageError as exc:
            return exc.message
        if kept is None:
            return "there are no mappings of before"
        self._config = kept
        return "the mappings of before go on"

    def all(self) -> Mapping[str, str]:
        """Return every mapping."""
        return self._config.mappings

    def served(self) -> Mapping[str, str]:
        """Return the mappings whose model is installed or loaded; the others wait for theirs."""
        return {app: model for app, model in self._config.mappings.items() if self._is_known(model)}

    def applications(self, model: str) -> tuple[str, ...]:
        """Return the applications that ask this model."""
        return tuple(app for app, name in self._config.mappings.items() if name == model)


def judges(registry: Registry, mappings: Mappings, rule: str) -> str:
    """Return what judges a part now, as a digest: the rule, and versions, contents and thresholds that are asked.

    Asked for inspections, so nothing is read here.
    """
    active = registry.active()
    asked = [(app, model, _judge(registry, active.get(model))) for app, model in mappings.served().items()]
    return hashlib.sha256(json.dumps([__version__, rule, asked]).encode()).hexdigest()


def _judge(registry: Registry, session: Session | None) -> list[object] | None:
    if session is None:
        return None
    manifest = session.manifest
    set_here = registry.threshold(manifest.model_version)
    threshold = manifest.decision.threshold if set_here is None else set_here
    contents = [artefact.sha256 for artefact in manifest.artefacts]
    return [manifest.version, threshold, session.provider, contents]


def describe_models(
    generation: Generation,
    active: Mapping[str, Session],
    mappings: Mappings,
    staged: Mapping[str, str],
    bank: Callable[[ModelVersion], BankStatus | None] = lambda _version: None,
) -> tuple[ModelStatus, ...]:
    """Return every model that is committed, loaded, mapped or on its way."""
    here = {*generation.models, *active, *staged}
    # What is only mapped waits for its first version, and stands behind what answers.
    names = [*sorted(here), *sorted({*mappings.all().values()} - here)]
    return tuple(_describe(name, generation, active.get(name), mappings, staged.get(name), bank) for name in names)


def _describe(
    name: str,
    generation: Generation,
    session: Session | None,
    mappings: Mappings,
    staged: str | None,
    bank: Callable[[ModelVersion], BankStatus | None],
) -> ModelStatus:
    committed = generation.models.get(name)
    common = {
        "name": name,
        "previous": committed.previous if committed else None,
        "staged": staged,
        "applications": mappings.applications(name),
    }
    if session is None:
        # Where memory holds one version only, the old one makes room for what is on its way.
        waiting = "LOADING" if staged else "UNAVAILABLE"
        state = waiting if committed else "MISSING"
        return ModelStatus(state=state, active=committed.version if committed else None, **common)
    manifest = session.manifest
    signed = manifest.decision.threshold
    return ModelStatus(
        active=manifest.version,
        state=_state(session),
        message=session.fallback,
        runtime=manifest.runtime.name,
        provider=session.provider,
        memory_bytes=session.memory_bytes,
        kind=manifest.kind.value,
        threshold=_threshold_in_force(manifest.version, committed, signed),
        signed_threshold=signed,
        labels=manifest.labels,
        normal_labels=manifest.normal_labels,
        bank=bank(manifest.model_version),
        **common,
    )


def _state(session: Session) -> str:
    if session.state != "READY":
        return "LOADING" if session.state == "LOADING" else "UNAVAILABLE"
    return "DEGRADED" if session.fallback else "READY"


def _threshold_in_force(version: str, committed: Committed | None, signed: float) -> float:
    if committed is None:
        return signed
    known = {committed.previous: committed.previous_threshold, committed.version: committed.threshold}
    set_here = known.get(version)
    return signed if set_here is None else set_here
