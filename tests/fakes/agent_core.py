"""The whole agent in memory behind the real servers: for tests, and for working on the page.

As a process: ``python -m tests.fakes.agent_core --runtime-dir DIR [--rate-hz 2] [--tcp ADDRESS]``
serves ``agent.sock`` and ``control.sock`` in DIR with drawn parts, verdicts and deployments.
"""

import argparse
import hashlib
import itertools
import signal
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import Rpc
from edge_agent.errors import Code, InferenceError, RefusedError
from edge_agent.formats import (
    AgentStatus,
    AnomalyMap,
    CaptureReport,
    CaptureStatus,
    ClockStatus,
    Counts,
    DeployedModel,
    DeploymentReport,
    EncodedPicture,
    InspectedFrame,
    Manifest,
    ModelResult,
    ModelsChanged,
    ModelStatus,
    ModelVersion,
    Picture,
    RawPicture,
    StateReport,
    Status,
    TensorCapture,
    Verdict,
    parse,
)
from edge_agent.rpc.edge_agent_v1.inspection import InspectionService
from edge_agent.rpc.edge_agent_v1.operator import OperatorService
from edge_agent.rpc.lookout.components import Components
from edge_agent.rpc.lookout.service import LookoutService
from edge_agent.rpc.ports import CapturePart, CaptureState, Layer
from edge_agent.rpc.sagemaker.models import ClientModels, LoadRules
from edge_agent.rpc.sagemaker.service import SageMakerService
from edge_agent.rpc.server import RpcServer, control_server, data_server
from edge_agent.telemetry.events import Events
from edge_agent.vision import decode, encode_jpeg, encode_png, from_raw, overlay

APPLICATIONS = {
    "image-classification-app": "img-classification",
    "image-segmentation-app": "unet",
    "anomaly-detection-app": "anomaly",
}
KINDS = {"img-classification": "classification", "unet": "segmentation", "anomaly": "anomaly"}
STATES = ("received", "downloading", "verifying", "building", "trying", "activating", "active", "succeeded")
SIZE = 10_000_000
KEPT = 64
_HELD_S = 60.0


def manifest_of(name: str, version: str, *, inputs: Sequence[Mapping[str, Any]] | None = None) -> Manifest:
    """A manifest of one ``[-1, 3]`` float32 input, or other ones."""
    digest = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    tensor = {"dtype": "float32", "shape": [-1, 3]}
    content = {
        "schema": "edge-agent/manifest/1",
        "model": name,
        "version": version,
        "release_seq": 1,
        "kind": KINDS.get(name, "classification"),
        "labels": ["normal", "defect"],
        "normal_labels": ["normal"],
        "runtime": {"name": "onnxruntime"},
        "inputs": list(inputs) if inputs is not None else [{"name": "image", **tensor}],
        "outputs": [{"name": "score", **tensor}],
        "preprocess": {"width": 64, "height": 64},
        "decision": {"threshold": 0.5},
        "golden": {"samples": [{"image": "golden/1.png", "score": 0.1, "verdict": "OK"}]},
        "artefacts": [
            {"path": "model.onnx", "role": "model", "size_bytes": 1, "sha256": digest},
            {"path": "golden/1.png", "role": "golden", "size_bytes": 2, "sha256": digest[::-1]},
        ],
    }
    return parse(Manifest, content, what="fake")


@dataclass
class _Recent:
    picture: bytes
    content_type: str
    masks: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


