"""What an operator sees and does, answered from the rooms."""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from edge_agent import __version__
from edge_agent.agent.captures import CaptureDesk, classes_of
from edge_agent.agent.line import Line
from edge_agent.agent.models import Mappings, describe_models
from edge_agent.capture import CaptureSpool
from edge_agent.config import Settings
from edge_agent.deployment.deployer import Deployer
from edge_agent.deployment.journal import Journal
from edge_agent.deployment.orders import LocalOrder
from edge_agent.deployment.record import to_report
from edge_agent.deployment.states import State
from edge_agent.errors import Code, InferenceError, RefusedError
from edge_agent.formats import (
    AgentStatus,
    BankStatus,
    CameraStatus,
    ClockStatus,
    Counts,
    DeploymentReport,
    InspectedFrame,
    JobDocument,
    ModelStatus,
    ModelVersion,
    Status,
    parse,
)
from edge_agent.inference import Registry
from edge_agent.store import AuditLog, Store

_SCHEMA = "edge-agent/job/1"


class Health:
    """What the process knows of itself: set by the lifecycle, read by everyone."""

    def __init__(self, settings: Settings) -> None:
        self._thing = settings.device.thing
        self._started = time.monotonic()
        self.state = "STARTING"
        self.cloud = "CONNECTING" if settings.mqtt.endpoint else "OFF"
        self._lock = threading.Lock()
        self._troubles: dict[str, str] = {}

    def note(self, what: str, trouble: str) -> None:
        """Note what is wrong with something; empty: all is well with it."""
        with self._lock:
            others = {other: text for other, text in self._troubles.items() if other != what}
            self._troubles = {**others, what: trouble} if trouble else others

    def troubles(self) -> dict[str, str]:
        """Return what is wrong with what."""
        return self._troubles

    def status(self) -> AgentStatus:
        """Return it as it is told."""
        troubles = self._troubles
        state = "DEGRADED" if self.state == "READY" and troubles else self.state
        return AgentStatus(
            version=__version__,
            thing=self._thing,
            uptime_s=time.monotonic() - self._started,
            state=state,
            cloud=self.cloud,
            message="; ".join(troubles.values()),
        )


