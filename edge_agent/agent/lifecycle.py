"""From the first line to the last: lock, recover, serve, watch, stop."""

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from edge_agent.agent.parts import Observer, Parts
from edge_agent.agent.upkeep import Upkeep
from edge_agent.config import Settings
from edge_agent.deployment.serving import DRAIN_TIMEOUT_S, Version
from edge_agent.deployment.states import UNDOING, State
from edge_agent.errors import AgentError, StorageError
from edge_agent.formats import ModelVersion
from edge_agent.inference import raise_thresholds
from edge_agent.storage import durable
from edge_agent.storage.lock import StateLock
from edge_agent.store import Committed, Generation, check_layout, exchange
from edge_agent.telemetry import logs, metrics
from edge_agent.telemetry.log_ring import LogRing
from edge_agent.telemetry.metrics import MetricsServer
from edge_agent.telemetry.notify import Notifier, watchdog
from edge_agent.telemetry.threads import Watched

_log = logging.getLogger(__name__)

# Requests in flight at a stop get so long.
_GRACE_S = 3.0
_LOOK_S = 0.5


def run(settings: Settings, state_dir: Path, runtime_dir: Path, *, observer: Observer | None = None) -> int:
    """Run the agent until SIGTERM or SIGINT; return its exit code.

    Args:
        settings: all rooms.
        state_dir: what must survive.
        runtime_dir: sockets.
        observer: told of every change of a deployment, before anyone else; for tests.

    Raises:
        ConfigError: settings that cannot work.
        StorageError: the state directory is locked or cannot be used.
    """
    ring = LogRing()
    logs.configure(settings.telemetry.level, None, ring)
    if settings.trust.allow_unsigned_packages:
        # Said loudly, since whoever may order a job may then bring any model that is not signed yet.
        fields = {"action": "unsigned_packages", "setting": "trust.allow_unsigned_packages"}
        _log.warning("unsigned packages are taken: nobody vouches for what such a job brings", extra=fields)
    raise_thresholds()
    durable.make_directory(state_dir)
    if exchange.is_pending(state_dir):
        with StateLock(state_dir / "lock"):
            exchange.finish(state_dir)
    # Before the lock, which is a file too: a newer agent's directory is left as it is.
    check_layout(state_dir)
    with StateLock(state_dir / "lock"):
        process = _Process(Parts(settings, state_dir, runtime_dir, observer, ring))
        process.install_signals()
        process.start()
        process.wait()
        process.stop()
    return 0


