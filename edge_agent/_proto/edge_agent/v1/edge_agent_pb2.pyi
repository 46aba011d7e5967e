from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NO_RESULT: _ClassVar[Verdict]
    OK: _ClassVar[Verdict]
    NG: _ClassVar[Verdict]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINE: _ClassVar[Priority]
    FRAME: _ClassVar[Priority]
NO_RESULT: Verdict
OK: Verdict
NG: Verdict
LINE: Priority
FRAME: Priority

class RawImage(_message.Message):
    __slots__ = ("width", "height", "rgb")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    RGB_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    rgb: bytes
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., rgb: _Optional[bytes] = ...) -> None: ...

class SharedImage(_message.Message):
    __slots__ = ("name", "offset", "width", "height")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    offset: int
    width: int
    height: int
    def __init__(self, name: _Optional[str] = ..., offset: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("encoded", "raw", "shared", "applications", "source", "frame_name", "with_mask", "priority", "drawing", "trial")
    class Drawing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NONE: _ClassVar[InspectRequest.Drawing]
        MASK: _ClassVar[InspectRequest.Drawing]
        HEAT_MAP: _ClassVar[InspectRequest.Drawing]
    NONE: InspectRequest.Drawing
    MASK: InspectRequest.Drawing
    HEAT_MAP: InspectRequest.Drawing
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    APPLICATIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FRAME_NAME_FIELD_NUMBER: _ClassVar[int]
    WITH_MASK_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DRAWING_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawImage
    shared: SharedImage
    applications: _containers.RepeatedScalarFieldContainer[str]
    source: str
    frame_name: str
    with_mask: bool
    priority: Priority
    drawing: InspectRequest.Drawing
    trial: bool
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawImage, _Mapping]] = ..., shared: _Optional[_Union[SharedImage, _Mapping]] = ..., applications: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ..., frame_name: _Optional[str] = ..., with_mask: bool = ..., priority: _Optional[_Union[Priority, str]] = ..., drawing: _Optional[_Union[InspectRequest.Drawing, str]] = ..., trial: bool = ...) -> None: ...

class ModelResult(_message.Message):
    __slots__ = ("application", "model", "version", "kind", "verdict", "score", "threshold", "label", "mask_png", "area", "milliseconds", "message", "heat_map_png", "skipped")
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MASK_PNG_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HEAT_MAP_PNG_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    application: str
    model: str
    version: str
    kind: str
    verdict: Verdict
    score: float
    threshold: float
    label: str
    mask_png: bytes
    area: float
    milliseconds: float
    message: str
    heat_map_png: bytes
    skipped: bool
    def __init__(self, application: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., kind: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., score: _Optional[float] = ..., threshold: _Optional[float] = ..., label: _Optional[str] = ..., mask_png: _Optional[bytes] = ..., area: _Optional[float] = ..., milliseconds: _Optional[float] = ..., message: _Optional[str] = ..., heat_map_png: _Optional[bytes] = ..., skipped: bool = ...) -> None: ...

