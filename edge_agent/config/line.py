"""The line: what is kept of its pictures, cameras, the page."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from edge_agent.config.fields import Address, OptionalPath, Room
from edge_agent.config.plc import Modbus, Opcua, Outputs

LIMIT_PIXELS = 65_535


class Capture(Room):
    """What is kept of the line's pictures and sent to the cloud."""

    policy: Literal["none", "ng", "all", "chosen"] = "ng"
    """Which inspections are captured: none whatever follows, NG, all, or only what the next five choose."""
    doubt: bool = False
    """Also those without a result."""
    band: float = Field(0.0, ge=0, le=1)
    """Also those with a score at most this far from its threshold, on either side; 0: none."""
    every: int = Field(0, ge=0)
    """Also one inspection of so many; 0: none."""
    share: float = Field(0.0, ge=0, le=1)
    """Also this share of all inspections, by chance."""
    far: bool = False
    """Also those that lie farther from what a model learnt than 99 % of good parts did, where it carries a memory."""
    quota_bytes: int = Field(1 << 30, ge=0)
    """Disk space for captures; sent ones give way, and where all of it waits new ones are dropped and counted."""
    max_age_days: float = Field(0.0, ge=0, le=36_500)
    """Days, counted while the machine is on, that a sent capture stays (without url: any); 0: until room is needed."""
    url: str = ""
    """Where captures go: s3://bucket/prefix or file://; empty: they stay here."""
    credentials: str = Field("", pattern=r"^(|none|aws-iot|environment|file:.+)$")
    """As repository.credentials; empty: the same ones."""
    labelled_by: Literal["role", "pseudonym", "name"] = "role"
    """What the cloud is told of who gave a label: the role, also a pseudonym of the user, or the user's name."""


def _region(region: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    x, y, width, height = region
    if min(x, y) < 0 or min(width, height) < 1 or max(region) > LIMIT_PIXELS:
        raise ValueError(f"expected [x, y, width, height] in pixels up to {LIMIT_PIXELS}")
    return region


class Station(Room):
    """One camera and how often it is looked at."""

    source: str = ""
    """directory:PATH, file:PATH, rtsp://…, http://…, v4l2:/dev/video0 or genicam:ID, as docs/cameras.md tells."""
    rate_hz: float = Field(2.0, gt=0, le=1000)
    """Frames inspected in a second, at most."""
    deadline_s: float = Field(2.0, gt=0, le=600)
    """An inspection that lasts longer is NO RESULT."""
    loop: bool = True
    """Begin again after the directory's last image, or the video file's."""
    latency_s: float = Field(0.5, ge=0, le=30)
    """Cameras of the network: from exposure to arrival, at most; a trigger's picture comes later than that after it."""
    stall_s: float = Field(5.0, ge=0.2, le=60)
    """A stream that is silent for so long is opened again."""
    roi: Annotated[tuple[int, int, int, int], AfterValidator(_region)] | None = None
    """[x, y, width, height] in pixels: the part that is looked at; none: all of it."""
    exposure_us: float | None = Field(None, gt=0, le=1e8)
    """GenICam: exposure in microseconds; none: as the camera is set."""
    gain: float | None = Field(None, ge=-100, le=1000)
    """GenICam: gain in the camera's unit, mostly dB; none: as the camera is set."""
    trigger: str = Field("free", pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")
    """GenICam: free, software (each look takes a picture), or a hardware line by its name, as Line1."""
    mode: Literal["free-running", "trigger"] = "free-running"
    """Look rate_hz times a second, or when a PLC says so over modbus or opcua."""
    modbus: Modbus = Modbus()
    """Modbus TCP."""
    opcua: Opcua = Opcua()
    """OPC UA."""
    outputs: Outputs = Outputs()
    """Digital outputs."""

    @property
    def has_input(self) -> bool:
        """Tell whether an input of the camera takes its pictures: each is a part's, and none comes by itself."""
        return self.trigger not in ("free", "software")

    @property
    def takes_parts(self) -> bool:
        """Tell whether each picture is one part's: a PLC asks for it, or an input of the camera takes it."""
        return self.mode == "trigger" or self.has_input

    @model_validator(mode="after")
    def _somebody_triggers(self) -> Self:
        if self.mode == "trigger" and not (self.modbus.listen or self.opcua.endpoint):
            raise ValueError("expected modbus.listen or opcua.endpoint with mode = trigger, came neither")
        return self


class Dashboard(Room):
    """The page."""

    listen: Address = "127.0.0.1:8080"
    """Address of the page."""
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    """Host names under which the page may be asked for."""
    users: OptionalPath = None
    """File of users and roles, as edge-agent users writes it; needed when others than this machine can ask."""
    transport: Literal["local", "proxy", "plain"] = "local"
    """local: loopback only; proxy: loopback behind a TLS proxy on this machine; plain: anywhere, unencrypted."""
    nice: int = Field(15, ge=0, le=19)
    """Niceness of the page's process: on a busy device the line goes first."""
