"""``edge-cloud rollout start|pause|resume|abort|status|list``."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cloud_tools.errors import CloudError, Exit
from cloud_tools.output import JsonFlag, note, table
from edge_agent.errors import Code, DocumentError

if TYPE_CHECKING:
    from cloud_tools.rollout.driver import Driver, Standing, Stay
    from cloud_tools.rollout.ledger import Ledger
    from cloud_tools.rollout.state import RolloutState

rollout = typer.Typer(help="Releases to a fleet in stages, which stop themselves when devices say so.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As its file calls it.")]
State = Annotated[
    str,
    typer.Option(
        "--state",
        envvar="EDGE_CLOUD_ROLLOUTS",
        help="Where rollouts are written down: s3://bucket/rollouts, the same for every operator; or a directory.",
    ),
]
Once = Annotated[bool, typer.Option("--once", help="Do what is due now and end, as a timer would.")]
Interval = Annotated[float, typer.Option("--interval", min=0.05, help="Seconds between two questions.")]
Patience = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to stay at most; 0: without end.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever reads it later.")]


_WAYS_ON = (
    "edge-cloud rollout resume {name} --retry-failed asks again whoever did not succeed, --accept-failed goes on "
    "without them, edge-cloud rollout abort {name} gives it up"
)


class _Patience(NamedTuple):
    """How long a command stays with a rollout: for one look, or to its end."""

    once: bool
    interval_s: float
    timeout_s: float


@rollout.command()
def start(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON; docs/schemas/rollout.json.")],
    state: State,
    once: Once = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell who would be asked when, ask nobody.")] = False,
    interval_s: Interval = 2.0,
    timeout_s: Patience = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Begin a rollout and carry it to its end; without this command it goes no further than its stage."""
    from cloud_tools.aws import Aws
    from cloud_tools.rollout.begin import begin
    from cloud_tools.rollout.plan import read_plan

    aws = Aws()
    begun = begin(aws, read_plan(file), time.time())
    if begun.left_out:
        note(f"{len(begun.left_out)} devices are in no stage: {', '.join(begun.left_out[:10])}")
    if dry_run:
        _tell_plan(begun, as_json=as_json)
        return
    _ledger(state).create(begun)
    _drive(_driver(state), begun.name, _Patience(once, interval_s, timeout_s), as_json=as_json)


@rollout.command()
def resume(
    name: Name,
    state: State,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="After a stop or the end: ask again whoever did not succeed.")
    ] = False,
    accept_failed: Annotated[
        bool, typer.Option("--accept-failed", help="After a stop: go on without those that failed.")
    ] = False,
    unless_paused: Annotated[
        bool, typer.Option("--unless-paused", help="Leave a paused one paused, as a timer should.")
    ] = False,
    once: Once = False,
    interval_s: Interval = 2.0,
    timeout_s: Patience = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Carry a rollout on: after a pause, after a stop, or when the command that drove it has ended."""
    if retry_failed and accept_failed:
        raise CloudError(Code.INVALID_ARGUMENT, "expected --retry-failed or --accept-failed, came both")
    driver = _driver(state)
    if retry_failed or accept_failed:
        driver.ask_again(name, accept=accept_failed)
    elif not unless_paused:
        driver.change(name, lambda found, now: found.resumed(now))
    _drive(driver, name, _Patience(once, interval_s, timeout_s), as_json=as_json)


@rollout.command()
def pause(name: Name, state: State, reason: Reason = "by hand", as_json: JsonFlag = False) -> None:
    """Begin no further stage; the devices of the newest one go on, since AWS cannot pause a job."""
    from cloud_tools.rollout.telling import show

    driver = _driver(state)
    driver.change(name, lambda found, now: found.paused(reason, now))
    show(driver.look(name), as_json=as_json)


@rollout.command()
def abort(
    name: Name,
    state: State,
    force: Annotated[bool, typer.Option("--force", help="Also where a device works on it already.")] = False,
    undo: Annotated[bool, typer.Option("--rollback", help="Devices that succeeded go back.")] = False,
    reason: Reason = "by hand",
    once: Once = False,
    interval_s: Interval = 2.0,
    timeout_s: Patience = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Give it up for good: take its jobs back; devices that work on one finish, unless --force."""
    driver = _driver(state)
    driver.change(name, lambda found, now: found.aborted(reason, now, force=force, undo=undo))
    _drive(driver, name, _Patience(once, interval_s, timeout_s), wanted="ABORTED", as_json=as_json)