class InspectResponse(_message.Message):
    __slots__ = ("frame_id", "verdict", "results", "milliseconds", "message", "width", "height")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    frame_id: str
    verdict: Verdict
    results: _containers.RepeatedCompositeFieldContainer[ModelResult]
    milliseconds: float
    message: str
    width: int
    height: int
    def __init__(self, frame_id: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., results: _Optional[_Iterable[_Union[ModelResult, _Mapping]]] = ..., milliseconds: _Optional[float] = ..., message: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AgentStatus(_message.Message):
    __slots__ = ("version", "thing", "uptime_s", "state", "cloud", "message")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    THING_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CLOUD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    version: str
    thing: str
    uptime_s: float
    state: str
    cloud: str
    message: str
    def __init__(self, version: _Optional[str] = ..., thing: _Optional[str] = ..., uptime_s: _Optional[float] = ..., state: _Optional[str] = ..., cloud: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("name", "active", "previous", "state", "runtime", "provider", "memory_bytes", "kind", "threshold", "applications", "staged", "signed_threshold", "message", "labels", "normal_labels", "bank")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    APPLICATIONS_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    SIGNED_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NORMAL_LABELS_FIELD_NUMBER: _ClassVar[int]
    BANK_FIELD_NUMBER: _ClassVar[int]
    name: str
    active: str
    previous: str
    state: str
    runtime: str
    provider: str
    memory_bytes: int
    kind: str
    threshold: float
    applications: _containers.RepeatedScalarFieldContainer[str]
    staged: str
    signed_threshold: float
    message: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    normal_labels: _containers.RepeatedScalarFieldContainer[str]
    bank: BankStatus
    def __init__(self, name: _Optional[str] = ..., active: _Optional[str] = ..., previous: _Optional[str] = ..., state: _Optional[str] = ..., runtime: _Optional[str] = ..., provider: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., kind: _Optional[str] = ..., threshold: _Optional[float] = ..., applications: _Optional[_Iterable[str]] = ..., staged: _Optional[str] = ..., signed_threshold: _Optional[float] = ..., message: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., normal_labels: _Optional[_Iterable[str]] = ..., bank: _Optional[_Union[BankStatus, _Mapping]] = ...) -> None: ...

class BankStatus(_message.Message):
    __slots__ = ("state", "message", "parts", "seen", "needed", "distance", "limit", "far_share", "drift")
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FAR_SHARE_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    state: str
    message: str
    parts: int
    seen: int
    needed: int
    distance: float
    limit: float
    far_share: float
    drift: float
    def __init__(self, state: _Optional[str] = ..., message: _Optional[str] = ..., parts: _Optional[int] = ..., seen: _Optional[int] = ..., needed: _Optional[int] = ..., distance: _Optional[float] = ..., limit: _Optional[float] = ..., far_share: _Optional[float] = ..., drift: _Optional[float] = ...) -> None: ...

class CaptureStatus(_message.Message):
    __slots__ = ("pending", "failed", "bytes", "oldest_s", "uploaded", "message", "capture_paused", "upload_paused", "dropped", "quota_bytes", "kept_here")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_S_FIELD_NUMBER: _ClassVar[int]
    UPLOADED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_PAUSED_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_PAUSED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    KEPT_HERE_FIELD_NUMBER: _ClassVar[int]
    pending: int
    failed: int
    bytes: int
    oldest_s: float
    uploaded: int
    message: str
    capture_paused: bool
    upload_paused: bool
    dropped: int
    quota_bytes: int
    kept_here: bool
    def __init__(self, pending: _Optional[int] = ..., failed: _Optional[int] = ..., bytes: _Optional[int] = ..., oldest_s: _Optional[float] = ..., uploaded: _Optional[int] = ..., message: _Optional[str] = ..., capture_paused: bool = ..., upload_paused: bool = ..., dropped: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., kept_here: bool = ...) -> None: ...

class ClockStatus(_message.Message):
    __slots__ = ("trusted", "now", "floor")
    TRUSTED_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    trusted: bool
    now: float
    floor: float
    def __init__(self, trusted: bool = ..., now: _Optional[float] = ..., floor: _Optional[float] = ...) -> None: ...

class Counts(_message.Message):
    __slots__ = ("ok", "ng", "no_result")
    OK_FIELD_NUMBER: _ClassVar[int]
    NG_FIELD_NUMBER: _ClassVar[int]
    NO_RESULT_FIELD_NUMBER: _ClassVar[int]
    ok: int
    ng: int
    no_result: int
    def __init__(self, ok: _Optional[int] = ..., ng: _Optional[int] = ..., no_result: _Optional[int] = ...) -> None: ...

class CameraStatus(_message.Message):
    __slots__ = ("id", "kind", "state", "message", "since", "frames", "skipped", "failures", "rate_hz", "lost")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    state: str
    message: str
    since: float
    frames: int
    skipped: int
    failures: int
    rate_hz: float
    lost: int
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., state: _Optional[str] = ..., message: _Optional[str] = ..., since: _Optional[float] = ..., frames: _Optional[int] = ..., skipped: _Optional[int] = ..., failures: _Optional[int] = ..., rate_hz: _Optional[float] = ..., lost: _Optional[int] = ...) -> None: ...

class ReportCameraRequest(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: CameraStatus
    def __init__(self, camera: _Optional[_Union[CameraStatus, _Mapping]] = ...) -> None: ...

class ReportCameraResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ScoreHistogram(_message.Message):
    __slots__ = ("application", "model", "threshold", "bins")
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    BINS_FIELD_NUMBER: _ClassVar[int]
    application: str
    model: str
    threshold: float
    bins: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, application: _Optional[str] = ..., model: _Optional[str] = ..., threshold: _Optional[float] = ..., bins: _Optional[_Iterable[int]] = ...) -> None: ...

class LatencyPoint(_message.Message):
    __slots__ = ("at", "p50_ms", "p95_ms", "count")
    AT_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    at: float
    p50_ms: float
    p95_ms: float
    count: int
    def __init__(self, at: _Optional[float] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., count: _Optional[int] = ...) -> None: ...

class Shift(_message.Message):
    __slots__ = ("name", "began", "ends", "counts", "scores", "latency", "running", "reset_by")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    RESET_BY_FIELD_NUMBER: _ClassVar[int]
    name: str
    began: float
    ends: float
    counts: Counts
    scores: _containers.RepeatedCompositeFieldContainer[ScoreHistogram]
    latency: _containers.RepeatedCompositeFieldContainer[LatencyPoint]
    running: bool
    reset_by: str
    def __init__(self, name: _Optional[str] = ..., began: _Optional[float] = ..., ends: _Optional[float] = ..., counts: _Optional[_Union[Counts, _Mapping]] = ..., scores: _Optional[_Iterable[_Union[ScoreHistogram, _Mapping]]] = ..., latency: _Optional[_Iterable[_Union[LatencyPoint, _Mapping]]] = ..., running: bool = ..., reset_by: _Optional[str] = ...) -> None: ...

class GoldenPart(_message.Message):
    __slots__ = ("name", "expected", "verdict", "message", "score")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    expected: Verdict
    verdict: Verdict
    message: str
    score: float
    def __init__(self, name: _Optional[str] = ..., expected: _Optional[_Union[Verdict, str]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., message: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class GoldenCheck(_message.Message):
    __slots__ = ("state", "at", "message", "parts", "actor")
    STATE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    state: str
    at: float
    message: str
    parts: _containers.RepeatedCompositeFieldContainer[GoldenPart]
    actor: str
    def __init__(self, state: _Optional[str] = ..., at: _Optional[float] = ..., message: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[GoldenPart, _Mapping]]] = ..., actor: _Optional[str] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("agent", "models", "deployment", "captures", "clock", "counts", "last_frame", "cameras", "rule", "shift", "golden")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    CAPTURES_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LAST_FRAME_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    agent: AgentStatus
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    deployment: Deployment
    captures: CaptureStatus
    clock: ClockStatus
    counts: Counts
    last_frame: Frame
    cameras: _containers.RepeatedCompositeFieldContainer[CameraStatus]
    rule: str
    shift: Shift
    golden: GoldenCheck
    def __init__(self, agent: _Optional[_Union[AgentStatus, _Mapping]] = ..., models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., deployment: _Optional[_Union[Deployment, _Mapping]] = ..., captures: _Optional[_Union[CaptureStatus, _Mapping]] = ..., clock: _Optional[_Union[ClockStatus, _Mapping]] = ..., counts: _Optional[_Union[Counts, _Mapping]] = ..., last_frame: _Optional[_Union[Frame, _Mapping]] = ..., cameras: _Optional[_Iterable[_Union[CameraStatus, _Mapping]]] = ..., rule: _Optional[str] = ..., shift: _Optional[_Union[Shift, _Mapping]] = ..., golden: _Optional[_Union[GoldenCheck, _Mapping]] = ...) -> None: ...

class DeployedModel(_message.Message):
    __slots__ = ("name", "to", "threshold")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    name: str
    to: str
    threshold: float
    def __init__(self, name: _Optional[str] = ..., to: _Optional[str] = ..., threshold: _Optional[float] = ..., **kwargs) -> None: ...

class DeploymentState(_message.Message):
    __slots__ = ("state", "at", "seconds", "bytes", "figures")
    class FiguresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    state: str
    at: float
    seconds: float
    bytes: int
    figures: _containers.ScalarMap[str, float]
    def __init__(self, state: _Optional[str] = ..., at: _Optional[float] = ..., seconds: _Optional[float] = ..., bytes: _Optional[int] = ..., figures: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Deployment(_message.Message):
    __slots__ = ("id", "job_id", "models", "operation", "state", "code", "message", "started", "ended", "states", "bytes_done", "bytes_total", "reason", "remark", "actor", "refusal")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REMARK_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    id: str
    job_id: str
    models: _containers.RepeatedCompositeFieldContainer[DeployedModel]
    operation: str
    state: str
    code: str
    message: str
    started: float
    ended: float
    states: _containers.RepeatedCompositeFieldContainer[DeploymentState]
    bytes_done: int
    bytes_total: int
    reason: str
    remark: str
    actor: str
    refusal: str
    def __init__(self, id: _Optional[str] = ..., job_id: _Optional[str] = ..., models: _Optional[_Iterable[_Union[DeployedModel, _Mapping]]] = ..., operation: _Optional[str] = ..., state: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., started: _Optional[float] = ..., ended: _Optional[float] = ..., states: _Optional[_Iterable[_Union[DeploymentState, _Mapping]]] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., reason: _Optional[str] = ..., remark: _Optional[str] = ..., actor: _Optional[str] = ..., refusal: _Optional[str] = ...) -> None: ...

class ListDeploymentsRequest(_message.Message):
    __slots__ = ("id", "limit")
    ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    id: str
    limit: int
    def __init__(self, id: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListDeploymentsResponse(_message.Message):
    __slots__ = ("deployments",)
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    deployments: _containers.RepeatedCompositeFieldContainer[Deployment]
    def __init__(self, deployments: _Optional[_Iterable[_Union[Deployment, _Mapping]]] = ...) -> None: ...

class RollBackRequest(_message.Message):
    __slots__ = ("model", "reason", "actor")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    model: str
    reason: str
    actor: str
    def __init__(self, model: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class RollBackResponse(_message.Message):
    __slots__ = ("deployment",)
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    deployment: Deployment
    def __init__(self, deployment: _Optional[_Union[Deployment, _Mapping]] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("model", "reason", "actor")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    model: str
    reason: str
    actor: str
    def __init__(self, model: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ("deployment",)
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    deployment: Deployment
    def __init__(self, deployment: _Optional[_Union[Deployment, _Mapping]] = ...) -> None: ...

class ConfigureRequest(_message.Message):
    __slots__ = ("model", "reason", "actor", "threshold", "as_signed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    AS_SIGNED_FIELD_NUMBER: _ClassVar[int]
    model: str
    reason: str
    actor: str
    threshold: float
    as_signed: bool
    def __init__(self, model: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., threshold: _Optional[float] = ..., as_signed: bool = ...) -> None: ...

class ConfigureResponse(_message.Message):
    __slots__ = ("deployment",)
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    deployment: Deployment
    def __init__(self, deployment: _Optional[_Union[Deployment, _Mapping]] = ...) -> None: ...

class InstallRequest(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[DeployedModel]
    def __init__(self, models: _Optional[_Iterable[_Union[DeployedModel, _Mapping]]] = ...) -> None: ...

class InstallResponse(_message.Message):
    __slots__ = ("deployment_id",)
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    def __init__(self, deployment_id: _Optional[str] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("id", "at", "source", "name", "verdict", "results", "milliseconds", "message", "width", "height")
    ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    id: str
    at: float
    source: str
    name: str
    verdict: Verdict
    results: _containers.RepeatedCompositeFieldContainer[ModelResult]
    milliseconds: float
    message: str
    width: int
    height: int
    def __init__(self, id: _Optional[str] = ..., at: _Optional[float] = ..., source: _Optional[str] = ..., name: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., results: _Optional[_Iterable[_Union[ModelResult, _Mapping]]] = ..., milliseconds: _Optional[float] = ..., message: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class GetFrameRequest(_message.Message):
    __slots__ = ("id", "layer", "application")
    class Layer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PICTURE: _ClassVar[GetFrameRequest.Layer]
        OVERLAY: _ClassVar[GetFrameRequest.Layer]
        MAP: _ClassVar[GetFrameRequest.Layer]
    PICTURE: GetFrameRequest.Layer
    OVERLAY: GetFrameRequest.Layer
    MAP: GetFrameRequest.Layer
    ID_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    layer: GetFrameRequest.Layer
    application: str
    def __init__(self, id: _Optional[str] = ..., layer: _Optional[_Union[GetFrameRequest.Layer, str]] = ..., application: _Optional[str] = ...) -> None: ...

class GetFrameResponse(_message.Message):
    __slots__ = ("content", "content_type", "map")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    content_type: str
    map: AnomalyMap
    def __init__(self, content: _Optional[bytes] = ..., content_type: _Optional[str] = ..., map: _Optional[_Union[AnomalyMap, _Mapping]] = ...) -> None: ...

class AnomalyMap(_message.Message):
    __slots__ = ("logits", "rows", "columns", "pixel_threshold", "width", "height")
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    PIXEL_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    logits: bytes
    rows: int
    columns: int
    pixel_threshold: float
    width: int
    height: int
    def __init__(self, logits: _Optional[bytes] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ..., pixel_threshold: _Optional[float] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class ListFramesRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class ListFramesResponse(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class ListCapturesRequest(_message.Message):
    __slots__ = ("limit", "before", "verdict", "state")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    limit: int
    before: float
    verdict: str
    state: str
    def __init__(self, limit: _Optional[int] = ..., before: _Optional[float] = ..., verdict: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class Capture(_message.Message):
    __slots__ = ("id", "at", "model", "version", "verdict", "state", "bytes", "score", "threshold", "label", "labelled_by", "source", "name", "reason", "has_picture", "has_mask")
    ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    LABELLED_BY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HAS_PICTURE_FIELD_NUMBER: _ClassVar[int]
    HAS_MASK_FIELD_NUMBER: _ClassVar[int]
    id: str
    at: float
    model: str
    version: str
    verdict: Verdict
    state: str
    bytes: int
    score: float
    threshold: float
    label: str
    labelled_by: str
    source: str
    name: str
    reason: str
    has_picture: bool
    has_mask: bool
    def __init__(self, id: _Optional[str] = ..., at: _Optional[float] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., state: _Optional[str] = ..., bytes: _Optional[int] = ..., score: _Optional[float] = ..., threshold: _Optional[float] = ..., label: _Optional[str] = ..., labelled_by: _Optional[str] = ..., source: _Optional[str] = ..., name: _Optional[str] = ..., reason: _Optional[str] = ..., has_picture: bool = ..., has_mask: bool = ...) -> None: ...

class GetCaptureRequest(_message.Message):
    __slots__ = ("id", "part")
    class Part(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PICTURE: _ClassVar[GetCaptureRequest.Part]
        THUMBNAIL: _ClassVar[GetCaptureRequest.Part]
        MASK: _ClassVar[GetCaptureRequest.Part]
    PICTURE: GetCaptureRequest.Part
    THUMBNAIL: GetCaptureRequest.Part
    MASK: GetCaptureRequest.Part
    ID_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    id: str
    part: GetCaptureRequest.Part
    def __init__(self, id: _Optional[str] = ..., part: _Optional[_Union[GetCaptureRequest.Part, str]] = ...) -> None: ...

class GetCaptureResponse(_message.Message):
    __slots__ = ("content", "content_type")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    content_type: str
    def __init__(self, content: _Optional[bytes] = ..., content_type: _Optional[str] = ...) -> None: ...

class LabelCaptureRequest(_message.Message):
    __slots__ = ("id", "label", "actor", "other", "role", "user", "instead_of")
    ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    INSTEAD_OF_FIELD_NUMBER: _ClassVar[int]
    id: str
    label: str
    actor: str
    other: bool
    role: str
    user: str
    instead_of: str
    def __init__(self, id: _Optional[str] = ..., label: _Optional[str] = ..., actor: _Optional[str] = ..., other: bool = ..., role: _Optional[str] = ..., user: _Optional[str] = ..., instead_of: _Optional[str] = ...) -> None: ...

class LabelCaptureResponse(_message.Message):
    __slots__ = ("capture",)
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    capture: Capture
    def __init__(self, capture: _Optional[_Union[Capture, _Mapping]] = ...) -> None: ...

class PauseCapturesRequest(_message.Message):
    __slots__ = ("capture", "upload", "actor")
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    capture: bool
    upload: bool
    actor: str
    def __init__(self, capture: bool = ..., upload: bool = ..., actor: _Optional[str] = ...) -> None: ...

class PauseCapturesResponse(_message.Message):
    __slots__ = ("captures",)
    CAPTURES_FIELD_NUMBER: _ClassVar[int]
    captures: CaptureStatus
    def __init__(self, captures: _Optional[_Union[CaptureStatus, _Mapping]] = ...) -> None: ...

class ListShiftsRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class ListShiftsResponse(_message.Message):
    __slots__ = ("shifts",)
    SHIFTS_FIELD_NUMBER: _ClassVar[int]
    shifts: _containers.RepeatedCompositeFieldContainer[Shift]
    def __init__(self, shifts: _Optional[_Iterable[_Union[Shift, _Mapping]]] = ...) -> None: ...

class ResetCountsRequest(_message.Message):
    __slots__ = ("reason", "actor")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    reason: str
    actor: str
    def __init__(self, reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class ResetCountsResponse(_message.Message):
    __slots__ = ("shift",)
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    shift: Shift
    def __init__(self, shift: _Optional[_Union[Shift, _Mapping]] = ...) -> None: ...

class CheckGoldenPartsRequest(_message.Message):
    __slots__ = ("actor",)
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    actor: str
    def __init__(self, actor: _Optional[str] = ...) -> None: ...

class CheckGoldenPartsResponse(_message.Message):
    __slots__ = ("golden",)
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    golden: GoldenCheck
    def __init__(self, golden: _Optional[_Union[GoldenCheck, _Mapping]] = ...) -> None: ...

class ListLogsRequest(_message.Message):
    __slots__ = ("limit", "level")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    limit: int
    level: str
    def __init__(self, limit: _Optional[int] = ..., level: _Optional[str] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("at", "level", "logger", "message", "fields")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    LOGGER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    at: float
    level: str
    logger: str
    message: str
    fields: _containers.ScalarMap[str, str]
    def __init__(self, at: _Optional[float] = ..., level: _Optional[str] = ..., logger: _Optional[str] = ..., message: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListLogsResponse(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ...) -> None: ...

class ListCapturesResponse(_message.Message):
    __slots__ = ("captures",)
    CAPTURES_FIELD_NUMBER: _ClassVar[int]
    captures: _containers.RepeatedCompositeFieldContainer[Capture]
    def __init__(self, captures: _Optional[_Iterable[_Union[Capture, _Mapping]]] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("after",)
    AFTER_FIELD_NUMBER: _ClassVar[int]
    after: int
    def __init__(self, after: _Optional[int] = ...) -> None: ...

class ModelsChanged(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "at", "frame", "deployment", "models", "captures", "counts", "agent", "camera", "shift", "golden")
    ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    CAPTURES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    id: int
    at: float
    frame: Frame
    deployment: Deployment
    models: ModelsChanged
    captures: CaptureStatus
    counts: Counts
    agent: AgentStatus
    camera: CameraStatus
    shift: Shift
    golden: GoldenCheck
    def __init__(self, id: _Optional[int] = ..., at: _Optional[float] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., deployment: _Optional[_Union[Deployment, _Mapping]] = ..., models: _Optional[_Union[ModelsChanged, _Mapping]] = ..., captures: _Optional[_Union[CaptureStatus, _Mapping]] = ..., counts: _Optional[_Union[Counts, _Mapping]] = ..., agent: _Optional[_Union[AgentStatus, _Mapping]] = ..., camera: _Optional[_Union[CameraStatus, _Mapping]] = ..., shift: _Optional[_Union[Shift, _Mapping]] = ..., golden: _Optional[_Union[GoldenCheck, _Mapping]] = ...) -> None: ...

class SimilarPartsRequest(_message.Message):
    __slots__ = ("id", "model", "limit")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    limit: int
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class SimilarPart(_message.Message):
    __slots__ = ("similarity", "captured", "id", "label", "verdict", "at", "thumbnail")
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_FIELD_NUMBER: _ClassVar[int]
    similarity: float
    captured: bool
    id: str
    label: str
    verdict: str
    at: float
    thumbnail: bytes
    def __init__(self, similarity: _Optional[float] = ..., captured: bool = ..., id: _Optional[str] = ..., label: _Optional[str] = ..., verdict: _Optional[str] = ..., at: _Optional[float] = ..., thumbnail: _Optional[bytes] = ...) -> None: ...

class SimilarPartsResponse(_message.Message):
    __slots__ = ("model", "version", "distance", "limit", "far", "message", "parts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FAR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    distance: float
    limit: float
    far: bool
    message: str
    parts: _containers.RepeatedCompositeFieldContainer[SimilarPart]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., distance: _Optional[float] = ..., limit: _Optional[float] = ..., far: bool = ..., message: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[SimilarPart, _Mapping]]] = ...) -> None: ...
