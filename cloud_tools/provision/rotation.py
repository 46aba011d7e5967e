"""Many devices' exchanges at once: whose turn it is, and a row for each; one that fails stops no other."""

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError, Exit
from cloud_tools.provision import rotate
from cloud_tools.provision.listing import list_devices
from cloud_tools.provision.retire import RETIRED
from cloud_tools.provision.rotate import Step
from edge_agent.errors import AgentError, Code

_DAY_S = 86_400.0
_INTERVAL_S = 1.0
_FAILED = "failed"


class Chosen(NamedTuple):
    """Devices, and until when (epoch seconds) a certificate ends that is to be exchanged; None: each."""

    things: tuple[str, ...]
    until: float | None


class Row(NamedTuple):
    """How far one device is; ``ends`` is the day on which its certificate ends."""

    thing: str
    ends: str
    state: str
    message: str


def choose(aws: Aws, things: Sequence[str], expiring_within: float | None, fleet: str) -> Chosen:
    """Return whom it is about: those that are named, or all of a fleet whose certificates end within some days.

    Raises:
        CloudError: INVALID_ARGUMENT, neither or both were said; or as ``Aws.call``.
    """
    if bool(things) == (expiring_within is not None):
        raise CloudError(Code.INVALID_ARGUMENT, "expected either THING… or --expiring-within DAYS")
    if expiring_within is None:
        return Chosen(tuple(dict.fromkeys(things)), None)
    known = tuple(row["thing"] for row in list_devices(aws, fleet) if RETIRED not in row)
    return Chosen(known, time.time() + expiring_within * _DAY_S)


def follow(aws: Aws, chosen: Chosen, *, wait_s: float = 0.0, dry_run: bool = False) -> list[Row]:
    """Take one step with each device, and while time is left more with those that wait for nothing but the device.

    Returns:
        Rows of those that are named, or of which something is to be said.

    Raises:
        CloudError: a device is not there.
    """
    limit = time.monotonic() + wait_s
    rows: dict[str, Row] = {}
    turn, until = chosen.things, chosen.until
    while turn:
        rows |= {thing: _step(aws, thing, until, dry_run=dry_run, begun=thing in rows) for thing in turn}
        turn = tuple(thing for thing in turn if rows[thing].state in _WAITING)
        if dry_run or time.monotonic() >= limit:
            break
        time.sleep(min(_INTERVAL_S, max(0.0, limit - time.monotonic())))
    quiet = set() if until is None else {Step.CURRENT.value, Step.SILENT.value}
    return [row for row in rows.values() if row.state not in quiet]


def judge(rows: Sequence[Row]) -> Exit:
    """Return the exit code: PARTLY_FAILED where some failed, FAILED where all did."""
    failed = [row for row in rows if row.state in _TROUBLE]
    if not failed:
        return Exit.OK
    return Exit.FAILED if len(failed) == len(rows) else Exit.PARTLY_FAILED


_WAITING = frozenset(step.value for step in rotate.WAITING)
_TROUBLE = frozenset(step.value for step in rotate.FAILED) | {_FAILED}


def _step(aws: Aws, thing: str, until: float | None, *, dry_run: bool, begun: bool) -> Row:
    try:
        standing = rotate.look(aws, thing)
        ends = standing.ends
        due = until is None or (ends is not None and ends <= until)
        step = rotate.next_step(standing, wanted=due and not begun)
        told = rotate.tell(standing, step)
        if not dry_run:
            rotate.carry_out(aws, standing, step)
    except AgentError as error:
        if until is None and error.code is Code.NOT_FOUND:
            raise
        return Row(thing, "", _FAILED, f"{error.code.value}: {error.message}")
    return Row(thing, _day(ends), step.value, told)


def _day(ends: int | None) -> str:
    return f"{datetime.fromtimestamp(ends, timezone.utc):%Y-%m-%d}" if ends is not None else ""
