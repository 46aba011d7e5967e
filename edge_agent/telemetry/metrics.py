"""Figures for Prometheus; the one door to prometheus_client.

Names that users of Triton know mean here what they mean there. The rest is ours.
``described`` lists all of them for the documentation.
"""

import contextlib
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple, TypeVar
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from edge_agent.config import is_loopback
from edge_agent.errors import AgentError, Code, ConfigError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MODEL = ("model", "version")
_MICROSECONDS = 1e6
# Every version that answers costs some 40 KB of series, and a device sees hundreds in its life.
LIMIT_VERSIONS = 64
_LABELS: dict[str, tuple[str, ...]] = {}


class Description(NamedTuple):
    """One metric, as the documentation lists it."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]


class Durations(NamedTuple):
    """Where the time of one request went, in seconds."""

    total_s: float
    queue_s: float = 0.0
    decode_s: float = 0.0
    preprocess_s: float = 0.0
    compute_s: float = 0.0
    output_s: float = 0.0


_PHASE_NAMES = tuple(field.removesuffix("_s") for field in Durations._fields)


class _Registry(CollectorRegistry):
    """All figures; those that nobody tells by himself are asked for when somebody reads them."""

    def __init__(self) -> None:
        super().__init__(auto_describe=True)
        self.refreshers: list[Callable[[], None]] = []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        # What was known last is told where it cannot be refreshed; the trouble itself is shown by whoever has it.
        for refresh in self.refreshers:
            with contextlib.suppress(AgentError):
                refresh()
        yield from super().collect()


class _TritonCounters(Collector):
    """Counters under Triton's very names, which lack the suffix that this library adds."""

    MEANINGS = {  # noqa: RUF012 - a table
        "nv_inference_request_success": "Requests that were answered",
        "nv_inference_request_failure": "Requests that failed",
        "nv_inference_count": "Inferences that were made, each element of a batch counted",
        "nv_inference_request_duration_us": "Time of all requests, waiting included",
        "nv_inference_queue_duration_us": "Time that all requests waited",
        "nv_inference_compute_input_duration_us": "Time of decoding, preprocessing and copying inputs",
        "nv_inference_compute_infer_duration_us": "Time that the runtime computed",
        "nv_inference_compute_output_duration_us": "Time of copying outputs",
    }

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[tuple[str, str, str], float]] = {
            name: defaultdict(float) for name in self.MEANINGS
        }

    def add(self, model: str, version: str, amounts: Mapping[str, float], reason: str = "") -> None:
        """Count; ``reason`` is the code of a failure."""
        with self._lock:
            for name, amount in amounts.items():
                self._values[name][model, version, reason] += amount

    def forget(self, model: str, version: str) -> None:
        """Drop what was counted of a version."""
        with self._lock:
            for labelled in self._values.values():
                for key in [key for key in labelled if key[:2] == (model, version)]:
                    del labelled[key]

    def labels(self, name: str) -> tuple[str, ...]:
        """Return the labels of one counter; only failures have a reason."""
        return (*_MODEL, "reason") if name == "nv_inference_request_failure" else _MODEL

    def collect(self) -> Iterable[Metric]:
        """Return everything that was counted."""
        with self._lock:
            values = {name: dict(labelled) for name, labelled in self._values.items()}
        for name, labelled in values.items():
            metric = Metric(name, self.MEANINGS[name], "unknown")
            for (model, version, reason), value in labelled.items():
                labels = {"model": model, "version": version} | ({"reason": reason} if reason else {})
                metric.add_sample(name, labels, value)
            yield metric


M = TypeVar("M", Counter, Gauge, Histogram)


class _Labelled(Generic[M]):
    """One metric's series by their labels; the library's own way to them checks and locks for each figure."""

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._lock = threading.Lock()
        self._series: dict[tuple[str, ...], M] = {}

    def at(self, *labels: str) -> M:
        """Return the series of these labels."""
        found = self._series.get(labels)
        if found is None:
            with self._lock:
                found = self._series[labels] = self._metric.labels(*labels)
        return found

    def forget(self, *labels: str) -> None:
        """Drop the series of these labels, if there is one."""
        with self._lock, contextlib.suppress(KeyError):
            self._series.pop(labels, None)
            self._metric.remove(*labels)


