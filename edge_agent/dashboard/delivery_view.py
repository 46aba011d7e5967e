"""The page *Models*: what runs, what is being brought, what happened before. Pure."""

from typing import Any
from urllib.parse import quote

from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.presentation import NOTHING, View, agent_view, changes, local_time
from edge_agent.dashboard.words import Words
from edge_agent.formats import DeploymentReport, ModelStatus, StateReport

# The page cannot ask the deployment room; a state that is not here is shown where it comes.
_INSTALL = (
    "ACCEPTED",
    "REFRESHING",
    "CHECKING",
    "DOWNLOADING",
    "VERIFIED",
    "BUILDING",
    "TRIED",
    "SHADOW",
    "ACTIVATING",
    "PROBATION",
    "COMMITTED",
)
_CONFIGURE = ("ACCEPTED", "CHECKING", "COMMITTED")
_ROLLBACK = ("ACCEPTED", "CHECKING", "BUILDING", "TRIED", "ACTIVATING", "COMMITTED")
_BAD = frozenset({"FAILED", "REFUSED", "CANCELLED", "ROLLING_BACK"})
# Bookkeeping with the cloud, no step of the work.
_UNSEEN = "REPORTED"
_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000


def models_view(snapshot: Snapshot, words: Words, now: float) -> View:
    """Return the page *Models*.

    Args:
        snapshot: what is known of the agent.
        words: the language.
        now: epoch seconds.
    """
    return {
        "models": [model_view(model, words) for model in snapshot.models],
        "deployment": deployment_view(snapshot.deployment, words),
        "history": [history_view(report, words) for report in snapshot.history if report.ended],
        "agent": agent_view(snapshot, words, now),
    }


def model_view(model: ModelStatus, words: Words) -> View:
    """Return one model with its versions."""
    facts = [words.or_as_is("kind", model.kind), model.runtime, model.provider, size(model.memory_bytes, words)]
    return {
        "name": model.name,
        "testid": f"model-{model.name}-version",
        "state": model.state,
        "state_word": words.or_as_is("model", model.state),
        "message": model.message,
        "active": model.active or NOTHING,
        "previous": model.previous or NOTHING,
        "staged": model.staged or NOTHING,
        "has_previous": model.previous or "",
        "has_staged": model.staged or "",
        "applications": ", ".join(model.applications) or words("models.unmapped"),
        "facts": " · ".join(fact for fact in facts if fact),
        "threshold": words.number(model.threshold, 2) if model.active else NOTHING,
        "signed": words("models.signed", threshold=words.number(model.signed_threshold, 2))
        if model.active and model.signed_threshold and model.threshold != model.signed_threshold
        else "",
        "tune": f"/models/{quote(model.name, safe='')}/threshold" if model.active else "",
        "roll_back": words("rollback.button", version=model.previous) if model.previous else "",
        "question": words(
            "rollback.question", model=model.name, active=model.active or NOTHING, previous=model.previous
        )
        if model.previous
        else "",
    }


def deployment_view(report: DeploymentReport | None, words: Words) -> View:
    """Return the running deployment, the one that just ended, or that there is none."""
    if report is None:
        return {"tone": "idle", "title": words("deployment.none"), "state": "", "steps": [], "share": None, "bytes": ""}
    total = report.bytes_total
    told = words("deployment.bytes", done=size(report.bytes_done, words), total=size(total, words)) if total else ""
    return {
        **history_view(report, words),
        "title": words(f"operation.{report.operation}.title", what=changes(report.models))
        if f"operation.{report.operation}.title" in words.texts
        else changes(report.models),
        "steps": steps_view(report, words),
        "bytes": told,
        "share": round(min(1.0, report.bytes_done / total) * 100, 1) if total else None,
    }


def history_view(report: DeploymentReport, words: Words) -> View:
    """Return one deployment as a line."""
    return {
        "id": report.id,
        "job": report.job_id or words("deployment.local"),
        "operation": words.or_as_is("operation", report.operation),
        "what": changes(report.models),
        "state": report.state,
        "state_word": words.or_as_is("state", report.state),
        "tone": tone(report),
        "code": report.code,
        "message": report.message,
        "reason": words("deployment.reason", reason=report.reason) if report.reason else "",
        "actor": report.actor,
        "started": local_time(report.started, "%Y-%m-%d %H:%M:%S"),
        "lasted": seconds((report.ended or report.started) - report.started, words) if report.ended else "",
    }


def tone(report: DeploymentReport) -> str:
    """Return how a deployment stands: running, good, bad or neutral."""
    if report.state in _BAD:
        return "neutral" if report.state == "CANCELLED" else "bad"
    if report.ended is None:
        return "running"
    return "bad" if report.code else "good"


def steps_view(report: DeploymentReport, words: Words) -> list[View]:
    """Return the states in their order: done, now, to come, or where it broke."""
    passed = {state.state: state for state in report.states if state.state != _UNSEEN}
    planned = {"rollback": _ROLLBACK, "configure": _CONFIGURE}.get(report.operation, _INSTALL)
    broken = any(name in _BAD for name in (*passed, report.state))
    names = list(passed) if broken or report.ended is not None else [*passed, *(n for n in planned if n not in passed)]
    if report.state not in names and report.state != _UNSEEN:
        names.append(report.state)
    if not broken:
        names.sort(key=lambda name: planned.index(name) if name in planned else len(planned))
    return [_step(name, passed.get(name), report, words) for name in names]


def _step(name: str, state: StateReport | None, report: DeploymentReport, words: Words) -> View:
    if name in _BAD:
        mark = "bad"
    elif name == report.state and report.ended is None:
        mark = "now"
    else:
        mark = "done" if state is not None else "todo"
    lasted: Any = state.seconds if state is not None and mark == "done" else 0
    return {
        "state": name,
        "word": words.or_as_is("state", name),
        "mark": mark,
        "lasted": seconds(lasted, words) if lasted else "",
    }


def seconds(value: float, words: Words) -> str:
    """Return a duration as a person says it."""
    if value < 10:  # noqa: PLR2004  # below ten seconds tenths matter
        return f"{words.number(value, 1)} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(count: float, words: Words) -> str:
    """Return bytes in decimal units, as 4.2 MB; empty: none."""
    if not count:
        return ""
    unit = 0
    while count >= _STEP and unit < len(_UNITS) - 1:
        count, unit = count / _STEP, unit + 1
    return f"{words.number(count, 1 if unit > 1 else 0)} {_UNITS[unit]}"
