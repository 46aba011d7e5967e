"""The composition root: every room's object, built once and handed to those that need it."""

import logging
import platform
import random
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edge_agent
from edge_agent import __version__
from edge_agent.agent.cloud import CloudReporter, catch_up, hand_over
from edge_agent.agent.device_shadow import DeviceShadow
from edge_agent.agent.fleet_news import FleetNews
from edge_agent.agent.fleet_parts import fleet_news, told_facts
from edge_agent.agent.inspection_news import NewsOfInspections
from edge_agent.agent.line import Line, tell_golden
from edge_agent.agent.local_models import LocalModels
from edge_agent.agent.machine import memory_bytes
from edge_agent.agent.models import Mappings, Runtimes, judges
from edge_agent.agent.operator import Health, Operator
from edge_agent.agent.similar import SimilarDesk, bank_figures, read_stored_bank
from edge_agent.agent.stored_versions import StoredVersions
from edge_agent.capture import CaptureSpool, Destination, Sampling, Uploader
from edge_agent.config import Settings, Trust
from edge_agent.deployment.capacity import Machine
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.deployer import Deployer
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.mending import Mending
from edge_agent.deployment.record import Deployment, to_report
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.states import State
from edge_agent.deployment.steps.packaged import Packages, package_root
from edge_agent.deployment.steps.table import Steps
from edge_agent.errors import Code, ConfigError, IdentityError, InferenceError, RefusedError
from edge_agent.formats import ClockStatus, InspectedFrame, Manifest, ModelsChanged, ModelStatus
from edge_agent.inference import DataPlane, Registry, Statistics, available_runtimes
from edge_agent.inspection import CameraBoard, GoldenParts, Inspector, RecentFrames, ResultCounter, rule_of
from edge_agent.jobs import JobsClient, Outbox
from edge_agent.rpc.edge_agent_v1.inspection import InspectionService
from edge_agent.rpc.edge_agent_v1.operator import OperatorService
from edge_agent.rpc.fast.server import FastServer, fast_server
from edge_agent.rpc.fast.service import FastService
from edge_agent.rpc.lookout.components import Components
from edge_agent.rpc.lookout.service import LookoutService
from edge_agent.rpc.oip.control import RepositoryService
from edge_agent.rpc.oip.description import Sources
from edge_agent.rpc.oip.models import Models
from edge_agent.rpc.oip.service import InferenceService
from edge_agent.rpc.sagemaker.models import ClientModels, LoadRules
from edge_agent.rpc.sagemaker.service import SageMakerService
from edge_agent.rpc.server import RpcServer, control_server, data_server
from edge_agent.similarity import PartMemory, Places
from edge_agent.storage import durable
from edge_agent.storage.database import rebuilt
from edge_agent.store import AuditLog, Store
from edge_agent.telemetry import metrics
from edge_agent.telemetry.events import Events
from edge_agent.telemetry.log_ring import LogRing
from edge_agent.transfer import (
    DeviceIdentity,
    Downloader,
    ObjectStore,
    SpeedFloor,
    TokenBucket,
    device_credentials,
    open_objects,
)

if TYPE_CHECKING:
    from edge_agent.agent.renewing import Renewing
    from edge_agent.trust import TrustClient

_log = logging.getLogger(__name__)

Observer = Callable[[Deployment], None]


