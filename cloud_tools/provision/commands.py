"""``edge-cloud device provision|list|show`` and ``bucket create|list``; others are in modules of their own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_tools.errors import CloudError
from cloud_tools.output import JsonFlag, emit, note, table
from cloud_tools.provision.identity_commands import retire, rotate
from cloud_tools.provision.stack_commands import stack
from edge_agent.errors import Code

device = typer.Typer(help="Devices as the cloud knows them.", no_args_is_help=True)
bucket = typer.Typer(help="Buckets for releases and captures.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    for verb in (rotate, retire):
        device.command()(verb)
    app.add_typer(device, name="device")
    app.add_typer(bucket, name="bucket")
    app.add_typer(stack, name="stack", no_args_is_help=True)


@device.command()
def provision(  # noqa: PLR0917 - typer takes its options so
    thing: Annotated[str, typer.Argument(help="The thing's name.")],
    directory: Annotated[Path, typer.Option("--dir", help="Gets key, certificate and config.toml.")],
    fleet: Annotated[str, typer.Option(help="Thing group to put it in.")] = "default",
    repository: Annotated[str, typer.Option(help="URL of the releases, as s3://bucket/releases.")] = "",
    captures: Annotated[str, typer.Option(help="URL for captures, as s3://bucket/captures.")] = "",
    from_stack: Annotated[
        str, typer.Option("--stack", envvar="EDGE_CLOUD_STACK", help="Stack that says where both are; none: the flags.")
    ] = "",
    mqtt: Annotated[str, typer.Option(envvar="EDGE_CLOUD_MQTT", help="HOST:PORT; empty: the account's endpoint.")] = "",
    mqtt_ca: Annotated[
        Path | None, typer.Option(envvar="EDGE_CLOUD_MQTT_CA", help="Authority of that host, PEM; none: the system's.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The repository's root.json, which the device pins; none: brought otherwise.")
    ] = None,
    allow_demo_root: Annotated[bool, typer.Option("--allow-demo-root", help="Let the device trust a demo's.")] = False,
    installed: Annotated[
        Path | None, typer.Option("--installed-at", help="Where DIR's files will lie on the device; none: DIR.")
    ] = None,
    csr: Annotated[
        Path | None, typer.Option(help="The device's request (edge-agent enroll request); none: the key is made here.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Create thing, group, policy, key and certificate as far as they lack."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision.device import provision_device
    from cloud_tools.provision.fragment import Wishes
    from cloud_tools.provision.stack import outputs

    pinned, aws = _read("--root", root), Aws()
    if from_stack:
        told = outputs(aws, from_stack)
        # Its role lets a device write below its own name only.
        repository, captures = repository or told["Repository"], captures or f"{told['Captures']}/{thing}"
    wishes = Wishes(_mqtt(mqtt, mqtt_ca), repository, captures, pinned, allow_demo_root, installed)
    made = provision_device(aws, thing, directory, fleet=fleet, wishes=wishes, request=_read("--csr", csr))
    for sentence in made.notes:
        note(sentence)
    emit(made._asdict(), as_json=as_json, text=f"{thing} of fleet {fleet} is ready: {made.config}")


@device.command("list")
def list_(
    fleet: Annotated[str, typer.Option(help="Only this fleet.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """List the devices."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision.listing import list_devices

    table(list_devices(Aws(), fleet), ("thing", "fleet", "retired"), as_json=as_json, nothing="no devices")


@device.command()
def show(thing: str, as_json: JsonFlag = False) -> None:
    """Show one device: groups, certificates, jobs."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision.listing import show_device

    found = show_device(Aws(), thing)
    emit(found, as_json=as_json, text=_shown(found))


@bucket.command()
def create(name: str, as_json: JsonFlag = False) -> None:
    """Create a private bucket, unless the account has it."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision.bucket import create_bucket

    new = create_bucket(Aws(), name)
    emit({"bucket": name, "created": new}, as_json=as_json, text=f"{name} {'created' if new else 'is there already'}")


@bucket.command("list")
def list_buckets(as_json: JsonFlag = False) -> None:
    """List the account's buckets."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision.bucket import list_buckets as find

    table(find(Aws()), ("name", "created"), as_json=as_json, nothing="no buckets")


def _mqtt(address: str, authority: Path | None) -> Any:
    from cloud_tools.provision.fragment import Mqtt

    if not address:
        return None
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise CloudError(Code.INVALID_ARGUMENT, f"--mqtt: expected HOST:PORT, came {address!r}")
    return Mqtt(host, int(port), _read("--mqtt-ca", authority))


def _read(option: str, file: Path | None) -> str:
    try:
        return file.read_text(encoding="utf-8") if file else ""
    except (OSError, ValueError) as exc:
        raise CloudError(Code.NOT_FOUND, f"{option}: expected a file of text, {exc}") from exc


def _shown(found: dict[str, Any]) -> str:
    lines = [f"{key}: {found[key] or '-'}" for key in ("thing", "arn", "fleet")]
    lines.append(f"groups: {', '.join(found['groups']) or '-'}")
    lines += [f"certificate: {one['id']} {one['status']}" for one in found["certificates"]]
    lines += [f"job: {one['job_id']} {one['status']}" for one in found["jobs"]]
    return "\n".join(lines)