class _Recent:
    """Versions in the order of their last request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: OrderedDict[tuple[str, str], None] = OrderedDict()

    def note(self, model: str, version: str) -> tuple[str, str] | None:
        """Note a request; return the version that is to be forgotten for it, if there are too many."""
        with self._lock:
            self._versions[model, version] = None
            self._versions.move_to_end((model, version))
            return self._versions.popitem(last=False)[0] if len(self._versions) > LIMIT_VERSIONS else None


def _counter(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Counter:
    return Counter(_named(name, labels), meaning, labels, registry=_REGISTRY)


def _gauge(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(_named(name, labels), meaning, labels, registry=_REGISTRY)


def _histogram(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Histogram:
    return Histogram(_named(name, labels), meaning, labels, buckets=_SECONDS, registry=_REGISTRY)


def _named(name: str, labels: tuple[str, ...]) -> str:
    full = f"edge_agent_{name}"
    _LABELS[full] = labels
    return full


_REGISTRY = _Registry()
_TRITON = _TritonCounters()
_REGISTRY.register(_TRITON)
_PHASES = _Labelled(_histogram("request_phase_seconds", "Time of requests by phase", (*_MODEL, "phase")))
_WAITING = _Labelled(_gauge("requests_in_flight", "Requests of a model that wait or are being answered", ("model",)))
_IN_FLIGHT = _Labelled(_gauge("calls_in_flight", "Calls being answered", ("method",)))
_CALLS = _Labelled(_counter("calls", "Calls by method and gRPC status", ("method", "status")))
_CALL_SECONDS = _Labelled(_histogram("call_seconds", "Time of calls by method", ("method",)))
_FAULTS = _counter("faults", "Calls that ended in a fault of the agent")
_INSPECTIONS = _counter("inspections", "Inspected frames by verdict", ("verdict",))
_GOLDEN = _gauge("golden_check", "State of the golden parts' check; 1 for the one it is in", ("state",))
_MODELS = _gauge("model_info", "Model versions by state; 1 for the one it is in", (*_MODEL, "state"))
_MEMORY = _gauge("worker_memory_bytes", "Resident memory of a version's worker", _MODEL)
_FALLBACKS = _gauge(
    "provider_fallback", "1 where a model is not executed by what was wanted, say the CPU in place of the GPU", _MODEL
)
_BANK_DISTANCE = _gauge("bank_distance", "Median distance of the newest parts to those that a model learnt", _MODEL)
_BANK_FAR = _gauge("bank_far_share", "Share of the newest parts beyond what good parts kept within at training", _MODEL)
_BANK_DRIFT = _gauge("bank_drift", "How much farther than good parts at training the newest parts lie, 0 to 1", _MODEL)
_RESTARTS = _counter("worker_restarts", "Workers that died or hung and were replaced", _MODEL)
_SWAPS = _counter("swaps", "Activations of another version", ("model",))
_SHADOW = _counter("shadow_comparisons", "Live requests that a candidate answered too", ("model", "agreed"))
_DEPLOYMENTS = _counter("deployment_states", "Deployments that entered a state", ("state",))
_DOWNLOADED = _counter("download_bytes", "Bytes that came from the repository")
_DAMAGED = _gauge("damaged_versions", "Stored versions of which the disk lost bits, and which are not mended yet")
_MENDED = _counter("mended_versions", "Stored versions that were mended out of the repository")
_CAPTURES = _gauge("captures", "Captures in the spool by state", ("state",))
_CAPTURE_BYTES = _gauge("capture_bytes", "Disk space that the spool takes")
_CERTIFICATE = _gauge("certificate_end_seconds", "When the device's certificate ends, seconds since 1970")
_DROPPED = _counter("captures_dropped", "Captures that were not kept: no room, no encoding, or no time at the stop")
_UNSENT = _gauge("labels_unsent", "Labels of captures that the cloud does not have yet")
_NEWS = _counter("inspection_news_dropped", "Inspections that the cloud was not told, as too many waited")
_EVENTS = _counter("events_dropped", "Events that a slow reader missed")
_CAMERA_UP = _Labelled(
    _gauge("camera_up", "1 where a camera gives pictures, 0 where it or its station is away", ("camera",))
)
_CAMERA_FRAMES = _Labelled(_counter("camera_frames", "Pictures of a camera that were inspected", ("camera",)))
_CAMERA_FAILURES = _Labelled(
    _counter("camera_failures", "Times that a camera, or the agent for it, was away", ("camera",))
)
_RECENT = _Recent()


def show_certificate(ends: float) -> None:
    """Tell when the device's certificate ends, epoch seconds."""
    _CERTIFICATE.set(ends)


