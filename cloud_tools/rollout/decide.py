"""What a rollout does next: a function of what is written down, what is seen and the time. Pure.

One action at a time, and each is decided anew from what was read since the last one. What is
written down changes by ``Change`` alone; the other actions may be done twice without harm.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import NamedTuple

from cloud_tools.errors import CloudError
from cloud_tools.rollout.seen import (
    WORKING,
    Outcome,
    Seen,
    Shadows,
    Tally,
    failures,
    outcomes,
    tally,
    to_check,
    went_back,
)
from cloud_tools.rollout.state import Part, RolloutState
from edge_agent.errors import Code

_MINUTE_S = 60.0


class Change(NamedTuple):
    """Write this down instead of what was read."""

    state: RolloutState


class Create(NamedTuple):
    """Make these jobs in this order, each unless it is there."""

    parts: tuple[Part, ...]


class Cancel(NamedTuple):
    """Take these jobs back."""

    job_ids: tuple[str, ...]
    force: bool


class Check(NamedTuple):
    """Read what these devices run, and decide again with that."""

    things: tuple[str, ...]


class Wait(NamedTuple):
    """Nothing is to be done yet; ``why`` says it to a person."""

    why: str


class End(NamedTuple):
    """Nothing is to be done any more, unless somebody says so."""


Action = Change | Create | Cancel | Check | Wait | End


def decide(state: RolloutState, seen: Seen, now: float, shadows: Shadows | None = None) -> Action:
    """Return the next action.

    Args:
        state: what is written down.
        seen: its jobs.
        now: seconds since 1970.
        shadows: what devices run, if that was read after a ``Check``.
    """
    known = outcomes(state, seen)
    if state.phase in {"RUNNING", "PAUSED"}:
        reason = complaint(state, seen, known, now)
        if reason:
            return Change(state.stopped(reason, now))
        return _go_on(state, seen, known, now, shadows) if state.phase == "RUNNING" else End()
    if state.phase == "COMPLETED":
        return End()
    return _wind_up(state, seen, known, now)


def complaint(state: RolloutState, seen: Seen, known: Mapping[str, Outcome], now: float) -> str:
    """Return why a rollout must stop; empty: it need not."""
    return next(_complaints(state, seen, known, now), "")


def _complaints(state: RolloutState, seen: Seen, known: Mapping[str, Outcome], now: float) -> Iterator[str]:
    accepted, words = set(state.accepted), {code.value for code in state.plan.stop.codes}
    for outcome in failures(known.values()):
        thing, _, _, code, message = outcome.execution
        if code in words and thing not in accepted:
            yield f"{thing}: {code}, {message}" if message else f"{thing}: {code}"
    for stage in range(state.stage + 1):
        yield from _too_many_failed(state, stage, tally(state, stage, known))
    yield from _nobody_left(state)
    if state.asking:
        yield from _canceled_by_others(state, seen, known)
        yield from _without_success(state, tally(state, state.stage, known))
        yield from _not_enough(state, tally(state, state.stage, known))
        yield from _too_late(state, known, now)


def _too_many_failed(state: RolloutState, stage: int, counted: Tally) -> Iterator[str]:
    """Apply the rule that AWS IoT applies to each job, to the whole stage."""
    limit, title = state.plan.failed_percent(stage), state.plan.stages[stage].title
    enough = min(state.plan.stop.min_ended, counted.things - counted.accepted)
    if counted.failed and counted.ended >= enough and counted.failed * 100 >= limit * counted.ended:
        yield f"stage {title}: {counted.failed} of {counted.ended} failed, the limit is {limit:g} %"


def _nobody_left(state: RolloutState) -> Iterator[str]:
    """A stage that lost all its devices has shown nothing, so nothing may follow from it."""
    for stage, share in enumerate(state.shares):
        if share and not state.members(stage):
            yield f"stage {state.plan.stages[stage].title}: none of its devices is there any more"


def _without_success(state: RolloutState, counted: Tally) -> Iterator[str]:
    if counted.canceled and counted.all_ended and not counted.succeeded:
        yield f"stage {state.plan.stages[state.stage].title}: nobody succeeded"


def _not_enough(state: RolloutState, counted: Tally) -> Iterator[str]:
    """Tell where the share that the file asks for cannot be reached any more, whatever the others do."""
    stage = state.plan.stages[state.stage]
    if stage.enough_percent is None:
        return
    needed, lost = state.needed(state.stage, stage.enough_percent), counted.failed + counted.canceled
    if counted.things - lost < needed:
        wish = f"{stage.enough_percent:g} % ({needed})"
        yield f"stage {stage.title}: {lost} of {counted.things} did not succeed, {wish} can no longer be reached"


def _canceled_by_others(state: RolloutState, seen: Seen, known: Mapping[str, Outcome]) -> Iterator[str]:
    for part in state.parts(state.asking[-1]):
        job = seen.get(part.job_id)
        lost = any(known[thing].execution.status == "CANCELED" for thing in part.things)
        if job is not None and job.status == "CANCELED" and lost:
            yield f"job {part.job_id} was canceled" + (f": {job.comment}" if job.comment else "")


def _too_late(state: RolloutState, known: Mapping[str, Outcome], now: float) -> Iterator[str]:
    stage = state.plan.stages[state.stage]
    if stage.within_minutes is None or state.settled_at is not None:
        return
    waiting = sum(counted.waiting + counted.working for counted in _not_done(state, known))
    if waiting and now >= state.asking[-1].at + stage.within_minutes * _MINUTE_S:
        yield f"stage {stage.title}: {waiting} devices have not ended within {stage.within_minutes:g} min"


def _go_on(
    state: RolloutState, seen: Seen, known: Mapping[str, Outcome], now: float, shadows: Shadows | None
) -> Action:
    if not state.waves:
        return _next_stage(state, now)
    if missing := _missing(state, seen):
        return Create(missing)
    if left := _not_done(state, known):
        working, waiting = sum(each.working for each in left), sum(each.waiting for each in left)
        return Wait(f"{working} at work, {waiting} not begun")
    if state.settled_at is None:
        return Change(state.settled(now))
    return _leave_stage(state, state.settled_at, known, now, shadows)


def _leave_stage(
    state: RolloutState, settled_at: float, known: Mapping[str, Outcome], now: float, shadows: Shadows | None
) -> Action:
    until = settled_at + state.plan.stages[state.stage].soak_minutes * _MINUTE_S
    if now < until:
        at = datetime.fromtimestamp(until, timezone.utc).isoformat(timespec="seconds")
        return Wait(f"watches stage {state.plan.stages[state.stage].title} until {at}")
    if shadows is None and (things := to_check(state, known)):
        return Check(things)
    if found := went_back(state, known, shadows or {}):
        return Change(state.regressed(found, now))
    return _next_stage(state, now)


def _missing(state: RolloutState, seen: Seen) -> tuple[Part, ...]:
    """Return the newest wave's jobs that are not there; who was to be asked by an older one has been asked again."""
    return tuple(part for part in state.parts(state.waves[-1]) if part.job_id not in seen)