@rollout.command()
def status(
    name: Name,
    state: State,
    follow: Annotated[bool, typer.Option("--follow", help="Until its end, a line for each change; drives nothing.")] = (
        False
    ),
    interval_s: Interval = 2.0,
    timeout_s: Patience = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Tell where it stands; changes nothing."""
    from cloud_tools.rollout import telling

    driver = _driver(state)
    if not follow:
        telling.show(driver.look(name), as_json=as_json)
        return
    patience = _Patience(once=False, interval_s=interval_s, timeout_s=timeout_s)
    _end(telling.follow(driver.watch(name, _stay(name, patience)), as_json=as_json))


@rollout.command("list")
def list_(state: State, as_json: JsonFlag = False) -> None:
    """List the rollouts that are written down."""
    ledger = _ledger(state)
    rows = [_row(ledger, name) for name in ledger.names()]
    table(rows, ("rollout", "phase", "reason"), as_json=as_json, nothing="no rollouts")


def _row(ledger: "Ledger", name: str) -> dict[str, str]:
    try:
        found = ledger.read(name).state
    except DocumentError as exc:
        # One that nobody here can read, of a newer release perhaps, hides no other.
        return {"rollout": name, "phase": "UNREADABLE", "reason": exc.message}
    return {"rollout": name, "phase": found.phase, "reason": found.reason}


def _tell_plan(state: "RolloutState", *, as_json: bool) -> None:
    rows = [
        {"stage": stage.title, "things": len(share), "names": share}
        for stage, share in zip(state.plan.stages, state.shares, strict=True)
    ]
    table(rows, ("stage", "things", "names"), as_json=as_json)


def _driver(state: str) -> "Driver":
    from cloud_tools.aws import Aws
    from cloud_tools.rollout.driver import Driver
    from cloud_tools.rollout.iot import IotJobs

    return Driver(_ledger(state), IotJobs(Aws()), time.time)


def _ledger(state: str) -> "Ledger":
    from cloud_tools.rollout.ledger import Ledger
    from cloud_tools.storage import open_storage

    return Ledger(open_storage(state))


def _drive(driver: "Driver", name: str, patience: _Patience, *, wanted: str = "COMPLETED", as_json: bool) -> None:
    from cloud_tools.rollout.telling import follow

    def once() -> "Iterator[Standing]":
        yield driver.carry_on(name)

    standings = once() if patience.once else driver.drive(name, _stay(name, patience))
    try:
        last = follow(standings, as_json=as_json)
    except KeyboardInterrupt:
        note(f"left; {name} goes no further than its stage until: edge-cloud rollout resume {name}")
        raise typer.Exit(Exit.FAILED) from None
    if last.state.phase == "STOPPED":
        note(_WAYS_ON.format(name=name))
    _end(last, wanted)


def _end(standing: "Standing", wanted: str = "COMPLETED") -> None:
    """End the command with what the standing means; a rollout that was to be aborted and is has gone well."""
    from cloud_tools.rollout.telling import meaning

    code = meaning(standing)
    if code is not Exit.OK and not standing.state.phase == wanted == "ABORTED":
        raise typer.Exit(code)


def _stay(name: str, patience: _Patience) -> "Stay":
    from cloud_tools.rollout.driver import Stay

    limit = time.monotonic() + patience.timeout_s

    def wait() -> None:
        if patience.timeout_s and time.monotonic() >= limit:
            raise CloudError(
                Code.DEADLINE_EXCEEDED,
                f"rollout {name} has not ended within {patience.timeout_s:g} s;"
                f" edge-cloud rollout resume {name} goes on",
            )
        time.sleep(patience.interval_s)

    return Stay(wait, lambda trouble: note(f"{trouble}; asked again in {patience.interval_s:g} s"))