def refresh_with(refresh: Callable[[], None]) -> None:
    """Call this before figures are read, to tell those that change by themselves, as memory does."""
    _REGISTRY.refreshers.append(refresh)


def stop_refreshing(refresh: Callable[[], None]) -> None:
    """Call it no more."""
    _REGISTRY.refreshers.remove(refresh)


def observe_request(model: str, version: str, durations: Durations, *, inferences: int = 1) -> None:
    """Count one answered request and where its time went; versions that were not asked for long are forgotten.

    Args:
        model: the model's name.
        version: which answered.
        durations: where the time went.
        inferences: elements of its batch.
    """
    _note(model, version)
    amounts = {
        "nv_inference_request_success": 1.0,
        "nv_inference_count": float(inferences),
        "nv_inference_request_duration_us": durations.total_s * _MICROSECONDS,
        "nv_inference_queue_duration_us": durations.queue_s * _MICROSECONDS,
        "nv_inference_compute_input_duration_us": (durations.decode_s + durations.preprocess_s) * _MICROSECONDS,
        "nv_inference_compute_infer_duration_us": durations.compute_s * _MICROSECONDS,
        "nv_inference_compute_output_duration_us": durations.output_s * _MICROSECONDS,
    }
    _TRITON.add(model, version, amounts)
    for phase, seconds in zip(_PHASE_NAMES, durations, strict=True):
        if seconds or phase == "total":
            _PHASES.at(model, version, phase).observe(seconds)


def count_failure(model: str, version: str, code: Code) -> None:
    """Count one failed request."""
    _note(model, version)
    _TRITON.add(model, version, {"nv_inference_request_failure": 1.0}, reason=code.value)


def _note(model: str, version: str) -> None:
    oldest = _RECENT.note(model, version)
    if oldest is None:
        return
    _TRITON.forget(*oldest)
    for phase in _PHASE_NAMES:
        _PHASES.forget(*oldest, phase)


def request_in_flight(model: str) -> AbstractContextManager[object]:
    """Return a context that counts one request of a model, from its lease to its answer."""
    return _WAITING.at(model).track_inprogress()


def call_in_flight(method: str) -> AbstractContextManager[object]:
    """Return a context that counts one call as being answered."""
    return _IN_FLIGHT.at(method).track_inprogress()


def count_call(method: str, status: str, seconds: float | None = None) -> None:
    """Count one ended call; a stream tells no time."""
    _CALLS.at(method, status).inc()
    if seconds is not None:
        _CALL_SECONDS.at(method).observe(seconds)


def count_fault() -> None:
    """Count a programmer's error that one call ran into."""
    _FAULTS.inc()


def count_inspection(verdict: str) -> None:
    """Count one inspected frame."""
    _INSPECTIONS.labels(verdict).inc()


def show_golden(state: str) -> None:
    """Show in which state the golden parts' check is."""
    _GOLDEN.clear()
    _GOLDEN.labels(state).set(1)


def show_models(models: Iterable[tuple[str, str, str]]) -> None:
    """Show name, version and state of every known model, and forget others."""
    _MODELS.clear()
    for name, version, state in models:
        _MODELS.labels(name, version, state).set(1)


def show_workers(workers: Iterable[tuple[str, str, int]]) -> None:
    """Show name, version and memory of every loaded version, and forget others."""
    _MEMORY.clear()
    for name, version, memory_bytes in workers:
        _MEMORY.labels(name, version).set(memory_bytes)


