"""All rooms together, and the one way in which they are read."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from edge_agent.config.delivery import Deployment, Device, Mqtt, Repository, Trust
from edge_agent.config.fields import OptionalAddress, Room
from edge_agent.config.inspection import Inspection
from edge_agent.config.line import Capture, Dashboard, Station
from edge_agent.config.serving import Inference, Rpc
from edge_agent.errors import Code, ConfigError
from edge_agent.formats import describe

PREFIX = "EDGE_AGENT__"
DEFAULT_FILE = Path("/etc/edge-agent/config.toml")
DEFAULT_STATE_DIR = Path("/var/lib/edge-agent")
DEFAULT_RUNTIME_DIR = Path("/run/edge-agent")


class Telemetry(Room):
    """Logs and metrics, and what the cloud is told of the device."""

    metrics: OptionalAddress = "127.0.0.1:8002"
    """Address of /metrics; empty: none."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that is logged."""
    heartbeat_s: float = Field(300.0, ge=0, le=86_400)
    """Seconds between two signs of life for the cloud, drawn anew each time from nine tenths of it to all; 0: none."""
    shadow_s: float = Field(3600.0, ge=60, le=86_400)
    """Seconds after which the device shadow is told again although nothing changed but counts."""
    alarms: bool = True
    """Tell the cloud what a person must see."""
    cloud_level: Literal["OFF", "INFO", "WARNING", "ERROR"] = "WARNING"
    """The lowest level of the log that the cloud is told."""
    cloud_actions: tuple[str, ...] = ()
    """Lines with these actions are told at any level that is logged, as "rolled_back"."""
    cloud_lines_per_minute: int = Field(60, ge=1, le=600)
    """Lines of the log that the cloud is told, at most; others are counted."""
    spool_bytes: int = Field(4 << 20, ge=64 << 10, le=1 << 30)
    """Disk space for alarms and lines that wait for a connection; the oldest lines give way, then the oldest alarms."""
    disk_low_bytes: int = Field(0, ge=0)
    """Less free disk space is an alarm; 0: twice deployment.reserve_bytes."""
    certificate_days: float = Field(30.0, ge=0, le=3650)
    """A device certificate that ends within so many days is an alarm; 0: none."""


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
        settings = Sources(**(flags or {}))
    except ValidationError as exc:
        hints = "".join(_nearest(fault["loc"]) for fault in exc.errors() if fault["type"] == "extra_forbidden")
        raise ConfigError(Code.CONFIG_INVALID, f"{file or 'settings'}: {describe(exc)}{hints}") from exc
    except (OSError, ValueError) as exc:
        raise ConfigError(Code.CONFIG_INVALID, f"{file}: expected TOML, {exc}") from exc
    _check_parts_alone(settings, str(file or "settings"))
    return settings


def _check_parts_alone(settings: Settings, where: str) -> None:
    """Refuse N of M where a picture is a part: a defective one would be OK if those before it were."""
    came = settings.inspection.ng_frames
    takes_parts = next((name for name, station in settings.station.items() if station.takes_parts), None)
    if takes_parts is not None and came.partition("/")[2] != "1":
        message = f"expected 1/1 with station.{takes_parts}, whose pictures are a part each, came {came}"
        raise ConfigError(Code.CONFIG_INVALID, f"{where}: inspection.ng_frames: {message}")


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