class _Process:
    """The running agent."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop_asked = threading.Event()
        self._reload_asked = threading.Event()
        self._notifier = Notifier()
        self._metrics: MetricsServer | None = None
        self._deployer = Watched("deployer", lambda _thread: parts.deployer.run())
        self._watchdog = watchdog(self._notifier)
        limits = parts.settings.deployment
        self._upkeep = Upkeep(
            parts.store,
            parts.commits,
            parts.mending,
            note=parts.health.note,
            is_idle=lambda: parts.deployer.running() is None,
            answer=self._answer_again,
            interval_s=limits.scan_interval_s,
            bytes_per_s=limits.scan_bytes_per_s,
        ).thread

    def install_signals(self) -> None:
        """Stop on SIGTERM and SIGINT, read mappings again on SIGHUP."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop_asked.set())
        signal.signal(signal.SIGHUP, lambda *_: self._reload_asked.set())

    def start(self) -> None:
        """Serve what is committed, then go on with what was under way."""
        parts = self._parts
        self._finish_commit()
        generation = parts.store.generations.current()
        parts.serving.use_thresholds(parts.commits.thresholds())
        for name in generation.models:
            # Requests that come before the model is loaded wait for it within their time.
            parts.registry.withdraw(name, returning=True)
        parts.look_at_committed()
        parts.control.start()
        parts.data.start()
        parts.fast.start()
        if parts.settings.telemetry.metrics:
            metrics.refresh_with(parts.refresh_figures)
            self._metrics = MetricsServer(parts.settings.telemetry.metrics)
        self._load(generation)
        parts.captures.start()
        parts.memory.start()
        if parts.uploader is not None:
            parts.uploader.start()
        parts.commits.follow_up()
        parts.health.state = "READY"
        parts.show_models()
        for server in (parts.control, parts.data):
            server.set_serving(serving=True)
        self._deployer.start()
        self._upkeep.start()
        parts.golden.start()
        parts.news.start()
        if parts.fleet is not None:
            parts.fleet.start()
        if parts.renewing is not None:
            parts.renewing.start()
        if parts.jobs is not None:
            parts.jobs.start()
        if self._watchdog is not None:
            self._watchdog.start()
        self._notifier.ready()
        _log.info("ready", extra={"action": "ready", "generation": generation.number})

    def wait(self) -> None:
        """Wait until a stop is asked for; take reloads meanwhile, and note stations that went silent."""
        while not self._stop_asked.wait(_LOOK_S):
            self._parts.cameras.look()
            if self._reload_asked.is_set():
                self._reload_asked.clear()
                self._parts.reload_mappings()
                self._parts.show_models()

    def stop(self) -> None:
        """End everything in the order in which nothing is lost."""
        parts = self._parts
        self._notifier.stopping()
        parts.health.state = "STOPPING"
        self._upkeep.stopping.set()
        self._deployer.stopping.set()
        parts.deployer.stop()
        parts.news.stop()
        if parts.fleet is not None:
            parts.fleet.stop()
        if parts.renewing is not None:
            parts.renewing.stop()
        if parts.jobs is not None:
            parts.jobs.stop()
        self._deployer.stop(timeout_s=10.0)
        self._upkeep.stop(timeout_s=10.0)
        parts.golden.stop()
        if self._metrics is not None:
            self._metrics.close()
            metrics.stop_refreshing(parts.refresh_figures)
        parts.events.close()
        parts.fast.stop(_GRACE_S)
        parts.data.stop(_GRACE_S)
        parts.control.stop(_GRACE_S)
        if parts.uploader is not None:
            parts.uploader.stop()
        parts.memory.stop()
        parts.captures.stop()
        parts.counts.close()
        parts.registry.close()
        parts.runtimes.close()
        parts.journal.close()
        if self._watchdog is not None:
            self._watchdog.stop()
        _log.info("stopped", extra={"action": "stopped"})

    def _finish_commit(self) -> None:
        """Make a commit durable that a power cut found between its intent and its act: the new version answers."""
        record, commits = self._parts.journal.running(), self._parts.commits
        if record is None:
            return
        try:
            if record.state in UNDOING:
                commits.take_back(record)
            elif record.state is State.COMMITTED and not record.fulfilled_by and not commits.is_overtaken(record):
                commits.make_durable(record)
        except StorageError as exc:
            # The deployer meets the same fault: it rolls back, and tells no end before that is durable.
            _log.warning("commit not finished", extra={"action": "commit_unfinished", "reason": exc.message})

    def _load(self, generation: Generation) -> None:
        loads = [Watched(f"load-{name}", self._loader(name, entry)) for name, entry in generation.models.items()]
        for load in loads:
            load.start()
        # A stop does not wait for a model that is slow to load.
        while any(load.is_alive() for load in loads) and not self._stop_asked.is_set():
            for load in loads:
                load.join(_LOOK_S / len(loads))

    def _loader(self, name: str, entry: Committed) -> Callable[[Watched], None]:
        def work(thread: Watched) -> None:
            self._serve(name, entry)
            thread.stopping.set()

        return work

    def _serve(self, name: str, entry: Committed) -> None:
        """Let the committed version answer; where it is damaged or does not load, the one before it."""
        registry, health = self._parts.registry, self._parts.health
        trouble = self._trouble_with(ModelVersion(name, entry.version), entry.manifest_sha256)
        if trouble and entry.previous is not None:
            older = self._trouble_with(ModelVersion(name, entry.previous))
            trouble += f"; {older}" if older else f"; {entry.previous} answers instead"
        if trouble:
            health.note(name, trouble)
            _log.error("committed version not served", extra={"action": "model_unavailable", "reason": trouble})
        if name not in registry.active():
            registry.withdraw(name)

    def _answer_again(self, version: ModelVersion) -> None:
        """Let a committed version that was mended answer, where another stood in for it."""
        parts, name = self._parts, version.name
        entry = parts.store.generations.current().models.get(name)
        if entry is not None and entry.version == version.version and not parts.serving.answers(version):
            stood_in = parts.registry.active().get(name)
            if not self._trouble_with(version, entry.manifest_sha256) and stood_in is not None:
                parts.registry.retire(stood_in, timeout_s=DRAIN_TIMEOUT_S)
        parts.show_models()

    def _trouble_with(self, version: ModelVersion, manifest_sha256: str | None = None) -> str:
        """Load a version and return what is wrong; empty when it answers.

        Args:
            version: what shall answer.
            manifest_sha256: what is committed; None for a version that is only gone back to.
        """
        parts = self._parts
        try:
            manifest = parts.store.verify(version, manifest_sha256=manifest_sha256)
            if manifest_sha256 is None:
                parts.check_floor(manifest)
            failures = parts.serving.load({version.name: Version(manifest, parts.store.directory(version))})
        except AgentError as exc:
            return f"{version}: {exc.message}"
        return "; ".join(f"{version}: {failure.message}" for failure in failures.values())
