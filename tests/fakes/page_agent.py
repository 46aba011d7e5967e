"""An agent for the page, without a socket: it has the client's methods and does what a test says."""

import time
from collections.abc import Iterator
from typing import Any

from typing_extensions import Self

from edge_agent.client import FrameContent
from edge_agent.errors import AgentError, Code, InferenceError, RefusedError
from edge_agent.formats import (
    AgentStatus,
    AnomalyMap,
    CameraStatus,
    CaptureReport,
    CaptureStatus,
    ClockStatus,
    Counts,
    DeployedModel,
    DeploymentReport,
    EncodedPicture,
    GoldenCheck,
    InspectedFrame,
    LatencyPoint,
    LogLine,
    ModelResult,
    ModelStatus,
    ScoreHistogram,
    Shift,
    SimilarParts,
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
        self.maps: dict[tuple[str, str], AnomalyMap] = {}
        self.rolled_back: list[tuple[str, str, str]] = []
        self.asked: list[tuple[str, str, str]] = []
        self.refusal: AgentError | None = None
        self.unserved: set[str] = set()
        self.cameras: dict[str, CameraStatus] = {}
        self.capture_status = CaptureStatus()
        self.golden = GoldenCheck()
        self.golden_outcome = GoldenCheck(state="PASSED", at=time.time())
        self.rule = ""
        self.clock: ClockStatus | None = None
        self.shift_list: list[Shift] = []
        self.kept_frames: list[InspectedFrame] = []
        self.capture_list: list[CaptureReport] = []
        self.capture_pictures: dict[tuple[str, str], FrameContent] = {}
        self.similar_parts: dict[str, SimilarParts] = {}
        self.log_lines: list[LogLine] = []
        self.orders: list[tuple[Any, ...]] = []
        self.said_by = ("", "")
        self.trial_answer: InspectedFrame | None = None
        self._events = Events()

    def status(self, *, timeout_s: float = 5.0) -> Status:
        self.check()
        return Status(
            agent=self.agent,
            models=tuple(self.models.values()),
            deployment=self.deployment,
            captures=self.capture_status,
            clock=self.clock or ClockStatus(now=time.time(), floor=1_700_000_000.0),
            counts=self.counts,
            last_frame=self.last_frame,
            cameras=tuple(self.cameras.values()),
            rule=self.rule,
            golden=self.golden,
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

    def frame_map(self, frame_id: str, application: str, *, timeout_s: float = 5.0) -> AnomalyMap:
        self.check()
        self.asked.append((frame_id, "map", application))
        try:
            return self.maps[(frame_id, application)]
        except KeyError as exc:
            raise InferenceError(Code.NOT_FOUND, f"expected a mask of {application}, came {frame_id}") from exc

    def frames(self, *, limit: int = 0, timeout_s: float = 5.0) -> list[InspectedFrame]:
        self.serve("frames")
        return self.kept_frames[::-1][: limit or None]

    def shifts(self, *, limit: int = 0, timeout_s: float = 5.0) -> list[Shift]:
        self.serve("shifts")
        return self.shift_list[: limit or None]

    def captures(
        self, *, limit: int = 0, before: float = 0.0, verdict: str = "", state: str = "", timeout_s: float = 5.0
    ) -> list[CaptureReport]:
        self.serve("captures")
        fitting = [one for one in self.capture_list if not verdict or one.verdict == verdict]
        newest = sorted(fitting, key=lambda one: one.at, reverse=True)
        return [one for one in newest if not before or one.at < before][: limit or None]

    def capture_content(self, capture_id: str, part: str, *, timeout_s: float = 5.0) -> FrameContent:
        self.serve("capture_content")
        try:
            return self.capture_pictures[(capture_id, part)]
        except KeyError as exc:
            raise InferenceError(Code.NOT_FOUND, f"expected a capture, came {capture_id}") from exc

    def similar(self, identity: str, *, model: str = "", limit: int = 0, timeout_s: float = 10.0) -> SimilarParts:
        self.serve("similar")
        self.asked.append((identity, "similar", model))
        try:
            return self.similar_parts[identity]
        except KeyError as exc:
            raise InferenceError(Code.NOT_FOUND, f"there is no capture {identity}") from exc

    def logs(self, *, limit: int = 0, level: str = "", timeout_s: float = 5.0) -> list[LogLine]:
        self.serve("logs")
        levels = ("DEBUG", "INFO", "WARNING", "ERROR")
        return [line for line in self.log_lines if levels.index(line.level) >= levels.index(level or "DEBUG")]

    def configure(
        self, model: str, threshold: float | None, reason: str, *, actor: str, timeout_s: float = 60.0
    ) -> DeploymentReport:
        self.order("configure", model, threshold, reason, actor)
        now = self.models[model]
        report = a_report(model, now.active, now.active, "COMMITTED", operation="configure", reason=reason, ended=1.0)
        wanted = now.signed_threshold if threshold is None else threshold
        change = report.models[0].model_copy(update={"threshold": wanted})
        report = report.model_copy(update={"models": (change,), "actor": actor})
        self.activate(now.model_copy(update={"threshold": wanted}))
        self.tell(report)
        return report

    def reset_counts(self, reason: str, *, actor: str, timeout_s: float = 5.0) -> Shift:
        self.order("reset_counts", reason, actor)
        running, *before = self.shift_list
        fresh = {"counts": Counts(), "began": time.time(), "reset_by": actor, "scores": (), "latency": ()}
        self.shift_list = [running.model_copy(update=fresh), *before]
        self.counts = Counts()
        self._events.publish(self.counts)
        return self.shift_list[0]

    def check_golden_parts(self, *, actor: str, timeout_s: float = 120.0) -> GoldenCheck:
        self.order("check_golden_parts", actor)
        self.tell_golden(self.golden_outcome)
        return self.golden

    def label_capture(
        self,
        capture_id: str,
        label: str,
        *,
        actor: str,
        other: bool = False,
        role: str = "",
        user: str = "",
        instead_of: str | None = None,
        timeout_s: float = 5.0,
    ) -> CaptureReport:
        self.said_by = role, user
        self.order("label_capture", capture_id, label, actor, "other" if other else "known")
        found = next((one for one in self.capture_list if one.id == capture_id), None)
        if found is None:
            raise InferenceError(Code.NOT_FOUND, f"expected a capture, came {capture_id}")
        if instead_of not in (None, found.label):
            raise InferenceError(Code.FAILED_PRECONDITION, f"expected {instead_of} to stand, {found.label} does")
        changed = found.model_copy(update={"label": label, "labelled_by": actor})
        self.capture_list[self.capture_list.index(found)] = changed
        return changed

    def pause_captures(
        self, *, capture: bool | None = None, upload: bool | None = None, actor: str, timeout_s: float = 5.0
    ) -> CaptureStatus:
        self.order("pause_captures", capture, upload, actor)
        wanted = {"capture_paused": capture, "upload_paused": upload}
        told = {name: value for name, value in wanted.items() if value is not None}
        self.capture_status = self.capture_status.model_copy(update=told)
        self._events.publish(self.capture_status)
        return self.capture_status

    def inspect(self, picture: EncodedPicture, **asked: Any) -> InspectedFrame:
        self.order("inspect", len(picture.content), asked)
        assert self.trial_answer is not None
        return self.trial_answer.model_copy(update={"name": asked["frame_name"]})

    def order(self, *what: Any) -> None:
        self.serve(what[0])
        if self.refusal:
            raise self.refusal
        self.orders.append(what)

    def serve(self, call: str) -> None:
        """Answer as an agent that is away, or too old for this call."""
        self.check()
        if call in self.unserved:
            raise InferenceError(Code.FAILED_PRECONDITION, "control.sock: this call is not served there")

    def check(self) -> None:
        if self.away:
            raise InferenceError(Code.UNAVAILABLE, self.away)

    def go_away(self, why: str = "the agent does not answer") -> None:
        self.away = why
        self._events.close()

    def come_back(self) -> None:
        self._events = Events()
        self.away = ""

    def show(self, frame: InspectedFrame, picture: bytes, **maps: AnomalyMap) -> None:
        """Inspect a picture; overlays by application, dashes written as underscores."""
        self.pictures[(frame.id, "picture", "")] = FrameContent(picture, "image/jpeg")
        for application, anomalies in maps.items():
            self.maps[frame.id, application.replace("_", "-")] = anomalies
        self.last_frame = frame
        self.kept_frames = [*self.kept_frames, frame][-64:]
        name = frame.verdict.value.lower()
        self.counts = self.counts.model_copy(update={name: getattr(self.counts, name) + 1})
        self._events.publish(frame)
        self._events.publish(self.counts)

    def activate(self, *models: ModelStatus) -> None:
        self.models.update({model.name: model for model in models})
        self._events.publish(ModelsChanged(models=tuple(self.models.values())))

    def tell_camera(self, camera: CameraStatus) -> None:
        self.cameras[camera.id] = camera
        self._events.publish(camera)

    def tell_golden(self, golden: GoldenCheck) -> None:
        self.golden = golden
        self._events.publish(golden)

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
    known: dict[str, Any] = {"score": 0.12, "threshold": 0.5, "kind": status.kind, "milliseconds": 21.4, "area": 0.01}
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


def a_camera(name: str = "left", state: str = "WATCHING", **fields: Any) -> CameraStatus:
    known: dict[str, Any] = {"kind": "genicam", "since": time.time() - 60, "frames": 812, "rate_hz": 2.0}
    return CameraStatus(id=name, state=state, **(known | fields))


def a_shift(name: str = "early", ok: int = 940, ng: int = 60, *, running: bool = True, **fields: Any) -> Shift:
    now = time.time()
    known: dict[str, Any] = {"began": now - 3 * 3600, "ends": now + 5 * 3600}
    if running:
        known["scores"] = (a_histogram("unet"), a_histogram("img-classification"))
        known["latency"] = tuple(
            LatencyPoint(at=now - 60 * (60 - minute), p50_ms=24 + minute % 5, p95_ms=41 + minute % 9, count=120)
            for minute in range(60)
        )
    return Shift(name=name, counts=Counts(ok=ok, ng=ng, no_result=3), running=running, **(known | fields))


def a_histogram(model: str = "unet", threshold: float = 0.5) -> ScoreHistogram:
    bins = tuple(round(300 * 0.72**number) + (14 if 30 < number < 38 else 0) for number in range(40))
    return ScoreHistogram(application=a_model(model).applications[0], model=model, threshold=threshold, bins=bins)


def a_capture(capture_id: str = "c1", verdict: str = "NG", **fields: Any) -> CaptureReport:
    known: dict[str, Any] = {"at": time.time(), "model": "unet", "version": "2", "state": "PENDING", "score": 0.71}
    known |= {"threshold": 0.5, "source": "left", "name": f"{capture_id}.jpg", "has_picture": True, "bytes": 40_000}
    return CaptureReport(id=capture_id, verdict=verdict, **(known | fields))