def _next_stage(state: RolloutState, now: float) -> Action:
    stage = state.next_stage()
    return Change(state.completed(now) if stage is None else state.begun(stage, now))


def _not_done(state: RolloutState, known: Mapping[str, Outcome]) -> list[Tally]:
    """Return the stages for which the next one waits, counted: the newest, and earlier ones asked again with it."""
    asked = {thing for wave in state.asking if wave.stage == state.stage for thing in wave.things}
    stages = [stage for stage in range(state.stage + 1) if not asked.isdisjoint(state.shares[stage])]
    counted = {stage: tally(state, stage, known) for stage in stages}
    return [each for stage, each in counted.items() if not _is_done(state, stage, each)]


def _is_done(state: RolloutState, stage: int, counted: Tally) -> bool:
    """Tell whether a stage has done what the next one waits for; that too many failed is asked elsewhere."""
    enough = state.plan.stages[stage].enough_percent
    if enough is None:
        return counted.all_ended
    return counted.all_ended or counted.succeeded + counted.accepted >= state.needed(stage, enough)


def _wind_up(state: RolloutState, seen: Seen, known: Mapping[str, Outcome], now: float) -> Action:
    """End what a stop or an abort leaves: jobs that still ask, and devices that are to go back."""
    live = tuple(
        part.job_id
        for wave in state.asking
        for part in state.parts(wave)
        if part.job_id in seen and seen[part.job_id].live
    )
    if live:
        return Cancel(live, state.force)
    return _undo(state, seen, known, now) if state.undo else End()


def _undo(state: RolloutState, seen: Seen, known: Mapping[str, Outcome], now: float) -> Action:
    if working := sum(each.execution.status == WORKING for each in known.values()):
        return Wait(f"{working} still at work; who succeeded goes back when they have ended")
    if not state.waves or not state.waves[-1].undo:
        good = [thing for thing, outcome in known.items() if outcome.succeeded and thing not in state.gone]
        return Change(state.undone(good, now)) if good else End()
    if missing := _missing(state, seen):
        return Create(missing)
    left = any(seen[part.job_id].live for part in state.parts(state.waves[-1]))
    return Wait("devices go back") if left else End()


def ask_again(state: RolloutState, seen: Seen, now: float, *, accept: bool) -> RolloutState:
    """Return a rollout that was stopped or completed going on, with whoever has not succeeded asked once more.

    Args:
        state: what is written down.
        seen: its jobs.
        now: seconds since 1970.
        accept: leave alone those that failed; only who never came to an end is asked again.

    Raises:
        CloudError: FAILED_PRECONDITION: it cannot go on, or nothing is left to be asked.
    """
    known = outcomes(state, seen)
    open_ = {thing: each for thing, each in known.items() if thing not in {*state.accepted, *state.gone}}
    failed = {thing for thing, each in open_.items() if each.failed}
    unasked = {thing for thing, each in open_.items() if each.ended and not each.failed and not each.succeeded}
    going_on = state.asked_again(unasked if accept else failed | unasked, failed if accept else (), now)
    if state.phase == "COMPLETED" and len(going_on.waves) == len(state.waves):
        raise CloudError(
            Code.FAILED_PRECONDITION, f"rollout {state.name}: nobody failed, there is nothing to ask again"
        )
    return going_on