class FakeCore:
    """Every port of ``edge_agent.rpc`` in one object.

    A picture is NG when it has a red spot; the mask is where it is red. Answers of tensors
    are the inputs doubled. ``before_answer`` is called inside each request with its timeout.
    """

    def __init__(self, *, thing: str = "line-1", now: Callable[[], float] = time.time) -> None:
        self.events = Events(now=now)
        self.now = now
        self.started = now()
        self.thing = thing
        self.before_answer: Callable[[float], None] = lambda timeout_s: None
        self.models: dict[str, Manifest] = {name: manifest_of(name, "2") for name in KINDS}
        self.previous: dict[str, str | None] = dict.fromkeys(KINDS, "1")
        self.states: dict[str, str] = {}
        self.own: set[str] = set()
        self.deployment_reports: list[DeploymentReport] = []
        self.running: DeploymentReport | None = None
        self.installs: list[list[ModelVersion]] = []
        self.tensor_captures: dict[str, TensorCapture] = {}
        self.capture_reports: list[CaptureReport] = []
        self.paused: dict[str, bool] = {}
        self.frames: OrderedDict[str, _Recent] = OrderedDict()
        self.last_frame: InspectedFrame | None = None
        self.counts = Counts()
        self.timeouts: list[float] = []
        self.step_s = 0.0
        self.hold_at = ""
        """A deployment stands still in this state until it is let go."""
        self.let_go = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    # DataPlane, ModelCatalog, ModelLoader

    def infer(
        self, name: str, tensors: Mapping[str, NDArray[Any]], *, timeout_s: float
    ) -> tuple[ModelVersion, dict[str, NDArray[Any]]]:
        self.timeouts.append(timeout_s)
        self.before_answer(timeout_s)
        model = self.resolve(name)
        if model is None:
            raise InferenceError(Code.NOT_FOUND, f"no model {name}")
        return self.models[model].model_version, {f"doubled_{key}": value * 2 for key, value in tensors.items()}

    def active(self) -> dict[str, Any]:
        return {
            name: SimpleNamespace(manifest=manifest, state=self.states.get(name, "READY"))
            for name, manifest in self.models.items()
        }

    def resolve(self, name: str) -> str | None:
        fitting = [model for model in self.models if name == model or _names_version(name, model)]
        return max(fitting, key=len, default=None)

    def wait_for(self, name: str, timeout_s: float) -> None:
        """Every model is there or not."""

    def load(self, directory: Path, manifest: Manifest) -> None:
        self.own.add(manifest.model)
        self.models[manifest.model] = manifest

    def unload(self, model: str) -> None:
        self.own.remove(model)
        del self.models[model]

    # Inspector

    def inspect(
        self,
        picture: Picture,
        *,
        applications: Sequence[str],
        source: str,
        frame_name: str,
        with_mask: bool,
        with_heat_map: bool = False,
        frame_priority: bool,
        trial: bool = False,
        timeout_s: float,
    ) -> InspectedFrame:
        started = time.perf_counter()
        self.timeouts.append(timeout_s)
        self.before_answer(timeout_s)
        unknown = [name for name in applications if name not in APPLICATIONS]
        if unknown:
            raise InferenceError(Code.NOT_FOUND, f"no application {unknown[0]}")
        image = _decoded(picture)
        mask = _red(image)
        wanted = applications or tuple(APPLICATIONS)
        results = tuple(self._result(application, mask, with_mask=with_mask) for application in wanted)
        verdict = Verdict.NG if any(result.verdict is Verdict.NG for result in results) else Verdict.OK
        frame = InspectedFrame(
            id=f"f{next(self._numbers)}",
            at=self.now(),
            source=source,
            name=frame_name,
            verdict=verdict,
            results=results,
            milliseconds=(time.perf_counter() - started) * 1000,
            width=image.shape[1],
            height=image.shape[0],
        )
        self._keep(frame, _Recent(*_shown(picture, image), masks=dict.fromkeys(wanted, mask)))
        return frame

    def inspect_model(
        self, model: str, picture: Picture, *, application: str, source: str, timeout_s: float
    ) -> tuple[InspectedFrame, AnomalyMap | None]:
        frame = self.inspect(
            picture,
            applications=[application],
            source=source,
            frame_name="",
            with_mask=False,
            frame_priority=False,
            timeout_s=timeout_s,
        )
        if KINDS[model] == "classification":
            return frame, None
        mask = self.frames[frame.id].masks[application]
        return frame, _map_of(mask)

    def frame(self, frame_id: str, layer: Layer, application: str) -> tuple[bytes, str]:
        recent = self.frames.get(frame_id)
        if recent is None:
            raise InferenceError(Code.NOT_FOUND, f"no frame {frame_id} is kept")
        if layer == "picture":
            return recent.picture, recent.content_type
        if application not in recent.masks:
            raise InferenceError(Code.NOT_FOUND, f"frame {frame_id} has no mask of {application}")
        return overlay(recent.masks[application]), "image/png"

    def frame_map(self, frame_id: str, application: str) -> AnomalyMap:
        recent = self.frames.get(frame_id)
        if recent is None or application not in recent.masks:
            raise InferenceError(Code.NOT_FOUND, f"no mask of {application} is kept for frame {frame_id}")
        return _map_of(recent.masks[application])

    # Operator

    def status(self) -> Status:
        return Status(
            agent=AgentStatus(
                version="0.1.0", thing=self.thing, uptime_s=self.now() - self.started, state="READY", cloud="CONNECTED"
            ),
            models=self.model_statuses(),
            deployment=self.running,
            captures=CaptureStatus(
                pending=len(self.capture_reports), bytes=4096 * len(self.capture_reports), **self.paused
            ),
            clock=ClockStatus(now=self.now(), floor=1_700_000_000.0),
            counts=self.counts,
            last_frame=self.last_frame,
        )

    def deployments(self, deployment_id: str, limit: int) -> list[DeploymentReport]:
        everything = [*([self.running] if self.running else []), *reversed(self.deployment_reports)]
        if not deployment_id:
            return everything[:limit]
        found = [report for report in everything if report.id == deployment_id]
        if not found:
            raise InferenceError(Code.NOT_FOUND, f"no deployment {deployment_id}")
        return found

    def roll_back(self, model: str, reason: str, actor: str, *, timeout_s: float) -> DeploymentReport:
        self.timeouts.append(timeout_s)
        if model not in self.models:
            raise InferenceError(Code.NOT_FOUND, f"no model {model}")
        previous = self.previous[model]
        if previous is None:
            raise RefusedError(Code.NO_PREVIOUS, f"{model} has no previous version")
        report = self._begin(model, previous, "rollback", reason=f"{reason} ({actor})")
        return self._finish(report, previous_of=None)

    def install(self, models: Sequence[ModelVersion]) -> str:
        self.installs.append(list(models))
        report = self._begin(models[0].name, models[0].version, "install")
        threading.Thread(target=self._finish, args=(report,), daemon=True).start()
        return report.id

    def captures(self, limit: int, *, before: float = 0.0, verdict: str = "", state: str = "") -> list[CaptureReport]:
        found = (
            report
            for report in reversed(self.capture_reports)
            if (not before or report.at < before) and verdict in ("", report.verdict) and state in ("", report.state)
        )
        return list(found)[:limit]

    def capture_content(self, capture_id: str, part: CapturePart) -> tuple[bytes, str]:
        if part == "mask":
            raise InferenceError(Code.NOT_FOUND, f"capture {capture_id}: expected a mask, it was captured without one")
        return self.frame(capture_id, "picture", "")

    def label_capture(
        self,
        capture_id: str,
        label: str,
        actor: str,
        *,
        other: bool = False,
        role: str = "",
        user: str = "",
        instead_of: str | None = None,
    ) -> CaptureReport:
        with self._lock:
            for number, report in enumerate(self.capture_reports):
                if report.id == capture_id:
                    said = {"label": label, "labelled_by": actor if label else ""}
                    self.capture_reports[number] = report.model_copy(update=said)
                    return self.capture_reports[number]
        raise InferenceError(Code.NOT_FOUND, f"there is no capture {capture_id}")

    def pause_captures(self, capture: bool | None, upload: bool | None, actor: str) -> CaptureStatus:
        asked = {"capture_paused": capture, "upload_paused": upload}
        self.paused = {**self.paused, **{name: value for name, value in asked.items() if value is not None}}
        return self.status().captures

    # TensorCaptures

    def capture_tensors(self, capture: TensorCapture) -> None:
        with self._lock:
            if capture.capture_id in self.tensor_captures:
                raise InferenceError(Code.ALREADY_EXISTS, f"capture {capture.capture_id} was taken before")
            if len(self.tensor_captures) >= KEPT:
                raise InferenceError(Code.RESOURCE_EXHAUSTED, "the spool is full")
            self.tensor_captures[capture.capture_id] = capture

    def capture_state(self, capture_id: str) -> CaptureState | None:
        return "SUCCESS" if capture_id in self.tensor_captures else None

    # for tests and the process

    def model_statuses(self) -> tuple[ModelStatus, ...]:
        return tuple(self._model_status(name, manifest) for name, manifest in self.models.items())

    def _model_status(self, name: str, manifest: Manifest) -> ModelStatus:
        staged = self.running is not None and any(model.name == name for model in self.running.models)
        return ModelStatus(
            name=name,
            active=manifest.version,
            previous=self.previous.get(name),
            staged=self.running.models[0].to if staged and self.running else None,
            state="READY",
            runtime="onnxruntime",
            provider="CPUExecutionProvider",
            memory_bytes=90_000_000,
            kind=manifest.kind.value,
            threshold=manifest.decision.threshold,
            applications=tuple(app for app, model in APPLICATIONS.items() if model == name),
            labels=manifest.labels,
            normal_labels=manifest.normal_labels,
        )

    def _result(self, application: str, mask: NDArray[np.uint8], *, with_mask: bool) -> ModelResult:
        manifest = self.models[APPLICATIONS[application]]
        area = float((mask > 0).mean())
        score = min(0.1 + area * 20, 0.99)
        defective = score >= manifest.decision.threshold
        return ModelResult(
            application=application,
            model=manifest.model,
            version=manifest.version,
            kind=manifest.kind.value,
            verdict=Verdict.NG if defective else Verdict.OK,
            score=score,
            threshold=manifest.decision.threshold,
            label="defect" if defective else "normal",
            mask_png=encode_png(mask) if with_mask and manifest.kind.value != "classification" else b"",
            area=area,
            milliseconds=8.0,
        )

    def _keep(self, frame: InspectedFrame, recent: _Recent) -> None:
        with self._lock:
            self.frames[frame.id] = recent
            while len(self.frames) > KEPT:
                self.frames.popitem(last=False)
            self.last_frame = frame
            name = frame.verdict.value.lower()
            self.counts = self.counts.model_copy(update={name: getattr(self.counts, name) + 1})
            if frame.verdict is Verdict.NG:
                self.capture_reports.append(_capture(frame))
        self.events.publish(frame)
        self.events.publish(self.counts)

    def _begin(self, model: str, version: str, operation: str, reason: str = "") -> DeploymentReport:
        self.running = DeploymentReport(
            id=f"d{next(self._numbers)}",
            job_id="" if operation == "rollback" else f"job-{model}-{version}",
            operation=operation,
            models=(DeployedModel(name=model, from_=self.models[model].version, to=version),),
            state=STATES[0],
            reason=reason,
            started=self.now(),
            bytes_total=0 if operation == "rollback" else SIZE,
        )
        self.events.publish(self.running)
        return self.running

    def _finish(self, report: DeploymentReport, previous_of: str | None = "before") -> DeploymentReport:
        for state in STATES[1:]:
            time.sleep(self.step_s)
            now = self.now()
            stay = StateReport(state=report.state, at=now, seconds=self.step_s, figures={"p50_ms": 8.0})
            done = report.bytes_total if state != "downloading" else report.bytes_total // 2
            report = report.model_copy(update={"state": state, "bytes_done": done, "states": (*report.states, stay)})
            self.running = report
            self.events.publish(report)
            if state == self.hold_at:
                self.let_go.wait(_HELD_S)
        (model,) = report.models
        self.previous[model.name] = self.models[model.name].version if previous_of else None
        self.models[model.name] = manifest_of(model.name, model.to or "1")
        report = report.model_copy(update={"ended": self.now()})
        self.running = None
        self.deployment_reports.append(report)
        self.events.publish(report)
        self.events.publish(ModelsChanged(models=self.model_statuses()))
        return report


