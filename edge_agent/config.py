"""The settings, read once and passed on in parts.

Precedence: file < ``EDGE_AGENT__ROOM__KEY`` < flag. An unknown key is an error
that names the nearest known one.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from typing_extensions import Self

from edge_agent.errors import Code, ConfigError
from edge_agent.formats import ProbationPolicy, ShadowPolicy, describe

PREFIX = "EDGE_AGENT__"
DEFAULT_FILE = Path("/etc/edge-agent/config.toml")
DEFAULT_STATE_DIR = Path("/var/lib/edge-agent")
DEFAULT_RUNTIME_DIR = Path("/run/edge-agent")

# AWS IoT: what a thing may be called.
THING_PATTERN = r"^[a-zA-Z0-9:_-]{1,128}$"
CREDENTIALS_PATTERN = r"^(none|aws-iot|environment|file:.+)$"
ADDRESS_PATTERN = r"^[^\s]+:[0-9]{1,5}$"
OPTIONAL_ADDRESS_PATTERN = r"^(|[^\s]+:[0-9]{1,5})$"
HOUR = r"([01][0-9]|2[0-3]):[0-5][0-9]"
MAX_PORT = 65_535
MAX_LANES = 64


class Room(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _port_that_exists(value: str) -> str:
    # gRPC takes a larger one without a word and listens somewhere else.
    if value and int(value.rpartition(":")[2]) > MAX_PORT:
        raise ValueError(f"expected a port up to {MAX_PORT}")
    return value


def _without_cycles(chain: dict[str, str]) -> dict[str, str]:
    for first, awaited in chain.items():
        seen, application = {first}, awaited
        while application in chain and application not in seen:
            seen.add(application)
            application = chain[application]
        if application in seen:
            raise ValueError(f"expected applications that do not wait for each other, {first} waits for itself")
    return chain


Address = Annotated[str, Field(pattern=ADDRESS_PATTERN), AfterValidator(_port_that_exists)]
OptionalAddress = Annotated[str, Field(pattern=OPTIONAL_ADDRESS_PATTERN), AfterValidator(_port_that_exists)]
RuntimeName = Literal["onnxruntime", "openvino", "tensorrt", "dlr"]
# As the libraries call them: ONNX Runtime's first, then OpenVINO's devices.
ProviderName = Literal["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider", "GPU", "CPU"]
OptionalPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]


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
    private_key: OptionalPath = None
    """The device's key, PEM."""
    ca: OptionalPath = None
    """The authority that the endpoint's certificate must come from, PEM."""
    keep_alive_s: int = Field(30, ge=5, le=1200)
    """Seconds between signs of life on the connection."""
    reconnect_max_s: float = Field(120.0, ge=1, le=3600)
    """Longest wait before the next try to connect; the first is drawn from 0 to half of it (full jitter)."""


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


class Batch(Room):
    """Requests that meet in front of a graph whose batch dimension is free run together."""

    size: int = Field(1, ge=1, le=32)
    """Rows in a batch, at most; 1: none. Answers differ from those of single requests by rounding only."""
    window_ms: float = Field(0.0, ge=0, le=100)
    """So long a request waits for others; 0: not at all, only what waits anyway runs together."""


class Inference(Room):
    """How models are executed."""

    isolation: Literal["process", "inline"] = "process"
    """A worker process for each version, or none for very small devices."""
    memory_budget_bytes: int = Field(0, ge=0)
    """Memory that all loaded versions may take together; 0: what the machine, or the agent's control group, has."""
    runtimes: tuple[RuntimeName, ...] = Field(("onnxruntime",), min_length=1)
    """Runtimes to use, the preferred first."""
    allow_native_code: bool = False
    """Let signed releases bring native code to execute: DLR's models and the library for them."""
    providers: tuple[ProviderName, ...] = ()
    """What is to execute models, the preferred first; a runtime takes those it knows. Empty: CUDA where built in."""
    fallback: Literal["refuse", "allow"] = "refuse"
    """Whether a candidate is refused that runs on something else than wanted, say the CPU in place of the GPU."""
    threads: int = Field(1, ge=1, le=256)
    """Threads inside one inference."""
    lanes: int = Field(1, ge=1, le=64)
    """Inferences of one model at a time."""
    queue: int = Field(64, ge=1, le=4096)
    """Requests of one model that may wait."""
    hang_timeout_s: float = Field(20.0, gt=0)
    """A worker that answers nothing for so long is replaced."""
    batch: Batch = Batch()
    """Batches of requests that wait, for graphs whose batch dimension is free."""
    worker_memory_bytes: int = Field(0, ge=0)
    """Private memory that one worker may take (libraries are mapped and do not count); 0: no limit."""
    cpus: tuple[Annotated[int, Field(ge=0, lt=4096)], ...] = ()
    """Processors that workers may use, as the system numbers them; empty: all."""
    shadow_nice: int = Field(0, ge=0, le=19)
    """Niceness of copies for a candidate; above 0 they give way to the line, and its latency is judged with that."""
    spare_worker: bool = False
    """Once a model is loaded, keep a process (45 MB) ready to be the next worker: it answers four times as soon."""

    @model_validator(mode="after")
    def _batches_fit_the_lanes(self) -> Self:
        if self.lanes * self.batch.size > MAX_LANES:
            came = f"{self.lanes} x {self.batch.size}"
            raise ValueError(f"expected lanes x batch.size up to {MAX_LANES}, came {came}")
        return self