class Parts:
    """All objects of the agent; nothing is started here.

    Args:
        settings: all rooms.
        state_dir: what must survive.
        runtime_dir: sockets.
        observer: told of every change of a deployment, before anyone else; for tests.
        ring: the newest lines of the log.

    Raises:
        ConfigError: settings that cannot work.
        StorageError: the state directory cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        state_dir: Path,
        runtime_dir: Path,
        observer: Observer | None,
        ring: LogRing | None = None,
    ) -> None:
        self.settings = settings
        self.health = Health(settings)
        self.events = Events()
        self._observer = observer
        self._last_state = ""
        self._committed: frozenset[str] = frozenset()
        self._build_store(state_dir)
        self._build_inference(state_dir)
        self._build_captures(state_dir)
        self._build_deployment(state_dir)
        self._build_line(state_dir, ring or LogRing())
        self._build_servers(state_dir, runtime_dir)

    def _build_store(self, state_dir: Path) -> None:
        self.store = Store(state_dir)
        self.store.recover()
        self.audit = AuditLog(state_dir / "audit.log")
        self.journal = rebuilt(Journal, state_dir / "journal.db")
        models_config = state_dir / "models_config.json"
        if not models_config.exists():
            durable.write(models_config, default_models_config().read_bytes())
        self.renewing = self._renewing(state_dir)
        self.mappings = Mappings(models_config, self._is_known)
        self.commits = Commits(self.store, self.audit, models_config, asked_by=self.mappings.applications)
        self.reload_mappings()

    def _renewing(self, state_dir: Path) -> "Renewing | None":
        mqtt = self.settings.mqtt
        if not mqtt.endpoint or mqtt.certificate is None or mqtt.private_key is None or not mqtt.certificate.is_file():
            # Where there is a cloud, the jobs room says what is missing or wrong.
            return None
        # Only who has a cloud pays for cryptography.
        from edge_agent.agent.renewing import Renewing  # noqa: PLC0415
        from edge_agent.identity.lineage import RENEWED, Files, Lineage  # noqa: PLC0415

        try:
            lineage = Lineage(state_dir / RENEWED, Files(mqtt.certificate, mqtt.private_key))
        except IdentityError:
            return None
        thing, note = self.settings.device.thing, self._note
        return Renewing(thing, mqtt, lineage, lambda: self.jobs, audit=self.audit, note=note)

    def _build_inference(self, state_dir: Path) -> None:
        self.registry = Registry()
        self.data_plane = DataPlane(self.registry)
        self.statistics = Statistics()
        self.data_plane.watch(self.statistics.count, contents=False)
        self.runtimes = Runtimes(self.settings, state_dir / "engines")
        self.frames = RecentFrames(self.settings.inspection.recent_frames)
        self.serving = Serving(self.runtimes, self.registry, self.data_plane.watch, self.frames.pictures_of)

    def _build_captures(self, state_dir: Path) -> None:
        capture, device = self.settings.capture, self.settings.device
        self.captures = CaptureSpool(
            state_dir / "captures",
            capture.quota_bytes,
            policy=capture.policy,
            uploads=bool(capture.url),
            now=time.time,
            sampling=Sampling(capture.doubt, capture.band, capture.every, capture.share, capture.far),
            max_age_s=capture.max_age_days * 86_400,
        )
        self.memory = PartMemory(
            partial(read_stored_bank, self.store), Places(state_dir / "places.db"), capture=self._capture_far
        )
        self.uploader: Uploader | None = None
        if capture.url:
            objects = self._open_objects(capture.url, capture.credentials)
            destination = Destination(capture.url, device.fleet, device.thing)
            self.uploader = Uploader(
                self.captures, objects, destination, rng=random.SystemRandom(), labelled_by=capture.labelled_by
            )

    def _capture_far(self, frame_id: str) -> bool:
        try:
            kept = self.frames.get(frame_id)
            return self.captures.offer_far(kept.frame, kept.picture, kept.maps)
        except InferenceError:  # so many came meanwhile that its picture is gone
            return False

    def _open_objects(self, url: str, credentials: str = "") -> ObjectStore:
        repository, mqtt = self.settings.repository, self.settings.mqtt
        identity = DeviceIdentity(
            repository.credentials_endpoint,
            repository.role_alias,
            self.settings.device.thing,
            mqtt.certificate,
            mqtt.private_key,
            mqtt.ca,
        )
        words = credentials or repository.credentials
        renewing = self.renewing
        renewed = (lambda: renewing.files) if renewing is not None else None
        return open_objects(
            url,
            words,
            aws_iot=device_credentials(identity, renewed, _get_by_token) if words == "aws-iot" else None,
            ca=repository.ca,
            proxy=repository.proxy,
        )

    def _build_deployment(self, state_dir: Path) -> None:
        settings, repository = self.settings, self.settings.repository
        self.trust: TrustClient | None = None
        downloader: Downloader | None = None
        packages: Packages | None = None
        if repository.url:
            if settings.trust.root is not None and not settings.trust.root.is_file():
                raise ConfigError(
                    Code.CONFIG_INVALID, f"trust.root: expected a root.json at {settings.trust.root}, there is none"
                )
            objects = self._open_objects(repository.url)
            self.trust = _trust(settings.trust, state_dir / "trust", objects)
            limits = settings.deployment
            bandwidth = TokenBucket(limits.bandwidth_bytes_per_s, clock=time.monotonic)
            floor = SpeedFloor(limits.slowest_bytes_per_s, limits.slowest_window_s)
            downloader = Downloader(objects, bandwidth=bandwidth, floor=floor)
            if settings.trust.allow_unsigned_packages:
                root, bucket = package_root(repository.url)
                archives = self._open_objects(root)
                fetch = Downloader(archives, bandwidth=bandwidth, floor=floor).fetch
                packages = Packages(archives, fetch, bucket, bandwidth.reserve)
        self.mending = Mending(self.store, self.trust, downloader)
        self.machine = Machine(
            __version__,
            platform.machine(),
            frozenset(runtime.name for runtime in available_runtimes(settings.inference.runtimes) if runtime.usable),
            settings.inference.memory_budget_bytes or memory_bytes(),
            settings.inference.allow_native_code,
        )
        steps = Steps(
            self.trust,
            downloader,
            self.store,
            self.serving,
            self.journal,
            self.commits,
            self.machine,
            settings.deployment,
            packages=packages,
        )
        self.deployer = Deployer(
            steps,
            self.journal,
            report=CloudReporter(lambda: self.jobs),
            observe=self._observe,
            deadline_s=settings.deployment.deadline_s,
            allow_unsigned_packages=settings.trust.allow_unsigned_packages,
            new_id=new_id,
            jitter=lambda limit: random.SystemRandom().uniform(0, limit),
            prefer=lambda job_id: self.jobs.prefer(job_id) if self.jobs is not None else None,
        )
        self._build_jobs(state_dir)

    def _build_jobs(self, state_dir: Path) -> None:
        settings = self.settings
        self.jobs: JobsClient | None = None
        self.fleet: FleetNews | None = None
        self.device_shadow = DeviceShadow(
            settings.device.thing,
            lambda: self.jobs,
            self.store.generations,
            lambda: next(iter(self.journal.history(limit=1)), None),
            lambda: told_facts(self.fleet),
        )
        if settings.mqtt.endpoint:
            outbox = rebuilt(Outbox, state_dir / "outbox.db")
            self.jobs = JobsClient(
                self.renewing.settings() if self.renewing is not None else settings.mqtt,
                settings.device.thing,
                outbox,
                events=hand_over(self.deployer, self._connected),
                others=self.renewing.receivers() if self.renewing is not None else {},
            )
            catch_up(self.journal, self.jobs, self.deployer)

    def _build_line(self, state_dir: Path, ring: LogRing) -> None:
        settings = self.settings.inspection
        counter = partial(ResultCounter, shifts=settings.shifts, keep_days=settings.keep_days, told=self.events.publish)
        self.counts = rebuilt(counter, state_dir / "inspections.db")
        rule = rule_of(settings)
        self.inspector = Inspector(
            self.data_plane,
            self.mappings.served,
            rule,
            frames=self.frames,
            counts=self.counts,
            chain=settings.chain,
            capture=self.captures.offer,
            memory=self.memory.offer,
            events=self._inspected,
            doubt=lambda: self.golden.doubt(),  # noqa: PLW0108 - made below, of this inspector
        )
        self.cameras = CameraBoard(self.events.publish, lost=self.inspector.count_lost)
        self.golden = GoldenParts(
            settings.golden_parts,
            self.inspector.look,
            self.counts.span,
            self.counts.ledger,
            judges=partial(judges, self.registry, self.mappings, f"{rule.words()}; {dict(settings.chain)}"),
            required=settings.golden_required,
            is_ready=lambda: self.health.state == "READY",
            told=lambda check: tell_golden(check, self.events.publish, self._note),
        )
        self.news = NewsOfInspections(
            self.settings.device.thing,
            self.settings.mqtt.inspections,
            self.jobs,
            self.counts.current,
            self.counts.shifts,
        )
        self.line = Line(rule, self.counts, self.frames, self.golden, self.audit, ring)
        self.fleet = fleet_news(self, state_dir) if self.jobs is not None else None

    def _note(self, what: str, trouble: str) -> None:
        before = self.health.status().message
        self.health.note(what, trouble)
        if self.health.status().message != before:
            self.events.publish(self.health.status())

    def _build_servers(self, state_dir: Path, runtime_dir: Path) -> None:
        self.operator = Operator(
            self.health,
            self.store,
            self.registry,
            self.mappings,
            self.deployer,
            self.journal,
            self.captures,
            self.audit,
            clock=self.trust.clock if self.trust else ClockStatus,
            counts=self.counts.counts,
            last_frame=self.frames.last,
            line=self.line,
            new_id=new_id,
            cameras=self.cameras.cameras,
            bank=self.memory.status,
        )
        memories = SimilarDesk(
            self.memory, self.registry, self.data_plane, self.frames, self.captures, self.mappings.served
        )
        local = LocalModels(self.runtimes, self.registry, self.store, self.machine)
        stored = StoredVersions(self.store, self.registry, local, self.check_floor)
        rules = LoadRules(state_dir / "versions", stored.trusts, self.settings.trust.local_model_roots)
        models = ClientModels(self.registry, local, rules)
        told = Sources(
            Models(self.registry),
            stored,
            self.statistics,
            lambda: self.health.state == "READY",
            self.settings.inference.lanes,
        )
        runtime_dir.mkdir(parents=True, exist_ok=True)
        self.control: RpcServer = control_server(
            runtime_dir,
            [
                OperatorService(self.operator, self.inspector, self.events, self.line, memories).as_service(),
                RepositoryService(told).as_service(),
            ],
        )
        protocols = (
            InspectionService(self.inspector, self.cameras),
            SageMakerService(models, self.data_plane, self.captures),
            LookoutService(Components(self.registry, self.mappings.served), self.inspector),
            InferenceService(told, self.data_plane, streams=self.settings.rpc.threads // 2),
        )
        self.data: RpcServer = data_server(
            self.settings.rpc, runtime_dir, [protocol.as_service() for protocol in protocols]
        )

        answers = FastService(self.data_plane, self.inspector)
        self.fast: FastServer = fast_server(answers, runtime_dir, calls=self.settings.rpc.threads)

    def _is_known(self, model: str) -> bool:
        # Asked for every inspection, so nothing is read here.
        return model in self.registry.active() or model in self._committed

    def _inspected(self, frame: InspectedFrame) -> None:
        self.events.publish(frame)
        self.events.publish(self.counts.counts())
        self.news.offer(frame)

    def _connected(self, connected: bool) -> None:
        self.health.cloud = "CONNECTED" if connected else "CONNECTING"
        self.events.publish(self.health.status())
        if connected:
            self.device_shadow.publish()
            if self.renewing is not None:
                self.renewing.connected()

    def _observe(self, record: Deployment) -> None:
        if self._observer is not None:
            self._observer(record)
        self.events.publish(to_report(record))
        changed = f"{record.id} {record.state.value} {record.ended}"
        if changed != self._last_state:
            # That it ended is told as well, and is no other state.
            if not self._last_state.startswith(f"{record.id} {record.state.value} "):
                metrics.count_deployment_state(record.state.value)
            self._last_state = changed
            self.show_models()
            if record.ended is not None and record.state is not State.REPORTED:
                self.device_shadow.publish()

    def look_at_committed(self) -> None:
        """Note what is committed, and forget the trouble of a model that answers as it should by now.

        Raises:
            StorageError: it could not be read.
        """
        generation = self.store.generations.current()
        self._committed = frozenset(generation.models)
        answering = {name: session.manifest.version for name, session in self.registry.active().items()}
        for name, entry in generation.models.items():
            if answering.get(name) == entry.version:
                self.health.note(name, "")

    def reload_mappings(self) -> None:
        """Read the mappings again; a file that cannot be taken changes none, and is shown in the status."""
        self.health.note("models_config.json", self.mappings.try_reload())

    def check_floor(self, manifest: Manifest) -> None:
        """Check that a version that is gone back to was not revoked.

        Raises:
            RefusedError: BELOW_FLOOR.
        """
        floor = self.trust.floor(manifest.model) if self.trust is not None else 0
        if manifest.release_seq < floor:
            message = f"release {manifest.release_seq} was revoked: releases below {floor} may not run"
            raise RefusedError(Code.BELOW_FLOOR, message)

    def refresh_figures(self) -> None:
        """Tell the figures that change without anybody doing anything.

        Raises:
            StorageError: the captures could not be counted.
        """
        loaded = ((session.manifest.model_version, session.memory_bytes) for session in self.registry.loaded())
        metrics.show_workers((*version, memory_bytes) for version, memory_bytes in loaded)
        self.captures.status()
        metrics.show_banks(
            (*version, told.distance, told.far_share, told.drift)
            for version, told in bank_figures(self.memory, self.registry)
        )

    def show_models(self) -> None:
        """Tell everyone what answers now.

        Raises:
            StorageError: what is committed could not be read.
        """
        self.look_at_committed()
        for session in self.registry.active().values():
            if session.manifest.bank is not None:
                self.memory.expect(session.manifest.model_version)
        models = self.operator.models()
        self.events.publish(ModelsChanged(models=models))
        metrics.show_models((m.name, m.active or "", m.state) for m in models)
        self._show_fallbacks(models)

    def _show_fallbacks(self, models: Sequence[ModelStatus]) -> None:
        """Tell of models that something else executes than wanted; they answer, and the agent is DEGRADED."""
        metrics.show_fallbacks((m.name, m.active or "", m.state == "DEGRADED") for m in models if m.provider)
        self._note("providers", "; ".join(f"{m.name}: {m.message}" for m in models if m.state == "DEGRADED"))


def new_id() -> str:
    """Return a deployment's id; ids sort by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def default_models_config() -> Path:
    """Return the models_config.json that a new device starts with: beside the package, or inside the wheel."""
    package = Path(edge_agent.__file__).parent
    inside = package / "models_config.json"
    return inside if inside.exists() else package.parent / "models_config.json"


def _get_by_token(*asked: Any) -> tuple[int, bytes]:
    # Only whose key lies in a token pays for the import.
    from edge_agent.jobs import token  # noqa: PLC0415

    return token.get(*asked)


def _trust(settings: Trust, directory: Path, objects: ObjectStore) -> "TrustClient":
    # Only who has a repository pays for python-tuf: importing it takes a third of a second.
    from edge_agent.trust import TrustClient  # noqa: PLC0415

    return TrustClient(directory, settings.root, objects, allow_demo_root=settings.allow_demo_root, now=time.time)