@dataclass
class Served:
    """A fake core behind the real servers."""

    core: FakeCore
    data: RpcServer
    control: RpcServer
    models: ClientModels
    runtime_dir: Path


@contextmanager
def served(
    runtime_dir: Path, *, core: FakeCore | None = None, rpc: Rpc | None = None, rules: LoadRules | None = None
) -> Iterator[Served]:
    """The core behind ``agent.sock``, ``control.sock`` and a free TCP port."""
    core = core or FakeCore()
    # A thread that has answered may have a while to go, so a caller needs more than one for calls one after the other.
    rpc = rpc or Rpc(tcp="127.0.0.1:0", threads=8)
    rules = rules or LoadRules(runtime_dir / "versions", lambda digest: False)
    models = ClientModels(core, core, rules)
    protocols = (
        InspectionService(core),
        SageMakerService(models, core, core, now=core.now),
        LookoutService(Components(core, lambda: APPLICATIONS), core),
    )
    data = data_server(rpc, runtime_dir, [protocol.as_service() for protocol in protocols])
    control = control_server(runtime_dir, [OperatorService(core, core, core.events, core).as_service()])
    for server in (data, control):
        server.start()
        server.set_serving(serving=True)
    try:
        yield Served(core, data, control, models, runtime_dir)
    finally:
        core.events.close()
        control.stop(1.0)
        data.stop(1.0)


