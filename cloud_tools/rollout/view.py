"""A rollout as it is told: one document for programs, lines for people. Pure."""

from collections.abc import Mapping
from typing import Any

from cloud_tools.rollout.decide import Action, Cancel, Change, Check, Create, Wait
from cloud_tools.rollout.driver import Standing
from cloud_tools.rollout.seen import Outcome, failures, outcomes, tally
from cloud_tools.rollout.state import RolloutState

COLUMNS = ("stage", "state", "things", "succeeded", "failed", "working", "waiting", "canceled")
FAILURE_COLUMNS = ("thing", "job_id", "status", "code", "message")


def document(standing: Standing) -> dict[str, Any]:
    """Return it as ``rollout status --json`` prints it."""
    state, seen, action = standing
    known = outcomes(state, seen)
    return {
        "rollout": state.name,
        "phase": state.phase,
        "reason": state.reason,
        "next": say(action),
        "stages": [_stage(state, stage, known) for stage in range(len(state.shares))],
        "rollback": _rollback(standing),
        "failures": [_failure(outcome) for outcome in failures(known.values())],
    }


def say(action: Action) -> str:
    """Return in words what is to be done next; a program that drives does it at once."""
    match action:
        case Change(state):
            return state.history[-1].what
        case Create(parts):
            return f"to be made: {', '.join(part.job_id for part in parts)}"
        case Cancel(job_ids, _):
            return f"to be taken back: {', '.join(job_ids)}"
        case Check(things):
            return f"to be checked: what {len(things)} devices run"
        case Wait(why):
            return why
        case _:
            return ""


def is_due(standing: Standing) -> bool:
    """Tell whether something waits for somebody who drives."""
    return isinstance(standing.next, Change | Check | Create | Cancel)


def headline(standing: Standing) -> str:
    """Return one line for a person."""
    state = standing.state
    what = f"{state.name}: {state.phase}" + (f", {state.reason}" if state.reason else "")
    return f"{what}; {say(standing.next)}" if say(standing.next) else what


def _stage(state: RolloutState, stage: int, known: Mapping[str, Outcome]) -> dict[str, Any]:
    counted = tally(state, stage, known)
    jobs = [part.job_id for wave in state.asking if wave.stage == stage for part in state.parts(wave)]
    told = {"stage": state.plan.stages[stage].title, "state": _stage_state(state, stage), "jobs": jobs}
    return {**told, **counted._asdict()}


def _stage_state(state: RolloutState, stage: int) -> str:
    if not state.members(stage):
        return "nobody"
    if stage > state.stage:
        return "not begun"
    if stage < state.stage or state.phase == "COMPLETED":
        return "done"
    if state.phase in {"STOPPED", "ABORTED"}:
        return state.phase.lower()
    return "watched" if state.settled_at is not None else "asked"


def _rollback(standing: Standing) -> dict[str, Any] | None:
    state, seen, _ = standing
    parts = [part for wave in state.waves if wave.undo for part in state.parts(wave)]
    if not parts:
        return None
    found = [execution for part in parts if part.job_id in seen for execution in seen[part.job_id].executions.values()]
    words = [execution.status for execution in found]
    return {
        "jobs": [part.job_id for part in parts],
        "things": sum(len(part.things) for part in parts),
        "executions": {word: words.count(word) for word in sorted(set(words))},
    }


def _failure(outcome: Outcome) -> dict[str, str]:
    execution = outcome.execution
    return {
        "thing": execution.thing,
        "job_id": outcome.job_id,
        "status": execution.status,
        "code": execution.code,
        "message": execution.message,
    }
