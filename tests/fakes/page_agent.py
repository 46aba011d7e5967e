"""An agent for the page, without a socket: it has the client's methods and does what a test says."""

import time
from collections.abc import Iterator
from typing import Any

from typing_extensions import Self

from edge_agent.client import FrameContent
from edge_agent.errors import AgentError, Code, InferenceError, RefusedError
from edge_agent.formats import (
    AgentStatus,
    Counts,
    DeployedModel,
    DeploymentReport,
    InspectedFrame,
    ModelResult,
    ModelStatus,
    StateReport,
    Status,
    Verdict,
)
from edge_agent.formats.event import ModelsChanged
from edge_agent.telemetry.events import Events, Subscription


class _Stream:
    def __init__(self, agent: "PageAgent", subscription: Subscription) -> None:
        self._agent = agent
        self._subscription = subscription

    def __iter__(self) -> Iterator[Any]:
        yield from self._subscription
        self._agent.check()

    def close(self) -> None:
        self._subscription.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PageAgent:
    """Holds what it is told and answers with it; ``go_away`` and ``come_back`` play a restart."""

    def __init__(self) -> None:
        self.away = ""
        self.agent = AgentStatus(version="0.1.0", thing="press-line-4", uptime_s=12.0, state="READY", cloud="CONNECTED")
        self.models: dict[str, ModelStatus] = {}
        self.deployment: DeploymentReport | None = None
        self.history: list[DeploymentReport] = []
        self.counts = Counts()
        self.last_frame: InspectedFrame | None = None
        self.pictures: dict[tuple[str, str, str], FrameContent] = {}
        self.rolled_back: list[tuple[str, str, str]] = []
        self.asked: list[tuple[str, str, str]] = []
        self.refusal: AgentError | None = None
        self._events = Events()

    def status(self, *, timeout_s: float = 5.0) -> Status:
        self.check()
        return Status(
            agent=self.agent,
            models=tuple(self.models.values()),
            deployment=self.deployment,
            counts=self.counts,
            last_frame=self.last_frame,
        )

    def events(self, after: int | None = None) -> Any:
        return _Stream(self, self._events.subscribe(after or 0))

    def deployments(self, deployment_id: str = "", *, limit: int = 0, timeout_s: float = 5.0) -> list[DeploymentReport]:
        self.check()
        return self.history[: limit or None]

    def roll_back(self, model: str, reason: str, *, actor: str, timeout_s: float = 60.0) -> DeploymentReport:
        self.check()
        if self.refusal:
            raise self.refusal
        if model not in self.models:
            raise InferenceError(Code.NOT_FOUND, f"expected a model, came {model}")
        now = self.models[model]
        if not now.previous:
            raise RefusedError(Code.NO_PREVIOUS, f"{model} has no previous version")
        self.rolled_back.append((model, reason, actor))
        report = a_report(model, now.active, now.previous, "COMMITTED", operation="rollback", reason=reason, ended=1.0)
        self.activate(now.model_copy(update={"active": now.previous, "previous": now.active}))
        self.tell(report)
        return report

    def frame(
        self, frame_id: str, layer: str = "picture", application: str = "", *, timeout_s: float = 5.0
    ) -> FrameContent:
        self.check()
        self.asked.append((frame_id, str(layer), application))
        try:
            return self.pictures[(frame_id, str(layer), application)]
        except KeyError as exc:
            raise InferenceError(Code.NOT_FOUND, f"expected a recent frame, came {frame_id}") from exc

    def check(self) -> None:
        if self.away:
            raise InferenceError(Code.UNAVAILABLE, self.away)

    def go_away(self, why: str = "the agent does not answer") -> None:
        self.away = why
        self._events.close()

    def come_back(self) -> None:
        self._events = Events()
        self.away = ""

    def show(self, frame: InspectedFrame, picture: bytes, **overlays: bytes) -> None:
        """Inspect a picture; overlays by application, dashes written as underscores."""
        self.pictures[(frame.id, "picture", "")] = FrameContent(picture, "image/jpeg")
        for application, overlay in overlays.items():
            self.pictures[(frame.id, "overlay", application.replace("_", "-"))] = FrameContent(overlay, "image/png")
        self.last_frame = frame
        name = frame.verdict.value.lower()
        self.counts = self.counts.model_copy(update={name: getattr(self.counts, name) + 1})
        self._events.publish(frame)
        self._events.publish(self.counts)

    def activate(self, *models: ModelStatus) -> None:
        self.models.update({model.name: model for model in models})
        self._events.publish(ModelsChanged(models=tuple(self.models.values())))

    def tell(self, report: DeploymentReport) -> None:
        over = report.ended is not None
        self.deployment = None if over else report
        self.history = [report, *(old for old in self.history if old.id != report.id)]
        self._events.publish(report)


def a_model(name: str = "unet", active: str | None = "1", **fields: Any) -> ModelStatus:
    kind = "classification" if "class" in name else "segmentation"
    application = "image-classification-app" if "class" in name else "image-segmentation-app"
    known: dict[str, Any] = {"state": "READY", "kind": kind, "applications": (application,), "threshold": 0.5}
    return ModelStatus(name=name, active=active, **(known | fields))


def a_result(model: str = "unet", version: str = "1", verdict: Verdict = Verdict.OK, **fields: Any) -> ModelResult:
    status = a_model(model)
    known: dict[str, Any] = {"score": 0.12, "threshold": 0.5, "kind": status.kind, "milliseconds": 21.4}
    known["application"] = status.applications[0]
    return ModelResult(model=model, version=version, verdict=verdict, **(known | fields))


def a_frame(
    frame_id: str = "f1", verdict: Verdict = Verdict.OK, *results: ModelResult, **fields: Any
) -> InspectedFrame:
    known: dict[str, Any] = {"at": time.time(), "source": "left", "name": f"{frame_id}.jpg", "milliseconds": 31.0}
    results = results or (a_result("img-classification", verdict=verdict), a_result("unet", verdict=verdict))
    return InspectedFrame(id=frame_id, verdict=verdict, results=results, **(known | fields))


def a_report(
    model: str = "unet", from_: str | None = "1", to: str | None = "2", state: str = "DOWNLOADING", **fields: Any
) -> DeploymentReport:
    known: dict[str, Any] = {"id": "d1", "operation": "install", "started": time.time() - 3}
    known["states"] = (StateReport(state=state, at=time.time(), seconds=0.4),)
    models = (DeployedModel.model_validate({"name": model, "from": from_, "to": to}),)
    return DeploymentReport(models=models, state=state, **(known | fields))