class Operator(CaptureDesk):
    """The operator's verbs.

    Args:
        health: of the process.
        store: what is committed.
        registry: what answers.
        mappings: who asks.
        deployer: takes orders.
        journal: what it did.
        captures: the spool.
        audit: told of what people say of captures, and of pauses.
        clock: against what was signed.
        counts: inspections so far.
        last_frame: the newest inspection.
        line: rule, shift and golden parts.
        new_id: makes deployment ids.
        cameras: what stations tell of theirs.
        bank: how live parts lie to the memory bank of a version; None: it has none.
    """

    def __init__(
        self,
        health: Health,
        store: Store,
        registry: Registry,
        mappings: Mappings,
        deployer: Deployer,
        journal: Journal,
        captures: CaptureSpool,
        audit: AuditLog,
        *,
        clock: Callable[[], ClockStatus],
        counts: Callable[[], Counts],
        last_frame: Callable[[], InspectedFrame | None],
        line: Line,
        new_id: Callable[[], str],
        cameras: Callable[[], tuple[CameraStatus, ...]],
        bank: Callable[[ModelVersion], BankStatus | None] = lambda _version: None,
    ) -> None:
        super().__init__(captures, audit, functools.partial(classes_of, store, registry))
        self._health = health
        self._store = store
        self._registry = registry
        self._mappings = mappings
        self._deployer = deployer
        self._journal = journal
        self._clock = clock
        self._counts = counts
        self._last_frame = last_frame
        self._line = line
        self._new_id = new_id
        self._cameras = cameras
        self._bank = bank

    def status(self) -> Status:
        """Return everything at one glance."""
        running = self._deployer.running()
        return Status(
            agent=self._health.status(),
            models=self.models(),
            deployment=to_report(running) if running else None,
            captures=self._captures.status(),
            clock=self._clock(),
            counts=self._counts(),
            last_frame=self._last_frame(),
            cameras=self._cameras(),
            rule=self._line.rule,
            shift=self._line.shift(),
            golden=self._line.golden(),
        )

    def models(self) -> tuple[ModelStatus, ...]:
        """Return every model that is committed, loaded, mapped or on its way."""
        running = self._deployer.running()
        brings = running is not None and running.operation in ("install", "rollback")
        staged = {target.name: target.to or "" for target in running.targets} if running and brings else {}
        generation, active = self._store.generations.current(), self._registry.active()
        return describe_models(generation, active, self._mappings, staged, self._bank)

    def deployments(self, deployment_id: str, limit: int) -> Sequence[DeploymentReport]:
        """Return the newest deployments, or the one with an id.

        Raises:
            InferenceError: NOT_FOUND.
        """
        found = [to_report(record) for record in self._journal.history(identity=deployment_id, limit=limit)]
        if deployment_id and not found:
            raise InferenceError(Code.NOT_FOUND, f"there is no deployment {deployment_id}")
        return found

    def roll_back(self, model: str, reason: str, actor: str, *, timeout_s: float) -> DeploymentReport:
        """Take the model back; return when that is durable.

        Raises:
            RefusedError: it cannot go back.
            InferenceError: DEADLINE_EXCEEDED; what was begun goes on.
        """
        return self._carried_out("rollback", {"name": model}, reason, actor, timeout_s)

    def remove(self, model: str, reason: str, actor: str, *, timeout_s: float) -> DeploymentReport:
        """Take the model off this device; return when that is durable.

        Raises:
            RefusedError: NOT_FOUND, or MODEL_MAPPED.
            InferenceError: DEADLINE_EXCEEDED; what was begun goes on.
        """
        return self._carried_out("remove", {"name": model}, reason, actor, timeout_s)

    def configure(
        self, model: str, threshold: float | None, reason: str, actor: str, *, timeout_s: float
    ) -> DeploymentReport:
        """Set the model's threshold, or return to the signed one with None; return when that is durable.

        Raises:
            DocumentError: the threshold is not one.
            RefusedError: NOT_FOUND; OUT_OF_RANGE: it lies outside the signed range.
            InferenceError: DEADLINE_EXCEEDED; what was begun goes on.
        """
        return self._carried_out("configure", {"name": model, "threshold": threshold}, reason, actor, timeout_s)

    def _carried_out(
        self, operation: str, model: dict[str, Any], reason: str, actor: str, timeout_s: float
    ) -> DeploymentReport:
        order = self._order(operation, [model], reason=reason, actor=actor)
        self._deployer.offer(order)
        try:
            report = order.result.result(timeout_s)
        except FutureTimeoutError as exc:
            message = f"the {operation} of {model['name']} goes on; it did not end in {timeout_s:g} s"
            raise InferenceError(Code.DEADLINE_EXCEEDED, message) from exc
        if report.state == State.REFUSED.value:
            raise RefusedError(Code[report.code], report.message)
        return report

    def install(self, models: Sequence[ModelVersion]) -> str:
        """Order versions from the repository; return the deployment's id.

        Raises:
            DocumentError: a model is named twice, or none is.
            StorageError: it could not be written down, and will not be done.
            InferenceError: UNAVAILABLE, the agent is being stopped.
        """
        order = self._order("install", [{"name": m.name, "version": m.version} for m in models], actor="local")
        # Durable when this returns: who got the id finds the deployment, also after a power cut.
        self._deployer.accept(order)
        return order.identity

    def _order(self, operation: str, models: list[dict[str, Any]], *, reason: str = "", actor: str) -> LocalOrder:
        content = {"schema": _SCHEMA, "operation": operation, "models": models}
        return LocalOrder(self._new_id(), parse(JobDocument, content, what="order"), reason, actor, Future())
