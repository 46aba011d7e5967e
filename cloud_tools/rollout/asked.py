"""What AWS IoT is asked for each job of a rollout. Pure.

AWS applies the limits to each job also while nobody drives the rollout: a stage ends by itself.
"""

from typing import Any

from cloud_tools.rollout.jobs import describe_document
from cloud_tools.rollout.state import Part, RolloutState
from edge_agent.formats import JobDocument


def request(state: RolloutState, part: Part) -> dict[str, Any]:
    """Return the arguments of CreateJob."""
    plan = state.plan
    asked: dict[str, Any] = {
        "jobId": part.job_id,
        "targets": [f"{state.thing_arn}{thing}" for thing in part.things],
        "document": _document(state, part).to_json().decode().strip(),
        "description": _description(state, part),
        "targetSelection": "SNAPSHOT",
    }
    if plan.timeout_minutes is not None:
        asked["timeoutConfig"] = {"inProgressTimeoutInMinutes": plan.timeout_minutes}
    if part.wave.undo:
        return asked
    if plan.per_minute is not None:
        # The jobs of one wave run side by side; a stage never has more of them than the rate (shares.divide).
        share = max(1, plan.per_minute // len(state.parts(part.wave)))
        asked["jobExecutionsRolloutConfig"] = {"maximumPerMinute": share}
    return {**asked, "abortConfig": {"criteriaList": [_abort(state, part)]}}


def _document(state: RolloutState, part: Part) -> JobDocument:
    return state.plan.undo() if part.wave.undo else state.plan.document()


def _description(state: RolloutState, part: Part) -> str:
    said = f"rollout {state.name} {state.token}: {describe_document(_document(state, part))}"
    return said[:2028]  # AWS IoT Jobs: description is at most 2,028 characters


def _abort(state: RolloutState, part: Part) -> dict[str, Any]:
    return {
        "failureType": "ALL",
        "action": "CANCEL",
        # AWS IoT Jobs: two digits after the point at most, and more than nothing.
        "thresholdPercentage": max(0.01, round(state.plan.failed_percent(part.wave.stage), 2)),
        "minNumberOfExecutedThings": min(state.plan.stop.min_ended, len(part.things)),
    }


def is_ours(state: RolloutState, part: Part, description: str) -> bool:
    """Tell whether a job of that id is the one that was meant, by its description."""
    return description == _description(state, part)
