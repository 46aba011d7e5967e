"""What the agent tells of the line: cameras, shifts, golden parts, and lines of its log."""

from pydantic import Field

from edge_agent.formats.document import Document
from edge_agent.formats.inspection import Counts, Verdict


class CameraStatus(Document):
    """One camera of a station, as that tells it."""

    id: str = Field(description="the station's name; it is also the source of its frames")
    kind: str = Field("", description="directory, file, rtsp, http, v4l2 or genicam")
    state: str = Field(description="STARTING, WATCHING, IDLE, CAMERA_AWAY, AGENT_AWAY or SILENT (its station is away)")
    message: str = Field("", description="what is wrong; empty: nothing")
    since: float = Field(0.0, description="epoch seconds, of the state")
    frames: int = Field(0, description="inspected")
    skipped: int = Field(0, description="came while another was inspected, and went")
    failures: int = Field(0, description="times that the camera or the agent was away")
    rate_hz: float = Field(0.0, description="inspections a second, lately")
    lost: int = Field(0, description="parts of which no picture was inspected: skipped or damaged; each is NO RESULT")


class ScoreHistogram(Document):
    """Scores of one application's model, in equal bins over 0..1."""

    application: str
    model: str
    threshold: float = Field(0.0, description="in force")
    bins: tuple[int, ...] = ()


class LatencyPoint(Document):
    """Latency of the inspections in one stretch of time."""

    at: float = Field(description="its begin, epoch seconds")
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    count: int = 0


class Shift(Document):
    """The inspections of one shift."""

    name: str = Field("", description="as configured")
    began: float = Field(0.0, description="epoch seconds; of the last reset, if there was one")
    ends: float = Field(0.0, description="epoch seconds")
    counts: Counts = Counts()
    scores: tuple[ScoreHistogram, ...] = ()
    latency: tuple[LatencyPoint, ...] = ()
    running: bool = False
    reset_by: str = Field("", description="who reset it last; empty: nobody")


class GoldenPart(Document):
    """A part that is known, and what was said of it."""

    name: str
    expected: Verdict
    verdict: Verdict
    message: str = ""
    score: float = Field(0.0, description="of the model that decided")


class GoldenCheck(Document):
    """Whether parts that are known are still judged as such."""

    state: str = Field("OFF", description="OFF (no golden parts), DUE, RUNNING, PASSED or FAILED")
    at: float = Field(0.0, description="epoch seconds, of its end")
    message: str = ""
    parts: tuple[GoldenPart, ...] = ()
    actor: str = Field("", description="who asked; empty: the shift began")


class LogLine(Document):
    """One line of the agent's log."""

    at: float
    level: str
    logger: str = ""
    message: str
    fields: dict[str, str] = Field(default_factory=dict)
