"""What a deployer works on, in memory where the real thing is slow: releases, blobs, runtimes, reports."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from edge_agent.config import Deployment as Limits
from edge_agent.deployment.capacity import Machine
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.deployer import Deployer
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.orders import JobOrder, LocalOrder
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.serving import Serving, Version
from edge_agent.deployment.steps.packaged import Packages
from edge_agent.deployment.steps.table import Steps
from edge_agent.errors import ActivationError, AgentError, Code, InferenceError, RefusedError
from edge_agent.formats import JobDocument, Manifest, ModelVersion, parse
from edge_agent.inference import Answered, BuildReport, GoldenReport, Registry, Watcher
from edge_agent.store import AuditLog, Store
from edge_agent.trust import Release as TrustedRelease
from tests.fakes.releases import Release
from tests.fakes.releases import install as install_into


def new_id() -> str:
    return f"d{uuid.uuid4().hex}"


class FakeReleases:
    """A repository whose releases are all genuine."""

    def __init__(self) -> None:
        self.releases: dict[ModelVersion, Release] = {}
        self.floors: dict[str, int] = {}
        self.troubles: list[AgentError] = []

    def refresh(self, check: Callable[[], None] = lambda: None) -> None:
        check()
        if self.troubles:
            raise self.troubles.pop(0)

    def release(self, version: ModelVersion, check: Callable[[], None] = lambda: None) -> TrustedRelease:
        check()
        release = self.releases.get(version)
        if release is None:
            raise RefusedError(Code.RELEASE_UNKNOWN, f"{version} is not signed")
        return TrustedRelease(release.manifest, release.content, release.sha256)

    def floor(self, model: str) -> int:
        return self.floors.get(model, 0)


class FakeBlobs:
    """Objects that arrive at once, unless a gate holds them."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.fetched: list[str] = []

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
        content = self.blobs[key.rsplit("/", 1)[1]]
        self.fetched.append(key)
        target.write_bytes(content[:size_bytes])
        progress(len(content))