class RpcTls(Room):
    """Mutual TLS for TCP beyond loopback."""

    certificate: OptionalPath = None
    """Server certificate, PEM."""
    private_key: OptionalPath = None
    """Server key, PEM."""
    client_ca: OptionalPath = None
    """Authority of the clients' certificates, PEM."""
    clients: tuple[str, ...] = ()
    """Common names that may connect."""


class Rpc(Room):
    """The gRPC servers."""

    tcp: OptionalAddress = "127.0.0.1:8001"
    """Address of the data plane over TCP; empty: unix socket only."""
    sockets: tuple[Path, ...] = ()
    """Further unix sockets of the data plane, for old clients."""
    threads: int = Field(16, ge=2, le=256)
    """Calls of the data plane answered at a time."""
    connections: int = Field(256, ge=1, le=65_535)
    """Open connections of the data plane, of each of its addresses; a further one is closed at once."""
    receive_timeout_s: float = Field(10.0, gt=0, le=3600)
    """A call whose request takes longer to arrive is cancelled, since it holds a thread meanwhile."""
    tls: RpcTls = RpcTls()
    """Certificates; needed when tcp is not loopback."""


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
    """File of users and roles; needed when listen is not loopback."""


class Telemetry(Room):
    """Logs and metrics."""

    metrics: OptionalAddress = "127.0.0.1:8002"
    """Address of /metrics; empty: none."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that is logged."""


class Settings(BaseSettings):
    """All rooms."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    device: Device = Device()
    mqtt: Mqtt = Mqtt()
    repository: Repository = Repository()
    trust: Trust = Trust()
    deployment: Deployment = Deployment()
    inference: Inference = Inference()
    rpc: Rpc = Rpc()
    inspection: Inspection = Inspection()
    capture: Capture = Capture()
    station: dict[str, Station] = Field(default_factory=dict)
    dashboard: Dashboard = Dashboard()
    telemetry: Telemetry = Telemetry()


def read_settings(file: Path | None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of ``file``, the environment and ``flags``, each over the one before.

    Args:
        file: a TOML file, or None for defaults.
        flags: nested mapping of rooms to keys to values.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or a value is bad.
    """

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            given = (init_settings, env_settings, dotenv_settings, file_secret_settings)
            return given if file is None else (*given, TomlConfigSettingsSource(settings_cls, file))

    if file is not None and not file.is_file():
        raise ConfigError(Code.CONFIG_INVALID, f"{file}: expected a configuration file, there is none")
    try:
        return Sources(**(flags or {}))
    except ValidationError as exc:
        hints = "".join(_nearest(fault["loc"]) for fault in exc.errors() if fault["type"] == "extra_forbidden")
        raise ConfigError(Code.CONFIG_INVALID, f"{file or 'settings'}: {describe(exc)}{hints}") from exc
    except (OSError, ValueError) as exc:
        raise ConfigError(Code.CONFIG_INVALID, f"{file}: expected TOML, {exc}") from exc


def _nearest(location: tuple[int | str, ...]) -> str:
    *path, wrong = [str(part) for part in location]
    near = difflib.get_close_matches(wrong, _known(path), n=1, cutoff=0.0)
    return f"; {wrong} is nearest to {'.'.join([*path, near[0]])}" if near else ""


def _known(path: list[str]) -> Iterable[str]:
    model: Any = Settings
    for part in path:
        if model is None:
            model = Station
            continue
        annotation = model.model_fields[part].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return list(model.model_fields) if model is not None else []
