"""``edge-cloud simulate``: a fleet that is not there, on the MQTT of an account."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_tools.output import JsonFlag, emit, note

if TYPE_CHECKING:
    from cloud_tools.simulate.fleet import Fleet
    from cloud_tools.simulate.front import Front

_OWN_BROKER_CARRIES = 100


def register(app: typer.Typer) -> None:
    """Add the verb to ``app``."""
    app.command()(simulate)


def simulate(  # noqa: PLR0917 - typer reads a flag from each
    devices: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    fleet: Annotated[str, typer.Option(help="Their thing group; the things are FLEET-00001 and so on.")] = "simulated",
    seconds: Annotated[float, typer.Option(min=0, help="End after so long; 0: when interrupted (Ctrl-C).")] = 0.0,
    time: Annotated[
        list[str] | None, typer.Option(metavar="STATE=SECONDS", help="Seconds in a state, on average; may be repeated.")
    ] = None,
    bad: Annotated[
        list[str] | None, typer.Option(metavar="MODEL-VERSION", help="A release that fails; may be given again.")
    ] = None,
    fail_share: Annotated[float, typer.Option(min=0, max=1, help="How likely it fails on a device.")] = 1.0,
    fail_in: Annotated[str, typer.Option(help="The state in which it fails.")] = "PROBATION",
    fail_code: Annotated[str, typer.Option(help="The code that the device then reports.")] = "PROBATION_REGRESSION",
    seed: Annotated[int, typer.Option(help="Another one, other times and another luck.")] = 0,
    connects_per_s: Annotated[float, typer.Option(min=0.1, help="How many begin to connect in a second.")] = 50.0,
    reconnect_max_s: Annotated[
        float, typer.Option(min=1, max=3600, help="Longest wait before the next try, as a device's setting.")
    ] = 120.0,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Gets key and certificate; none: a folder of the user's state.")
    ] = None,
    mqtt: Annotated[str, typer.Option(envvar="EDGE_CLOUD_MQTT", help="HOST:PORT; empty: the account's endpoint.")] = "",
    mqtt_ca: Annotated[
        Path | None, typer.Option(envvar="EDGE_CLOUD_MQTT_CA", help="Authority of that host, PEM; none: the system's.")
    ] = None,
    front: Annotated[
        bool | None,
        typer.Option(
            "--front/--no-front",
            help="Put a mosquitto before the local AWS, whose own broker is slow; none: for more than 100 devices.",
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Instead: remove the fleet's things, group, certificates and keys again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Also in an account that is not on this machine.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Connect devices that are not there; they play what a deployment does, and download nothing."""
    from cloud_tools.aws import Aws
    from cloud_tools.simulate.course import Behaviour, check_failure, read_times
    from cloud_tools.simulate.fleet import Fleet
    from cloud_tools.simulate.front import Front, find_program, standing
    from cloud_tools.simulate.things import Place, connection, names

    if remove:
        _remove(fleet, directory or _default_directory(fleet), anywhere=yes, as_json=as_json)
        return
    check_failure(fail_in, fail_code)
    behaviour = Behaviour(read_times(time or []), frozenset(bad or ()), fail_share, fail_in, fail_code, seed)
    place = Place(mqtt, mqtt_ca, directory or _default_directory(fleet), reconnect_max_s, anywhere=yes)
    aws = Aws()
    fronted = aws.is_local and (devices > _OWN_BROKER_CARRIES if front is None else front)
    if fronted:
        find_program()  # said before a thousand things are made
    settings = connection(aws, fleet, devices, place)
    signal.signal(signal.SIGTERM, _leave)
    with ExitStack() as stack:
        broker = stack.enter_context(standing(Front(place.directory, aws, settings))) if fronted else None
        settings = broker.settings if broker else settings
        if broker:
            note(
                f"mosquitto of process {broker.pid} on {settings.endpoint}:{settings.port} stands before the local AWS"
            )
        simulated = Fleet(settings, names(fleet, devices), behaviour, connects_per_s=connects_per_s)
        _run(simulated, broker, seconds, as_json=as_json)


def _remove(fleet: str, directory: Path, *, anywhere: bool, as_json: bool) -> None:
    from cloud_tools.aws import Aws
    from cloud_tools.simulate.removal import remove

    gone = remove(Aws(), fleet, directory, anywhere=anywhere)
    group = "its group" if gone.group else "its group stays"
    text = f"fleet {fleet} is gone: {gone.things} things, {gone.certificates} certificates, {group}"
    emit(gone._asdict(), as_json=as_json, text=text)


def _default_directory(fleet: str) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "edge-cloud" / "simulate" / fleet


def _leave(_number: int, _frame: object) -> None:
    # Ended while it builds its devices: mosquitto goes with it.
    raise SystemExit(1)


def _run(fleet: "Fleet", front: "Front | None", seconds: float, *, as_json: bool) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: fleet.stop())
    last: dict[str, int] = {}

    def tell() -> None:
        nonlocal last
        if front and front.revive():
            note(f"mosquitto had been ended; it runs again as process {front.pid}")
        now = fleet.tally.standing()
        if now != last:
            last = now
            emit(now, as_json=True) if as_json else note(_sentence(now))

    fleet.run(seconds=seconds or float("inf"), tell=tell)
    told = {**fleet.tally.counts(), "jobs": fleet.tally.jobs()}
    emit(told, as_json=as_json)


def _sentence(now: dict[str, int]) -> str:
    return ", ".join(f"{value} {name}" for name, value in now.items())