class FakeSession:
    """A version that is loaded as soon as it is asked for."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.provider = "FakeProvider"
        self.memory_bytes = manifest.requires.memory_bytes or 1
        self.state = "READY"
        self.restarts = 0
        self.fallback = ""

    def close(self) -> None:
        self.state = "CLOSED"


class FakeRuntimes:
    """Loads anything but what it was told to find bad."""

    def __init__(self) -> None:
        self.bad: dict[ModelVersion, Code] = {}
        self.opened: list[FakeSession] = []
        self.kept_engines: set[str] = set()

    def build(self, directory: Path, manifest: Manifest, *, cancelled: Callable[[], bool]) -> BuildReport:
        self._check(manifest, Code.BUILD_FAILED)
        return BuildReport(seconds=0.0, cached=False)

    def expect_build(self) -> None:
        pass

    def expect_nothing(self) -> None:
        pass

    def open(self, directory: Path, manifest: Manifest) -> FakeSession:
        self._check(manifest, Code.LOAD_FAILED)
        session = FakeSession(manifest)
        self.opened.append(session)
        return session

    def try_golden(self, session: FakeSession, directory: Path) -> GoldenReport:
        self._check(session.manifest, Code.GOLDEN_MISMATCH)
        return GoldenReport(max_difference=0.0, p50_ms=1.0, memory_bytes=1, samples=1)

    def prune(self, keep: Sequence[Manifest]) -> None:
        self.kept_engines = {str(manifest.model_version) for manifest in keep}

    def _check(self, manifest: Manifest, code: Code) -> None:
        if self.bad.get(manifest.model_version) is code:
            raise ActivationError(code, f"{manifest.model_version} was made bad")


class Device:
    """A deployer on a real store, and everything around it."""

    def __init__(
        self,
        directory: Path,
        *,
        limits: Limits | None = None,
        at_state: Callable[[Deployment], None] | None = None,
        memory_bytes: int = 0,
        packages: Packages | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.packages = packages
        self.directory = directory
        self.watchers: list[Watcher] = []
        self.releases, self.blobs, self.runtimes = FakeReleases(), FakeBlobs(), FakeRuntimes()
        self.reports: list[tuple[str, str, bool]] = []
        self.seen: list[Deployment] = []
        self.preferred: list[str] = []
        self._at_state = at_state or (lambda _record: None)
        self._limits = limits or Limits(reserve_bytes=0)
        self._memory_bytes = memory_bytes
        self._now = now
        self._thread: threading.Thread | None = None
        self._open()

    def _open(self) -> None:
        self.store = Store(self.directory)
        self.store.recover()
        self.journal = Journal(self.directory / "journal.db")
        self.registry = Registry()
        self.serving = Serving(self.runtimes, self.registry, self.watch)
        self.audit = AuditLog(self.directory / "audit.log")
        self.commits = Commits(self.store, self.audit, self.directory / "models_config.json")
        machine = Machine("0.1.0", "x86_64", frozenset({"onnxruntime"}), self._memory_bytes)
        self.steps = Steps(
            self.releases,
            self.blobs,
            self.store,
            self.serving,
            self.journal,
            self.commits,
            machine,
            self._limits,
            packages=self.packages,
            now=self._now,
        )
        self.deployer = Deployer(
            self.steps,
            self.journal,
            report=self._report,
            observe=self._observe,
            deadline_s=self._limits.deadline_s,
            allow_unsigned_packages=self.packages is not None,
            new_id=new_id,
            jitter=lambda _limit: 0.0,
            prefer=self.preferred.append,
            now=self._now,
        )

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        self.watchers.append(watcher)
        return lambda: self.watchers.remove(watcher)

    def answers(self, model: str, version: str, error: InferenceError | None = None) -> None:
        """Tell whoever watches of one live request."""
        for watcher in tuple(self.watchers):
            watcher(Answered(ModelVersion(model, version), None, None, None, error, 1.0))

    def offers(self, *releases: Release) -> None:
        for release in releases:
            self.releases.releases[release.model_version] = release
            self.blobs.blobs |= release.blobs

    def already_has(self, *releases: Release) -> None:
        """Have releases committed and answering before the first order."""
        for release in releases:
            install_into(self.store, release)
        self.store.commit({release.manifest.model: release.committed() for release in releases})
        self.serve(*releases)

    def serve(self, *releases: Release) -> None:
        """Let committed releases answer, as a start does."""
        self.serving.use_thresholds(self.commits.thresholds())
        for release in releases:
            version = Version(release.manifest, self.store.directory(release.model_version))
            assert self.serving.load({release.manifest.model: version}) == {}

    def maps(self, **mappings: str) -> None:
        """Have applications mapped to models."""
        (self.directory / "models_config.json").write_text(json.dumps({"mappings": mappings, "models": []}))

    def start(self) -> None:
        self._thread = threading.Thread(target=self.deployer.run, name="deployer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.deployer.stop()
        assert self._thread is not None
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.journal.close()

    def job(self, job_id: str, document: dict[str, object], *, execution_number: int = 1, queued_at: int = 0) -> None:
        self.deployer.offer(JobOrder(job_id, execution_number, document, queued_at))

    def queue(self, *jobs: tuple[str, dict[str, object]]) -> None:
        """Tell which jobs wait in the cloud, the oldest first."""
        self.deployer.look_at_queue([JobOrder(job_id, 1, document) for job_id, document in jobs])

    def call(self, document: dict[str, object], *, timeout_s: float = 30) -> Deployment:
        """Order by a local call and wait for the end."""
        order = LocalOrder(new_id(), parse(JobDocument, document, what="order"), "because", "a test", Future())
        self.deployer.offer(order)
        report = order.result.result(timeout_s)
        return self.journal.history(identity=report.id)[0]

    def committed(self) -> dict[str, str]:
        return {name: entry.version for name, entry in self.store.generations.current().models.items()}

    def answering(self) -> dict[str, str]:
        return {name: session.manifest.version for name, session in self.registry.active().items()}

    def _report(self, record: Deployment, *, final: bool) -> None:
        self.reports.append((record.job_id, record.outcome.value, final))

    def _observe(self, record: Deployment) -> None:
        self.seen.append(record)
        self._at_state(record)


def install(*models: tuple[str, str], **more: object) -> dict[str, object]:
    wanted = [{"name": name, "version": version} for name, version in models]
    return {"schema": "edge-agent/job/1", "operation": "install", "models": wanted, **more}


def rollback(*names: str) -> dict[str, object]:
    return {"schema": "edge-agent/job/1", "operation": "rollback", "models": [{"name": name} for name in names]}


def remove(*names: str, **more: object) -> dict[str, object]:
    return {"schema": "edge-agent/job/1", "operation": "remove", "models": [{"name": name} for name in names], **more}


def configure(**thresholds: float | None) -> dict[str, object]:
    models = [{"name": name, "threshold": threshold} for name, threshold in thresholds.items()]
    return {"schema": "edge-agent/job/1", "operation": "configure", "models": models}
