"""What the agent tells of itself; the JSON of ``status`` and ``deployments``."""

from pydantic import Field

from edge_agent.formats.document import Document
from edge_agent.formats.inspection import Counts, InspectedFrame
from edge_agent.formats.line import CameraStatus, GoldenCheck, Shift
from edge_agent.formats.similar import BankStatus


class AgentStatus(Document):
    """The process."""

    version: str
    thing: str
    uptime_s: float
    state: str = Field(description="STARTING, READY, DEGRADED or STOPPING")
    cloud: str = Field("OFF", description="CONNECTED, CONNECTING or OFF")
    message: str = ""


class ModelStatus(Document):
    """One model."""

    name: str
    active: str | None = None
    previous: str | None = None
    staged: str | None = None
    state: str = Field(description="READY, DEGRADED (it answers, but not as wanted), LOADING, UNAVAILABLE or MISSING")
    message: str = Field("", description="what is wrong with it: say, it runs on the CPU in place of the GPU")
    runtime: str = ""
    provider: str = ""
    memory_bytes: int = 0
    kind: str = ""
    threshold: float = Field(0.0, description="in force")
    signed_threshold: float = Field(0.0, description="as the manifest has it")
    applications: tuple[str, ...] = ()
    labels: tuple[str, ...] = Field((), description="the classes of the version that answers")
    normal_labels: tuple[str, ...] = Field((), description="those of them that mean OK")
    bank: BankStatus | None = Field(None, description="how live parts lie to what it learnt; none: no memory")


class CaptureStatus(Document):
    """The spool."""

    pending: int = 0
    failed: int = 0
    bytes: int = 0
    oldest_s: float = 0.0
    uploaded: int = 0
    message: str = ""
    capture_paused: bool = False
    upload_paused: bool = False
    dropped: int = Field(0, description="not kept because there was no room, since the agent started")
    quota_bytes: int = 0
    kept_here: bool = Field(default=False, description="nothing is sent: what is pending stays on this device")


class ClockStatus(Document):
    """The clock against what was signed."""

    trusted: bool = True
    now: float = 0.0
    floor: float = 0.0


class DeployedModel(Document):
    """One model of a deployment."""

    name: str
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    threshold: float | None = Field(None, description="what a configure sets")


class StateReport(Document):
    """One state that a deployment went through."""

    state: str
    at: float
    seconds: float = 0.0
    bytes: int = 0
    figures: dict[str, float] = Field(default_factory=dict)


class DeploymentReport(Document):
    """One deployment, told in full."""

    id: str
    job_id: str = ""
    operation: str
    models: tuple[DeployedModel, ...]
    state: str
    code: str = ""
    message: str = ""
    remark: str = Field("", description="what it waits for, or how it must go about it, and why")
    reason: str = ""
    actor: str = Field("", description="who made the local call; empty: a job asked for it")
    refusal: str = Field("", description="why the cloud will never take the last report; empty: it took it, or may yet")
    started: float
    ended: float | None = None
    states: tuple[StateReport, ...] = ()
    bytes_done: int = 0
    bytes_total: int = 0


class CaptureReport(Document):
    """One captured inspection."""

    id: str
    at: float
    model: str
    version: str
    verdict: str
    state: str = Field(description="PENDING, UPLOADED or FAILED")
    bytes: int = 0
    score: float = 0.0
    threshold: float = 0.0
    label: str = Field("", description="what a person said: OK, NG or a class; empty: nobody did")
    labelled_by: str = ""
    source: str = ""
    name: str = Field("", description="the picture's")
    reason: str = Field("", description="which part of the policy wanted it")
    has_picture: bool = Field(default=False, description="on this device, still")
    has_mask: bool = False


class Status(Document):
    """Everything at one glance."""

    agent: AgentStatus
    models: tuple[ModelStatus, ...] = ()
    deployment: DeploymentReport | None = None
    captures: CaptureStatus = CaptureStatus()
    clock: ClockStatus = ClockStatus()
    counts: Counts = Counts()
    last_frame: InspectedFrame | None = None
    cameras: tuple[CameraStatus, ...] = ()
    rule: str = Field("", description="how verdicts of models become one, as configured")
    shift: Shift | None = Field(None, description="the running one, without distributions")
    golden: GoldenCheck = GoldenCheck()
