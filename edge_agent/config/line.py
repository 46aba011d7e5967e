"""The line: what is kept of its pictures, cameras, the page."""

from typing import Literal

from pydantic import Field

from edge_agent.config.fields import Address, OptionalPath, Room


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
    """File of users and roles; needed when listen is not loopback."""
