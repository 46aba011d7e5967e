"""The line: inspection, what is kept of it, cameras, the page."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from edge_agent.config.fields import Address, OptionalPath, Room
from edge_agent.config.plc import Modbus, Opcua, Outputs


def _without_cycles(chain: dict[str, str]) -> dict[str, str]:
    for first, awaited in chain.items():
        seen, application = {first}, awaited
        while application in chain and application not in seen:
            seen.add(application)
            application = chain[application]
        if application in seen:
            raise ValueError(f"expected applications that do not wait for each other, {first} waits for itself")
    return chain


class Inspection(Room):
    """From answers of models to one verdict."""

    rule: Literal["any_ng", "all_ng"] = "any_ng"
    """A part is NG if any model says so, or only if all do."""
    recent_frames: int = Field(64, ge=1, le=10_000)
    """Frames kept in memory for the page."""
    chain: Annotated[dict[str, str], AfterValidator(_without_cycles)] = Field(default_factory=dict)
    """Applications asked only when another says NG, as {"image-segmentation-app" = "image-classification-app"}."""


class Capture(Room):
    """What is kept of the line's pictures and sent to the cloud."""

    policy: Literal["none", "ng", "all", "chosen"] = "ng"
    """Which inspections are captured: none whatever follows, NG, all, or only what the next four choose."""
    doubt: bool = False
    """Also those without a result."""
    band: float = Field(0.0, ge=0, le=1)
    """Also those with a score at most this far from its threshold, on either side; 0: none."""
    every: int = Field(0, ge=0)
    """Also one inspection of so many; 0: none."""
    share: float = Field(0.0, ge=0, le=1)
    """Also this share of all inspections, by chance."""
    quota_bytes: int = Field(1 << 30, ge=0)
    """Disk space for captures; sent ones give way, and where all of it waits new ones are dropped and counted."""
    max_age_days: float = Field(0.0, ge=0, le=36_500)
    """Days that a sent capture stays (without url: any capture); 0: until room is needed."""
    url: str = ""
    """Where captures go: s3://bucket/prefix or file://; empty: they stay here."""
    credentials: str = Field("", pattern=r"^(|none|aws-iot|environment|file:.+)$")
    """As repository.credentials; empty: the same ones."""


class Station(Room):
    """One camera and how often it is looked at."""

    source: str = ""
    """directory:PATH for now."""
    rate_hz: float = Field(2.0, gt=0, le=1000)
    """Frames inspected in a second, at most."""
    deadline_s: float = Field(2.0, gt=0, le=600)
    """An inspection that lasts longer is NO RESULT."""
    loop: bool = True
    """Begin again after the directory's last image."""
    mode: Literal["free-running", "trigger"] = "free-running"
    """Look rate_hz times a second, or when a PLC says so over modbus or opcua."""
    modbus: Modbus = Modbus()
    """Modbus TCP."""
    opcua: Opcua = Opcua()
    """OPC UA."""
    outputs: Outputs = Outputs()
    """Digital outputs."""

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
    """File of users and roles; needed when listen is not loopback."""