def drawn_part(number: int, width: int = 320, height: int = 240) -> bytes:
    """A JPEG of a grey part; every third has a red spot that wanders."""
    image = np.full((height, width, 3), 235, np.uint8)
    rows, columns = np.ogrid[:height, :width]
    image[(rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height * 0.4) ** 2] = 150
    if number % 3 == 2:
        row, column = height * (0.35 + 0.03 * (number % 10)), width * (0.4 + 0.02 * (number % 10))
        image[(rows - row) ** 2 + (columns - column) ** 2 < (height * 0.1) ** 2] = (200, 20, 20)
    return encode_jpeg(image)


def _names_version(name: str, model: str) -> bool:
    return name.startswith(f"{model}-") and name[len(model) + 1 :].replace("-", "").isdigit()


def _map_of(mask: NDArray[np.uint8]) -> AnomalyMap:
    rows, columns = mask.shape
    logits = np.where(mask > 0, np.float32(9), np.float32(-9))
    return AnomalyMap(logits.tobytes(), rows, columns, 0.5, columns, rows)


def _decoded(picture: Picture) -> NDArray[np.uint8]:
    return from_raw(*picture) if isinstance(picture, RawPicture) else decode(picture.content)


def _shown(picture: Picture, image: NDArray[np.uint8]) -> tuple[bytes, str]:
    if isinstance(picture, EncodedPicture) and not picture.content.startswith(b"\x89PNG"):
        return picture.content, "image/jpeg"
    return encode_png(image), "image/png"


