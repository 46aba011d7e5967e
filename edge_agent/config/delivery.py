"""Who this device is, where releases come from, and how they are brought in."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from edge_agent.config.fields import CREDENTIALS_PATTERN, HOUR, MAX_PORT, THING_PATTERN, OptionalKey, OptionalPath, Room
from edge_agent.formats import ProbationPolicy, ShadowPolicy


class Device(Room):
    """Who this device is."""

    thing: str = Field("edge-agent", pattern=THING_PATTERN)
    """The AWS IoT thing's name."""
    fleet: str = Field("default", pattern=THING_PATTERN)
    """The fleet's name, as captures are filed under it."""


class Mqtt(Room):
    """The connection to AWS IoT; without an endpoint the agent works alone."""

    endpoint: str = ""
    """Host name of the AWS IoT data endpoint; empty: no cloud."""
    port: int = Field(8883, ge=1, le=MAX_PORT)
    """The endpoint's port."""
    certificate: OptionalPath = None
    """The device's certificate, PEM."""
    private_key: OptionalKey = None
    """The device's key: a PEM file, or a PKCS#11 URI (RFC 7512) of one in a token or TPM."""
    ca: OptionalPath = None
    """The authority that the endpoint's certificate must come from, PEM; empty: the system's."""
    keep_alive_s: int = Field(30, ge=5, le=1200)
    """Seconds between signs of life on the connection."""
    inspections: Literal["off", "ng", "all", "summary"] = "off"
    """What the cloud is told of inspections: NG and NO RESULT, all, or only counts each minute, as both bring too."""
    reconnect_max_s: float = Field(120.0, ge=1, le=3600)
    """Longest wait before the next try to connect; the first is drawn from 0 to half of it (full jitter)."""
    renew_before_days: int = Field(30, ge=0, le=3650)
    """A certificate that ends within so many days is asked anew for; 0: only when the cloud wants another."""


class Repository(Room):
    """Where signed releases come from."""

    url: str = ""
    """The TUF repository: s3://, https://, http://127.0.0.1 or file://."""
    credentials: str = Field("none", pattern=CREDENTIALS_PATTERN)
    """none, aws-iot, environment or file:PATH (JSON, mode 0600)."""
    credentials_endpoint: str = ""
    """For aws-iot: host name of the account's credentials provider."""
    role_alias: str = ""
    """For aws-iot: the role alias whose role may read the bucket."""
    ca: OptionalPath = None
    """Authorities (PEM) that are trusted beside the system's, for a repository behind a private one."""
    proxy: str = ""
    """URL of the HTTP proxy; empty: none. Proxy variables of the environment are not followed."""


class Trust(Room):
    """What this device believes."""

    root: OptionalPath = None
    """The first root.json, pinned at provisioning."""
    allow_demo_root: bool = False
    """Accept a root that says it is a demo's."""
    allow_unsigned_packages: bool = False
    """Take packages (.tar.gz) that nobody signed from the repository's bucket, in place of no signed version."""
    local_model_roots: tuple[Path, ...] = ()
    """Directories from which LoadModel may take models that nobody signed."""


class Shadow(ShadowPolicy):
    """Least watching of a candidate beside the live version; its defaults hold wherever it is watched."""

    min_agreement: float | None = Field(
        0.9, ge=0, le=1, allow_inf_nan=False, description="least share of copies with the live verdict and label"
    )


class Probation(ProbationPolicy):
    """Least watching of the new version while the old one stays warm; its defaults hold wherever it is watched."""

    max_error_rate: float | None = Field(
        0.0, ge=0, le=1, allow_inf_nan=False, description="share of requests that it fails by its own fault"
    )


class Deployment(Room):
    """How carefully a new version is brought in."""

    shadow: Shadow = Shadow()
    """Least watching of a candidate beside the live version."""
    probation: Probation = Probation()
    """Least watching of the new version while the old one stays warm."""
    window: str = Field("", pattern=rf"^(|{HOUR}-{HOUR})$")
    """Local time in which installs may start, as 22:00-05:00; empty: always. Rollbacks are not bound by it."""
    reserve_bytes: int = Field(256 << 20, ge=0)
    """Disk space that a download must leave free."""
    bandwidth_bytes_per_s: int = Field(0, ge=0)
    """Cap for all downloads together; 0: none."""
    parallel_downloads: int = Field(3, ge=1, le=16)
    """Artefacts fetched at a time."""
    slowest_bytes_per_s: int = Field(1024, ge=0)
    """A download whose mean speed stays below this is dropped and tried again; 0: never."""
    slowest_window_s: float = Field(30.0, gt=0)
    """Seconds of a request over which that mean is taken."""
    deadline_s: float = Field(86_400, gt=0)
    """A deployment that lasts longer fails."""
    keep_versions: int = Field(2, ge=1, le=32)
    """Versions of each model that were committed last and stay on disk; the one that a rollback goes to always does."""
    scan_interval_s: float = Field(86_400, ge=0)
    """Seconds between two readings of all that is stored, which find bits that the disk lost; 0: only at start."""
    scan_bytes_per_s: int = Field(16 << 20, ge=1 << 16)
    """Speed of that reading, at most; it never disturbs the line."""
    build_timeout_s: float = Field(1800, gt=0)
    """Time limit of the builder process."""
    build_memory_bytes: int = Field(0, ge=0)
    """Private memory that the builder may take (ONNX Runtime itself needs some 300 MB); 0: no limit."""
