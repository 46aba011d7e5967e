"""The line: inspection, what is kept of it, cameras, the page."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edge_agent.config.fields import Address, OptionalPath, Room


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

    policy: Literal["none", "ng", "all"] = "ng"
    """Which inspections are captured."""
    quota_bytes: int = Field(1 << 30, ge=0)
    """Disk space for captures that wait; when full, new ones are dropped and counted."""
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