def _red(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    spread = image[..., 0].astype(int) - image[..., 1:].max(axis=2)
    return np.where(spread > 80, 255, 0).astype(np.uint8)


def _capture(frame: InspectedFrame) -> CaptureReport:
    result = frame.results[0]
    return CaptureReport(
        id=frame.id,
        at=frame.at,
        model=result.model,
        version=result.version,
        verdict=frame.verdict.value,
        state="PENDING",
        bytes=4096,
    )


def _work(core: FakeCore, rate_hz: float, ended: threading.Event) -> None:
    for number in itertools.count():
        if ended.wait(1 / rate_hz):
            return
        picture = EncodedPicture(drawn_part(number))
        core.inspect(
            picture,
            applications=(),
            source="line camera",
            frame_name=f"part-{number:05}.jpg",
            with_mask=False,
            frame_priority=True,
            timeout_s=2.0,
        )
        if number % 60 == 20:
            model = "unet" if number % 120 == 20 else "img-classification"
            core.install([ModelVersion(model, str(int(core.models[model].version) + 1))])


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime-dir", type=Path, default=None, help="where the sockets go")
    parser.add_argument("--rate-hz", type=float, default=2.0, help="drawn parts in a second")
    parser.add_argument("--tcp", default="", help="address of the data plane over TCP")
    arguments = parser.parse_args()
    runtime_dir = arguments.runtime_dir or Path(tempfile.mkdtemp())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    core = FakeCore()
    core.step_s = 1.0
    with served(runtime_dir, core=core, rpc=Rpc(tcp=arguments.tcp)):
        worker = threading.Thread(target=_work, args=(core, arguments.rate_hz, ended))
        worker.start()
        sys.stdout.write(f"serving in {runtime_dir}\n")
        sys.stdout.flush()
        ended.wait()
        worker.join()


if __name__ == "__main__":
    main()