def show_banks(banks: Iterable[tuple[str, str, float, float, float]]) -> None:
    """Show name, version, distance, share of far parts and drift of every memory bank, and forget others."""
    for gauge in (_BANK_DISTANCE, _BANK_FAR, _BANK_DRIFT):
        gauge.clear()
    for name, version, *figures in banks:
        for gauge, figure in zip((_BANK_DISTANCE, _BANK_FAR, _BANK_DRIFT), figures, strict=True):
            gauge.labels(name, version).set(figure)


def show_fallbacks(models: Iterable[tuple[str, str, bool]]) -> None:
    """Show name and version of every loaded version, and whether something else executes it than wanted."""
    _FALLBACKS.clear()
    for name, version, fell_back in models:
        _FALLBACKS.labels(name, version).set(fell_back)


def count_worker_restart(model: str, version: str) -> None:
    """Count one worker that was replaced."""
    _RESTARTS.labels(model, version).inc()


def count_swap(model: str) -> None:
    """Count one activation."""
    _SWAPS.labels(model).inc()


def count_shadow(model: str, *, agreed: bool) -> None:
    """Count one live request that a candidate answered as well."""
    _SHADOW.labels(model, str(agreed).lower()).inc()


def count_deployment_state(state: str) -> None:
    """Count a deployment that entered ``state``."""
    _DEPLOYMENTS.labels(state).inc()


def show_damaged(versions: int) -> None:
    """Show how many stored versions are damaged."""
    _DAMAGED.set(versions)


def count_mended() -> None:
    """Count a version that was mended."""
    _MENDED.inc()


def count_download(size_bytes: int) -> None:
    """Count bytes that arrived."""
    _DOWNLOADED.inc(size_bytes)


def show_captures(pending: int, failed: int, size_bytes: int) -> None:
    """Show the spool."""
    _CAPTURES.labels("pending").set(pending)
    _CAPTURES.labels("failed").set(failed)
    _CAPTURE_BYTES.set(size_bytes)


def show_unsent_labels(amount: int) -> None:
    """Show how many labels wait for the cloud."""
    _UNSENT.set(amount)


def count_dropped_capture() -> None:
    """Count one capture that was not kept."""
    _DROPPED.inc()


def count_dropped_news() -> None:
    """Count one inspection of which the cloud is told nothing."""
    _NEWS.inc()


def count_dropped_events(amount: int) -> None:
    """Count events that a reader was too slow for."""
    _EVENTS.inc(amount)


def show_camera(camera: str, *, up: bool, frames: int, failures: int) -> None:
    """Show whether a camera is up; count what is new of it."""
    _CAMERA_UP.at(camera).set(up)
    _CAMERA_FRAMES.at(camera).inc(frames)
    _CAMERA_FAILURES.at(camera).inc(failures)


def forget_camera(camera: str) -> None:
    """Drop the series of a camera that is no more."""
    for labelled in (_CAMERA_UP, _CAMERA_FRAMES, _CAMERA_FAILURES):
        labelled.forget(camera)


def exposition() -> bytes:
    """Return all figures as Prometheus reads them."""
    return generate_latest(_REGISTRY)


def described() -> Iterator[Description]:
    """Yield every metric with its kind, meaning and labels."""
    for metric in _REGISTRY.collect():
        labels = _LABELS.get(metric.name, _TRITON.labels(metric.name))
        yield Description(metric.name, metric.type, metric.documentation, labels)


class MetricsServer:
    """``/metrics`` on loopback.

    Args:
        address: ``host:port``; port 0 takes a free one.

    Raises:
        ConfigError: the address is not loopback, or somebody else uses it.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not is_loopback(host):
            message = f"telemetry.metrics: expected a loopback address, since it asks for no login, came {address}"
            raise ConfigError(Code.CONFIG_INVALID, message)
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), _REGISTRY)
        except (OSError, OverflowError) as exc:
            raise ConfigError(Code.CONFIG_INVALID, f"telemetry.metrics: cannot listen on {address}: {exc}") from exc
        self._thread.name = "metrics"

    @property
    def port(self) -> int:
        """Return the port."""
        server: WSGIServer = self._server
        return server.server_port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
