"""``edge-cloud local up|down|status|env``."""

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_tools.errors import Exit
from cloud_tools.local.cloud import LocalCloud
from cloud_tools.local.endpoints import CloudStatus, Endpoints, aws_environment
from cloud_tools.output import JsonFlag, emit

local = typer.Typer(help="A whole AWS on this machine, on loopback.", no_args_is_help=True)


def _default_directory() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "edge-cloud" / "local"


Directory = Annotated[
    Path,
    typer.Option(
        "--dir",
        envvar="EDGE_CLOUD_LOCAL_DIR",
        default_factory=_default_directory,
        show_default="~/.local/state/edge-cloud/local",
        help="Where its state lies.",
    ),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: the one of the last run if free, else any.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.add_typer(local, name="local")


@local.command()
def up(
    directory: Directory,
    port: Port = 0,
    mqtt_port: Annotated[int, typer.Option("--mqtt-port", min=0, max=65535, help="As --port, for MQTT.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Start it, or tell where it already runs."""
    endpoints = LocalCloud(directory).start(gateway_port=port, mqtt_port=mqtt_port)
    emit(_described(endpoints), as_json=as_json, text=_sentence(endpoints, directory))


@local.command()
def down(directory: Directory, as_json: JsonFlag = False) -> None:
    """End it gracefully; its state is kept."""
    ended = LocalCloud(directory).stop()
    emit({"stopped": ended}, as_json=as_json, text="stopped, state saved" if ended else "not running")


@local.command()
def status(directory: Directory, as_json: JsonFlag = False) -> None:
    """Tell whether it runs, and where; exit 3 when it does not."""
    state = LocalCloud(directory).status()
    emit(_told(state), as_json=as_json)
    if not state.running:
        raise typer.Exit(Exit.NOT_FOUND)


@local.command()
def env(directory: Directory, as_json: JsonFlag = False) -> None:
    """Print the environment that leads there: eval "$(edge-cloud local env)"."""
    environment = LocalCloud(directory).aws_environment()
    lines = "\n".join(f"export {key}={shlex.quote(value)}" for key, value in environment.items())
    emit(environment, as_json=as_json, text=lines)


def _described(endpoints: Endpoints) -> dict[str, Any]:
    return {
        "gateway_url": endpoints.gateway_url,
        "mqtt_host": endpoints.mqtt_host,
        "mqtt_port": endpoints.mqtt_port,
        "ca_pem": str(endpoints.ca_pem),
        "fresh": endpoints.fresh,
        "message": endpoints.message,
        "environment": aws_environment(endpoints),
    }


def _sentence(endpoints: Endpoints, directory: Path) -> str:
    where = "" if directory == _default_directory() else f" --dir {shlex.quote(str(directory))}"
    lines = [
        f"AWS at {endpoints.gateway_url}, MQTT at {endpoints.mqtt_host}:{endpoints.mqtt_port}, state in {directory}",
        f'for the other verbs: eval "$(edge-cloud local env{where})"',
    ]
    return "\n".join([*lines, endpoints.message] if endpoints.message else lines)


def _told(state: CloudStatus) -> dict[str, Any]:
    endpoints = state.endpoints
    return {
        "running": state.running,
        "directory": str(state.directory),
        "pid": state.pid,
        "gateway_url": endpoints.gateway_url if endpoints else None,
        "mqtt_host": endpoints.mqtt_host if endpoints else None,
        "mqtt_port": endpoints.mqtt_port if endpoints else None,
        "ca_pem": str(endpoints.ca_pem) if endpoints else None,
        "message": state.message,
    }
